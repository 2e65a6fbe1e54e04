// SPDX-License-Identifier: GPL-2.0

//! Whose records the operator wants: parameters that mean the same in every probe.

use super::Task;
use kernel::str::CStr;

/// Whether a task is of the process `pid`, 0 being any.
#[inline]
pub(crate) fn pid(pid: i32, task: Task<'_>) -> bool {
    pid == 0 || pid == task.tgid()
}

/// Whether a task has the name `comm`, an empty one being any.
#[inline]
pub(crate) fn comm(comm: &CStr, task: Task<'_>) -> bool {
    comm.is_empty() || comm.to_bytes() == task.comm().as_bytes()
}

/// Makes the parameters `pid` and `comm`, or one of them, and `wanted(task)`, which says whether the
/// operator wants to hear of a task. Any context.
///
/// ```ignore
/// filters!(pid, comm);
/// ```
macro_rules! filters {
    ($($name:ident),+ $(,)?) => {
        $( __vesper_filter!($name); )+

        /// Whether the operator wants to hear of `task`. Any context.
        #[inline]
        fn wanted(task: $crate::vesper::Task<'_>) -> bool {
            true $( && $crate::vesper::filter::$name($name(), task) )+
        }
    };
}

#[doc(hidden)]
macro_rules! __vesper_filter {
    (pid) => {
        params! { pid: i32 = 0, "only this process (0: all)"; }
    };
    (comm) => {
        params! { comm: str[16] = "", "only tasks of this name (empty: all)"; }
    };
}
