// SPDX-License-Identifier: GPL-2.0

//! The heartbeat's timers and the memory in which they count: `guest/beat.c`.

use super::page::PagePtr;
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

/// Lines for the guest as a whole and for each CPU.
///
/// # Invariants
///
/// `start` came from `vesper_beat_alloc`, and `pages` are the pages there.
pub(crate) struct Lines {
    start: NonNull<c_void>,
    pages: KVec<PagePtr>,
}

// SAFETY: Memory that belongs to no thread; Rust does not look into it.
unsafe impl Send for Lines {}

// SAFETY: As for `Send`.
unsafe impl Sync for Lines {}

impl Lines {
    /// Makes them for `nr_cpus` CPUs. Process context.
    pub(crate) fn new(nr_cpus: u32) -> Result<Self> {
        // SAFETY: No requirements.
        let start = unsafe { bindings::vesper_beat_alloc(nr_cpus) };
        // INVARIANT: Just allocated; the pages are added below.
        let mut lines = Self {
            start: NonNull::new(start).ok_or(ENOMEM)?,
            pages: KVec::new(),
        };
        let bytes = (nr_cpus as usize)
            .wrapping_add(1)
            .wrapping_mul(bindings::VESPER_BEAT_LINE as usize);
        for page in 0..bytes.div_ceil(PAGE_SIZE) {
            // SAFETY: Within the memory that was allocated for so many lines.
            let page = unsafe { bindings::vesper_beat_page(start, page as u32) };
            // SAFETY: A page of our own, which stays as long as `lines`.
            let page = unsafe { PagePtr::new(NonNull::new(page).ok_or(ENOMEM)?) };
            lines.pages.push(page, GFP_KERNEL)?;
        }
        Ok(lines)
    }

    /// Their pages, which stay allocated as long as `self`.
    pub(crate) fn pages(&self) -> &[PagePtr] {
        &self.pages
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; `Timers` keep what they count in alive.
        unsafe { bindings::vesper_beat_free(self.start.as_ptr()) };
    }
}

/// The timers. There may be one set of them at a time. Dropping it stops them.
pub(crate) struct Timers<T> {
    _lines: Arc<T>,
}

impl<T: AsRef<Lines>> Timers<T> {
    /// Starts a timer on each CPU, now and as CPUs come. Process context.
    ///
    /// # Safety
    ///
    /// No other timers are there, and none are started while these are.
    pub(crate) unsafe fn start(lines: Arc<T>) -> Result<Self> {
        let start = (*lines).as_ref().start;
        // SAFETY: The lines stay until the timers are stopped: `Self` holds them. The rest is
        // required above.
        to_result(unsafe { bindings::vesper_beat_start(start.as_ptr()) })?;
        Ok(Self { _lines: lines })
    }
}

impl<T> Drop for Timers<T> {
    fn drop(&mut self) {
        // SAFETY: They were started, and are stopped once.
        unsafe { bindings::vesper_beat_stop() };
    }
}

/// Says in the lines that are in use, if any, that no beat is to be expected. Waits for nothing.
pub(crate) fn shutdown() {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_beat_shutdown() };
}

/// Says in the lines that are in use, if any, that the kernel panics. From a panic notifier.
pub(crate) fn panic() {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_beat_panic() };
}
