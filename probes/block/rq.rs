// SPDX-License-Identifier: GPL-2.0

//! Requests, and the disks they are for.
//!
//! C headers: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h),
//! [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use crate::vesper::Text;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::bindings;

/// Part of the flags that says what is to be done: `REQ_OP_MASK`.
const OP_MASK: u32 = 0xff;

/// A request that is there as long as `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    raw: NonNull<bindings::request>,
    _life: PhantomData<&'a ()>,
}

/// The disk of a request, if it is for one: commands to a SCSI device may be for none.
pub(crate) struct Disk<'a> {
    raw: *const bindings::gendisk,
    _life: PhantomData<&'a ()>,
}

impl<'a> Request<'a> {
    /// Names a request that a probe point passed.
    ///
    /// # Safety
    ///
    /// `raw` is null or a request that was given to a driver and is not freed as long as `'a`.
    pub(crate) unsafe fn from_raw(raw: *mut bindings::request) -> Option<Self> {
        Some(Self {
            raw: NonNull::new(raw)?,
            _life: PhantomData,
        })
    }

    /// What tells it from others that are on their way.
    pub(crate) fn key(self) -> usize {
        self.raw.as_ptr().addr()
    }

    /// `REQ_OP_*`.
    pub(crate) fn op(self) -> u8 {
        // SAFETY: By the contract of `from_raw`; whoever has the request does not change this.
        (unsafe { (*self.raw.as_ptr()).cmd_flags } & OP_MASK) as u8
    }

    /// Whether it is a command for the device itself, of which the sender sees what came.
    pub(crate) fn is_command(self) -> bool {
        let op = u32::from(self.op());
        op == bindings::req_op_REQ_OP_DRV_IN || op == bindings::req_op_REQ_OP_DRV_OUT
    }

    /// Whether there is nothing that it is for.
    pub(crate) fn is_bare(self) -> bool {
        // SAFETY: As for `op`.
        unsafe { (*self.raw.as_ptr()).bio.is_null() }
    }

    /// Whether nobody is to be told of it if it fails.
    pub(crate) fn is_quiet(self) -> bool {
        // SAFETY: As for `op`.
        let flags = unsafe { (*self.raw.as_ptr()).rq_flags };
        flags & 1 << bindings::rqf_flags___RQF_QUIET != 0
    }

    /// Where on the disk, in units of 512 bytes.
    pub(crate) fn sector(self) -> u64 {
        // SAFETY: As for `op`.
        unsafe { (*self.raw.as_ptr()).__sector }
    }

    /// What is left to do.
    pub(crate) fn bytes(self) -> u32 {
        // SAFETY: As for `op`.
        unsafe { (*self.raw.as_ptr()).__data_len }
    }

    /// The disk it is for.
    pub(crate) fn disk(self) -> Disk<'a> {
        Disk {
            // SAFETY: As for `op`; a request has a queue, which outlives it.
            raw: unsafe { (*(*self.raw.as_ptr()).q).disk },
            _life: PhantomData,
        }
    }
}

impl<'a> Disk<'a> {
    fn get(&self) -> Option<&'a bindings::gendisk> {
        // SAFETY: Null, or a disk that is there while requests to it are.
        unsafe { self.raw.as_ref() }
    }

    /// Its name, empty if there is none.
    pub(crate) fn name(&self) -> Text<'a> {
        Text(self.get().map_or(&[], |disk| &disk.disk_name))
    }

    /// Whether it is called so.
    pub(crate) fn is_named(&self, name: &[u8]) -> bool {
        self.get().is_some_and(|disk| {
            let end = disk.disk_name.get(name.len());
            disk.disk_name.starts_with(name) && end == Some(&0)
        })
    }

    /// Whether it has gone, so that all that is still on its way fails.
    pub(crate) fn is_dead(&self) -> bool {
        self.get()
            .is_some_and(|disk| disk.state & 1 << bindings::GD_DEAD != 0)
    }

    /// Number of its driver.
    pub(crate) fn major(&self) -> u32 {
        self.get().map_or(0, |disk| disk.major as u32)
    }

    /// Its number within the driver's.
    pub(crate) fn minor(&self) -> u32 {
        self.get().map_or(0, |disk| disk.first_minor as u32)
    }
}
