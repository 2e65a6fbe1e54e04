// SPDX-License-Identifier: GPL-2.0

//! Whose records the operator wants: parameters that mean the same in every probe.

use super::{
    remark,
    Points,
    Task, //
};
use kernel::{
    prelude::*,
    str::{
        BStr,
        CStr, //
    }, //
};

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

/// Tells the operator which of the chosen points do not heed filters that are given: `heeding` are
/// those that do. For a module's init function, of a probe that can't ask each of its points who runs.
pub(crate) fn check<P: Points>(given: bool, heeding: &[&CStr]) {
    if !given {
        return;
    }
    // SAFETY: By the contract of `Points`, both are strings that do not go.
    let text = |raw| unsafe { CStr::from_char_ptr(raw) };
    let chosen = text(P::chosen()).to_bytes();
    let is_chosen = |point: &super::bindings::vesper_point| {
        let on = point.flags & super::bindings::VESPER_POINT_OFF == 0;
        let name = text(point.name).to_bytes();
        chosen.split(|&c| c == b',').any(|word| match word {
            b"" | b"default" => on,
            b"all" => true,
            word => word == name,
        })
    };
    let mut deaf = KVec::new();
    for point in P::TABLE.iter().filter(|point| is_chosen(point)) {
        let name = text(point.name);
        if heeding.contains(&name) {
            continue;
        }
        let comma: &[u8] = if deaf.is_empty() { b"" } else { b", " };
        let added = deaf
            .extend_from_slice(comma, GFP_KERNEL)
            .and_then(|()| deaf.extend_from_slice(name.to_bytes(), GFP_KERNEL));
        if added.is_err() {
            break;
        }
    }
    if !deaf.is_empty() {
        remark(fmt!(
            "pid= and comm= filter nothing at the points {}: these are met in anybody's name",
            BStr::from_bytes(&deaf)
        ));
    }
}

/// Makes the parameters `pid` and `comm`, or one of them, and `wanted(task)`, which says whether the
/// operator wants to hear of a task. Any context. `filtered()` says whether any is given.
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

        /// Whether the operator does not want to hear of every task.
        #[allow(dead_code)] // For probes that can't ask it at each of their points.
        fn filtered() -> bool {
            false $( || __vesper_filtered!($name) )+
        }
    };
}

#[doc(hidden)]
macro_rules! __vesper_filtered {
    (pid) => {
        pid() != 0
    };
    (comm) => {
        !comm().is_empty()
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
