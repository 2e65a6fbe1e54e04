// SPDX-License-Identifier: GPL-2.0

//! The daemon stays in memory: it has to judge and to act on a host that is short of
//! memory, or whose disks fail, and must not wait for a page of its own then.

use rustix::mm::{mlockall, MlockAllFlags};

/// Reads in and locks what is mapped, and locks what will be, page by page as it is used:
/// stacks of threads are mostly not. For whoever may not there is something to say, and all
/// else works. See mlockall(2).
pub fn stay() -> Option<String> {
    let locked = mlockall(MlockAllFlags::CURRENT)
        .and_then(|()| mlockall(MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT));
    let errno = locked.err()?;
    Some(format!(
        "its memory is not locked: {errno}; a host that is short of memory may hold it up \
         (CAP_IPC_LOCK is needed, or LimitMEMLOCK= in its unit)"
    ))
}
