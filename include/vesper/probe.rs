// SPDX-License-Identifier: GPL-2.0

//! VESPER probe API for probes in Rust.
//!
//! A probe takes this file in with `#[path = ".../vesper/probe.rs"] #[macro_use] mod vesper;` at
//! the root of its crate, after `module!`, and its Kbuild includes `Kbuild.probe`. Then:
//!
//! - [`events!`] describes its records as structs, from which the layout and the metadata come;
//! - [`Channel::open`] opens a channel for them, [`Channel::write`] writes one;
//! - [`tracepoint!`], [`kprobe!`], [`fprobe!`] and [`source!`] declare handlers, [`points!`] what
//!   the operator can choose among them, and [`Attachment::new`] attaches what was chosen;
//! - [`labels!`] names the values of an integer, [`params!`] makes module parameters, [`filters!`]
//!   those that say whose records are wanted.
//!
//! C header: `include/vesper/probe.h`, to which this adds types and lifetimes, no more.

#![allow(dead_code, unused_macros)] // Each probe takes the part it needs.

#[macro_use]
#[path = "modinfo.rs"]
pub(crate) mod modinfo;
#[path = "channel.rs"]
mod channel;
#[macro_use]
#[path = "event.rs"]
mod event;
#[macro_use]
#[path = "param.rs"]
pub(crate) mod param;
#[macro_use]
#[path = "filter.rs"]
pub(crate) mod filter;
#[macro_use]
#[path = "hook.rs"]
mod hook;
#[macro_use]
#[path = "point.rs"]
mod point;
#[path = "task.rs"]
mod task;
#[path = "value.rs"]
mod value;

#[allow(unused_imports)] // As above.
pub(crate) use {
    channel::{
        Channel,
        Options,
        Record, //
    },
    event::{
        type_name,
        Event,
        Events, //
    },
    hook::{
        read,
        read_string,
        remark,
        Attach,
        Hook,
        Regs, //
    },
    point::{
        alternative,
        Attachment,
        Points, //
    },
    task::{
        Comm,
        Task,
        COMM_LEN, //
    },
    value::{
        Bytes,
        Hex,
        Labels,
        Names,
        Stack,
        Symbol,
        Text,
        Value, //
    },
};

/// Fence around the bindings that bindgen made.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
pub(crate) mod bindings {
    include!(env!("VESPER_BINDINGS"));
}

/// This module.
pub(crate) fn this_module() -> *mut kernel::bindings::module {
    // SAFETY: The address of the module's own description, which nobody reads here.
    #[allow(unused_unsafe)] // Later compilers know.
    unsafe {
        ::core::ptr::addr_of_mut!(::kernel::bindings::__this_module)
    }
}
