// SPDX-License-Identifier: GPL-2.0

//! Processes and threads named by number, across pid namespaces.
//!
//! C header: [`include/linux/pid.h`](srctree/include/linux/pid.h)

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// A counted reference to a `struct pid`.
pub(crate) struct Pid(NonNull<bindings::pid>);

// SAFETY: A `struct pid` may be used and put from any thread.
unsafe impl Send for Pid {}
// SAFETY: As above.
unsafe impl Sync for Pid {}

impl Pid {
    /// Finds thread `nr` of the caller's pid namespace; `ESRCH` if there is none.
    pub(crate) fn find(nr: i32) -> Result<Self> {
        if nr <= 0 {
            return Err(ESRCH);
        }
        // SAFETY: No requirements.
        let pid = unsafe { bindings::find_get_pid(nr) };
        NonNull::new(pid).map(Self).ok_or(ESRCH)
    }

    /// The calling process.
    pub(crate) fn current_process() -> Result<Self> {
        // SAFETY: No requirements.
        let pid = unsafe { bindings::vesper_helper_get_tgid() };
        NonNull::new(pid).map(Self).ok_or(ESRCH)
    }

    /// The calling process's number in the first pid namespace.
    pub(crate) fn current_nr() -> i32 {
        kernel::current!().group_leader().pid()
    }

    /// Its number in the caller's pid namespace, 0 if it has none there.
    pub(crate) fn nr(&self) -> i32 {
        // SAFETY: We hold a reference.
        unsafe { bindings::pid_vnr(self.0.as_ptr()) }
    }
}

/// What is seen of a thread at a glance.
pub(crate) struct ThreadSight {
    /// Time that it has executed and time that it has waited for a processor, in nanoseconds.
    pub(crate) executed: u64,
    pub(crate) delayed: u64,
    /// `VESPER_THREAD_*`.
    pub(crate) doing: u32,
}

impl Pid {
    /// Looks at the thread; `None` if it is gone.
    pub(crate) fn sight(&self) -> Option<ThreadSight> {
        let mut sight = bindings::vesper_thread_sight {
            executed: 0,
            delayed: 0,
            doing: 0,
        };
        // SAFETY: We hold a reference, and `sight` can be written to.
        let there = unsafe { bindings::vesper_helper_thread_sight(self.0.as_ptr(), &mut sight) };
        there.then_some(ThreadSight {
            executed: sight.executed,
            delayed: sight.delayed,
            doing: sight.doing,
        })
    }
}

impl Drop for Pid {
    fn drop(&mut self) {
        // SAFETY: We hold the reference that is given back here.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}
