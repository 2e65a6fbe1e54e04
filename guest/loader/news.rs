// SPDX-License-Identifier: GPL-2.0

//! What modules have to say after they were loaded, on its way to the host.

use super::job::Jobs;
use crate::sys::work::{
    Run,
    Work, //
};
use kernel::{
    global_lock,
    prelude::*,
    sync::Arc, //
};

/// Tells the host when it runs.
pub(super) struct News(Arc<Jobs>);

impl Run for News {
    fn run(&self) {
        self.0.tell_changes();
    }
}

global_lock! {
    // SAFETY: Initialised by `publish`, before there is a module of a probe.
    unsafe(uninit) static NEWS: Mutex<Option<Arc<Work<News>>>> = None;
}

/// Has the host told what modules of `jobs` have to say. Once in the life of the module.
pub(super) fn publish(jobs: Arc<Jobs>) -> Result {
    let news = Arc::pin_init(Work::new(News(jobs)), GFP_KERNEL)?;
    // SAFETY: Called once.
    unsafe { NEWS.init() };
    *NEWS.lock() = Some(news);
    Ok(())
}

/// Ends what [`publish`] began.
pub(crate) fn withdraw() {
    let news = NEWS.lock().take();
    drop(news);
}

/// A module may have something else to say than before. Process context.
pub(crate) fn changed() {
    if let Some(news) = &*NEWS.lock() {
        news.queue();
    }
}
