// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: tasks, as they end. A template for probes in Rust.

use kernel::{bindings::task_struct, prelude::*, sync::Arc};

module! {
    type: Exits,
    name: "exits",
    authors: ["you"],
    description: "VESPER probe: tasks, as they end",
    license: "GPL",
}

#[path = "vesper-api/probe.rs"]
#[macro_use]
mod vesper;

filters!(pid, comm);

events! {
    /// What this probe writes.
    struct Records;

    /// A task ends.
    struct Exit = c"exit" {
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
    }
}

struct Probe(vesper::Channel<Records>);

impl Probe {
    fn exit(&self, task: *mut task_struct, _last: bool) {
        // SAFETY: The task is the one that calls the tracepoint.
        let task = unsafe { vesper::Task::from_raw(task) };
        if let Some(task) = task.filter(|&task| wanted(task)) {
            let (tgid, comm) = (task.tgid(), task.comm());
            self.0.write(&Exit { tgid, comm }, false);
        }
    }
}

// SAFETY: As in include/trace/events/sched.h.
tracepoint! { unsafe fn sched_process_exit(task: *mut task_struct, last: bool) => Probe::exit }

points! { struct Watched for Probe; /** A task ends. */ exit = [sched_process_exit]; }

struct Exits(#[allow(dead_code)] vesper::Attachment<Probe>); // For its drop.

impl kernel::Module for Exits {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let probe = Probe(vesper::Channel::open(&vesper::Options::default())?);
        Ok(Self(vesper::Attachment::new::<Watched>(Arc::new(probe, GFP_KERNEL)?)?))
    }
}
