// SPDX-License-Identifier: GPL-2.0

//! Trace events: the steps of the paper, as they are taken.
//!
//! C header: `guest/trace.h`, which says what each means. They cost a jump that is not taken while
//! nobody has them enabled.

use crate::{
    abi::NAME_LEN,
    bindings, //
};
use kernel::{
    ffi,
    prelude::*, //
};

/// A name for C. One that lacks its terminator is none.
fn name(field: &[u8; NAME_LEN]) -> *const ffi::c_char {
    CStr::from_bytes_until_nul(field)
        .unwrap_or(c"")
        .as_char_ptr()
}

/// 0 or a positive errno value.
fn status(result: &Result) -> u32 {
    match result {
        Ok(()) => 0,
        Err(e) => e.to_errno().unsigned_abs(),
    }
}

macro_rules! requests {
    ($($(#[$doc:meta])* $event:ident => $call:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $event(id: u32, module: &[u8; NAME_LEN]) {
            // SAFETY: The string is terminated, and copied before the call returns.
            unsafe { bindings::$call(id, name(module)) };
        }
    )*};
}

requests! {
    /// A3
    load_request => vesper_trace_load_request;
    /// A4
    load_begin => vesper_trace_load_begin;
    /// C3
    unload_request => vesper_trace_unload_request;
    /// C4
    unload_begin => vesper_trace_unload_begin;
}

/// A8
pub(crate) fn load_done(id: u32, module: &[u8; NAME_LEN], result: &Result) {
    // SAFETY: The string is terminated, and copied before the call returns.
    unsafe { bindings::vesper_trace_load_done(id, name(module), status(result)) };
}

/// C8
pub(crate) fn unload_done(id: u32, module: &[u8; NAME_LEN], result: &Result) {
    // SAFETY: The string is terminated, and copied before the call returns.
    unsafe { bindings::vesper_trace_unload_done(id, name(module), status(result)) };
}

/// A5
pub(crate) fn channel_open(channel: u32, module: &[u8; NAME_LEN], channel_name: &[u8; NAME_LEN]) {
    // SAFETY: The strings are terminated, and copied before the call returns.
    unsafe { bindings::vesper_trace_channel_open(channel, name(module), name(channel_name)) };
}

/// A6
pub(crate) fn lend(channel: u32, buffer: u32, first: u32, nr_pages: usize) {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_trace_lend(channel, buffer, first, nr_pages as u32) };
}

/// A7
pub(crate) fn share(channel: u32, buffer: u32) {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_trace_share(channel, buffer) };
}

/// B1. Any context.
pub(crate) fn switch(cpu: u32, produced: u64) {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_trace_switch(cpu, produced) };
}

/// B2 and B3. Any context.
pub(crate) fn notify(channel: u32, buffer: u32, produced: u64, urgent: bool, sent: bool) {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_trace_notify(channel, buffer, produced, urgent, sent) };
}

/// B4. Any context.
pub(crate) fn consumed(cpu: u32, consumed: u64) {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_trace_consumed(cpu, consumed) };
}

/// C5
pub(crate) fn unshare(channel: u32, result: &Result) {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_trace_unshare(channel, status(result)) };
}

/// C6
pub(crate) fn returned(channel: u32, result: &Result) {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_trace_returned(channel, status(result)) };
}

/// C7
pub(crate) fn channel_close(channel: u32, result: &Result) {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_trace_channel_close(channel, status(result)) };
}
