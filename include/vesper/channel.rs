// SPDX-License-Identifier: GPL-2.0

//! Channels, and records written to them.

use super::{
    bindings,
    this_module,
    Event,
    Events, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::from_err_ptr,
    ffi::c_ulong,
    prelude::*, //
};

/// A record that is being written.
pub(crate) struct Record<'a> {
    raw: bindings::vesper_record,
    _channel: PhantomData<&'a ()>,
}

impl Record<'_> {
    /// Writes a record of at most `len` bytes, whose fields `put` puts: for events that are not
    /// known before the probe is loaded. Else as [`Channel::write`].
    ///
    /// # Safety
    ///
    /// `channel` is open, and has such an event in its table.
    #[inline]
    pub(crate) unsafe fn write(
        channel: *mut bindings::vesper_channel,
        event: u32,
        len: usize,
        urgent: bool,
        put: impl FnOnce(&mut Record<'_>),
    ) -> bool {
        let mut raw = bindings::vesper_record {
            pos: ptr::null_mut(),
            end: ptr::null_mut(),
            start: ptr::null_mut(),
            lane: ptr::null(),
            time: 0,
            irq_flags: 0,
        };
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        // SAFETY: By the contract above.
        if !unsafe { bindings::vesper_record_begin(channel, event, len, &mut raw) } {
            return false;
        }
        let mut record = Record {
            raw,
            _channel: PhantomData,
        };
        put(&mut record);
        let flags = if urgent {
            bindings::VESPER_RECORD_URGENT
        } else {
            0
        };
        // SAFETY: Begun above, in this context.
        unsafe { bindings::vesper_record_commit(record.raw(), flags) };
        true
    }

    #[inline]
    pub(super) fn raw(&mut self) -> *mut bindings::vesper_record {
        &mut self.raw
    }

    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let room = self.raw.end.addr().saturating_sub(self.raw.pos.addr());
        if bytes.len() <= room {
            // SAFETY: There is room at `pos`, and nobody else writes there.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.raw.pos, bytes.len()) };
        }
        // Past the end if it did not fit, so that commit drops the record.
        self.raw.pos = self.raw.pos.wrapping_add(bytes.len());
    }

    #[inline]
    pub(super) fn put_symbols(&mut self, addresses: &[c_ulong]) {
        // SAFETY: The record is begun, the addresses are as many as said.
        unsafe {
            bindings::vesper_put_symbols(self.raw(), addresses.as_ptr(), addresses.len() as u32)
        };
    }
}

/// How a channel is to be; `..Default::default()` for what does not matter.
#[derive(Default)]
pub(crate) struct Options {
    /// Base name of the files on the host; `cpu` if there is none.
    pub(crate) name: Option<&'static CStr>,
    /// Bytes in a sub-buffer, a multiple of 4096; 0 for the default.
    pub(crate) subbuf_size: u32,
    /// Sub-buffers in the buffer of each CPU; 0 for the default.
    pub(crate) n_subbufs: u32,
    /// Milliseconds that an ordinary record waits at most; 0 for the default.
    pub(crate) switch_ms: u32,
    /// When full, write over the oldest instead of dropping.
    pub(crate) overwrite: bool,
}

/// A channel for the records of `E`. Dropping it publishes what lies waiting and closes it.
pub(crate) struct Channel<E: Events> {
    raw: NonNull<bindings::vesper_channel>,
    _events: PhantomData<fn(E)>,
}

// SAFETY: The API is made to be called from any CPU.
unsafe impl<E: Events> Send for Channel<E> {}

// SAFETY: As for `Send`.
unsafe impl<E: Events> Sync for Channel<E> {}

impl<E: Events> Channel<E> {
    /// Opens a channel and shares it with the host. Process context; errors as
    /// `vesper_channel_open()`.
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let spec = bindings::vesper_channel_spec {
            owner: this_module(),
            name: options.name.map_or(ptr::null(), CStr::as_char_ptr),
            events: E::TABLE.as_ptr(),
            nr_events: E::TABLE.len() as u32,
            flags: if options.overwrite {
                bindings::VESPER_CHANNEL_OVERWRITE
            } else {
                0
            },
            subbuf_size: options.subbuf_size,
            n_subbufs: options.n_subbufs,
            switch_ms: options.switch_ms,
        };
        // SAFETY: The table is valid by the contract of `Events`, the rest is made here.
        let raw = from_err_ptr(unsafe { bindings::vesper_channel_open(&spec) })?;
        Ok(Self {
            raw: NonNull::new(raw).ok_or(EINVAL)?,
            _events: PhantomData,
        })
    }

    /// Writes a record, and lets the host know at once if it is urgent. Returns whether there was
    /// room; if not, the record is counted as lost. Any context, NMI included.
    #[inline]
    pub(crate) fn write<R: Event<Events = E>>(&self, event: &R, urgent: bool) -> bool {
        // SAFETY: The channel is open as long as `self`, and the event is of its table.
        unsafe {
            Record::write(self.raw.as_ptr(), R::ID, event.size(), urgent, |record| {
                event.put(record)
            })
        }
    }

    /// Publishes what lies waiting, on all CPUs. Process context.
    pub(crate) fn flush(&self) {
        // SAFETY: The channel is open as long as `self`.
        unsafe { bindings::vesper_channel_flush(self.raw.as_ptr()) };
    }

    /// The channel, for the functions of `probe.h`.
    pub(crate) fn as_raw(&self) -> *mut bindings::vesper_channel {
        self.raw.as_ptr()
    }
}

impl<E: Events> Drop for Channel<E> {
    fn drop(&mut self) {
        // SAFETY: Open until here, and nobody else has it.
        unsafe { bindings::vesper_channel_close(self.raw.as_ptr()) };
    }
}
