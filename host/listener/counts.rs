// SPDX-License-Identifier: GPL-2.0

//! The control files of a buffer, for consumers that map it and have no ioctl, in the way of
//! relay-apps: how many sub-buffers there are, and how many the consumer is done with.

use super::Buffer;
use crate::{
    files::Shown,
    sys::{
        debugfs::Mode,
        number_file::Number, //
    },
};
use kernel::{
    prelude::*,
    sync::ArcBorrow, //
};

/// Sub-buffers produced since the channel opened.
pub(crate) struct Produced;

impl Number for Produced {
    type Owner = Buffer;

    const MODE: Mode = Mode::Read;

    fn get(owner: &Buffer) -> u64 {
        // An index page that cannot be true breaks the domain; what was there before counts.
        let _ = owner.sync();
        owner.position().produced
    }
}

/// Sub-buffers that readers are done with. Written, it takes them that far.
pub(crate) struct Consumed;

impl Number for Consumed {
    type Owner = Buffer;

    const MODE: Mode = Mode::ReadWrite;

    fn get(owner: &Buffer) -> u64 {
        owner.position().consumed
    }

    fn set(owner: ArcBorrow<'_, Buffer>, value: u64) -> Result {
        let _ = owner.sync();
        owner.consume(value)?;
        owner.settle();
        Ok(())
    }
}

impl Shown for Buffer {
    type Produced = Produced;
    type Consumed = Consumed;
}
