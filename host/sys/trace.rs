// SPDX-License-Identifier: GPL-2.0

//! Trace events, system `vesper`: what they say is in `vesper_trace.h`. Any context.

use crate::{
    abi::NAME_LEN,
    bindings, //
};
use kernel::{
    prelude::*,
    str::CStr, //
};

/// A name in its field.
type Name = [u8; NAME_LEN];

/// A buffer, for the events that tell of one.
pub(crate) struct BufferFacts<'a> {
    /// Name of its domain.
    pub(crate) domain: &'a Name,
    /// Name of its module.
    pub(crate) module: &'a Name,
    /// Name of its channel.
    pub(crate) channel: &'a Name,
    /// Number in its channel.
    pub(crate) buffer: u32,
    /// Sub-buffers closed.
    pub(crate) produced: u64,
    /// Sub-buffers done with.
    pub(crate) consumed: u64,
}

/// What happens to a buffer.
#[derive(Clone, Copy)]
pub(crate) enum BufferEvent {
    /// It gets a file.
    Share,
    /// It is taken from its guest.
    Unshare,
    /// Its pages are let go.
    Return,
    /// Its guest says that a sub-buffer was closed.
    Switch,
}

/// A VMM takes a name.
pub(crate) fn attach(domain: &Name, pid: i32) {
    // SAFETY: The field has the size that the event copies.
    unsafe { bindings::vesper_helper_trace_attach(domain.as_ptr(), pid) };
}

/// A VMM is gone, and `kept` bytes are kept.
pub(crate) fn detach(domain: &Name, kept: u64) {
    // SAFETY: The field has the size that the event copies.
    unsafe { bindings::vesper_helper_trace_detach(domain.as_ptr(), kept) };
}

/// One of the paper's steps is done, or has failed with `status`.
pub(crate) fn step(step: &'static CStr, domain: &Name, module: &Name, status: i32) {
    // SAFETY: The fields have the size that the event copies, and `step` is terminated.
    unsafe {
        bindings::vesper_helper_trace_step(
            step.as_char_ptr(),
            domain.as_ptr(),
            module.as_ptr(),
            status,
        )
    };
}

/// Pages are lent, from number `first` on; `None` for the index page.
pub(crate) fn lend(domain: &Name, channel: u32, buffer: u32, first: Option<u32>, pages: u32) {
    // SAFETY: The field has the size that the event copies.
    unsafe {
        bindings::vesper_helper_trace_lend(
            domain.as_ptr(),
            channel,
            buffer,
            first.unwrap_or(u32::MAX),
            pages,
        )
    };
}

/// Something happens to a buffer.
pub(crate) fn buffer(event: BufferEvent, facts: &BufferFacts<'_>) {
    let what = match event {
        BufferEvent::Share => bindings::vesper_trace_buffer_VESPER_TRACE_SHARE,
        BufferEvent::Unshare => bindings::vesper_trace_buffer_VESPER_TRACE_UNSHARE,
        BufferEvent::Return => bindings::vesper_trace_buffer_VESPER_TRACE_RETURN,
        BufferEvent::Switch => bindings::vesper_trace_buffer_VESPER_TRACE_SWITCH,
    };
    // SAFETY: The fields have the size that the event copies.
    unsafe {
        bindings::vesper_helper_trace_buffer(
            what,
            facts.domain.as_ptr(),
            facts.module.as_ptr(),
            facts.channel.as_ptr(),
            facts.buffer,
            facts.produced,
            facts.consumed,
        )
    };
}

/// A guest says that it panics.
pub(crate) fn panic(domain: &Name) {
    // SAFETY: The field has the size that the event copies.
    unsafe { bindings::vesper_helper_trace_panic(domain.as_ptr()) };
}

/// A guest broke the protocol.
pub(crate) fn broken(domain: &Name, why: &str) {
    // SAFETY: The field has the size that the event copies; of `why` it copies no more than `len`.
    unsafe { bindings::vesper_helper_trace_broken(domain.as_ptr(), why.as_ptr(), why.len()) };
}

/// What the heartbeat says of a guest has changed.
pub(crate) fn heartbeat(domain: &Name, state: u32, reason: u32, silent_ms: u64) {
    // SAFETY: The field has the size that the event copies.
    unsafe { bindings::vesper_helper_trace_heartbeat(domain.as_ptr(), state, reason, silent_ms) };
}

/// What was kept is thrown away; an empty `module` stands for all.
pub(crate) fn reap(domain: &Name, module: &Name, bytes: u64) {
    // SAFETY: The fields have the size that the event copies.
    unsafe { bindings::vesper_helper_trace_reap(domain.as_ptr(), module.as_ptr(), bytes) };
}
