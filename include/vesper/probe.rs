// SPDX-License-Identifier: GPL-2.0

//! VESPER probe API for probes in Rust.
//!
//! A probe takes this file in with `#[path = ".../vesper/probe.rs"] #[macro_use] mod vesper;` at
//! the root of its crate, after `module!`, and its Kbuild includes `Kbuild.probe`. Then:
//!
//! - [`events!`] describes its records as structs, from which the layout and the metadata come;
//! - [`Channel::open`] opens a channel for them, [`Channel::write`] writes one;
//! - [`tracepoint!`] declares a handler, [`Hook::attach`] has it called;
//! - [`labels!`] names the values of an integer, [`string_param!`] makes a module parameter.
//!
//! C header: `include/vesper/probe.h`, to which this adds types and lifetimes, no more.

#![allow(dead_code, unused_macros)] // Each probe takes the part it needs.

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::from_err_ptr,
    ffi::{
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    ModuleMetadata, //
};

#[macro_use]
#[path = "param.rs"]
pub(crate) mod param;
#[path = "task.rs"]
mod task;
#[path = "value.rs"]
mod value;

pub(crate) use task::{
    Comm,
    Task, //
};
#[allow(unused_imports)] // As above.
pub(crate) use value::{
    Bytes,
    Hex,
    Stack,
    Symbol,
    Text,
    Value, //
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

/// A record that is being written.
pub(crate) struct Record<'a> {
    raw: bindings::vesper_record,
    _channel: PhantomData<&'a ()>,
}

impl Record<'_> {
    #[inline]
    fn raw(&mut self) -> *mut bindings::vesper_record {
        &mut self.raw
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let room = self.raw.end.addr().saturating_sub(self.raw.pos.addr());
        if bytes.len() <= room {
            // SAFETY: There is room at `pos`, and nobody else writes there.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.raw.pos, bytes.len()) };
        }
        // Past the end if it did not fit, so that commit drops the record.
        self.raw.pos = self.raw.pos.wrapping_add(bytes.len());
    }

    #[inline]
    fn put_symbols(&mut self, addresses: &[c_ulong]) {
        // SAFETY: The record is begun, the addresses are as many as said.
        unsafe {
            bindings::vesper_put_symbols(self.raw(), addresses.as_ptr(), addresses.len() as u32)
        };
    }
}

/// The kinds of record that a probe writes. [`events!`] makes one.
///
/// # Safety
///
/// `TABLE` is as `probe.h` wants it: names and fields are valid for ever.
pub(crate) unsafe trait Events {
    /// One for each kind.
    const TABLE: &'static [bindings::vesper_event];
}

/// A kind of record. [`events!`] makes these.
pub(crate) trait Event {
    /// The table it is in.
    type Events: Events;
    /// Its place there.
    const ID: u32;
    /// Its fields.
    const FIELDS: &'static [bindings::vesper_field];

    /// Most bytes that the fields take.
    fn size(&self) -> usize;

    /// Writes the fields, in the order of the table.
    fn put(&self, record: &mut Record<'_>);
}

/// Describes the records of a probe: each struct is a kind of record, its fields are [`Value`]s.
///
/// ```ignore
/// events! {
///     /// What the probe writes.
///     struct Table;
///
///     /// A process ended.
///     struct Exit = c"process_exit" {
///         /// Its id.
///         pid: i32,
///         /// Its name.
///         comm: vesper::Comm,
///     }
/// }
/// ```
macro_rules! events {
    (
        $(#[$table_meta:meta])*
        struct $table:ident;
        $(
            $(#[$meta:meta])*
            struct $event:ident $(<$life:lifetime>)? = $text:literal {
                $( $(#[$field_meta:meta])* $field:ident: $type:ty ),* $(,)?
            }
        )+
    ) => {
        $(#[$table_meta])*
        pub(crate) enum $table {}

        // SAFETY: All of it is made of literals.
        unsafe impl $crate::vesper::Events for $table {
            const TABLE: &'static [$crate::vesper::bindings::vesper_event] = &[$(
                $crate::vesper::bindings::vesper_event {
                    name: ::kernel::str::as_char_ptr_in_const_context($text),
                    fields: <$event as $crate::vesper::Event>::FIELDS.as_ptr(),
                    nr_fields: <$event as $crate::vesper::Event>::FIELDS.len() as u32,
                }
            ),*];
        }

        $(
            $(#[$meta])*
            pub(crate) struct $event $(<$life>)? {
                $( $(#[$field_meta])* pub(crate) $field: $type, )*
            }

            impl $(<$life>)? $crate::vesper::Event for $event $(<$life>)? {
                type Events = $table;
                const ID: u32 = __event_id::$event as u32;
                const FIELDS: &'static [$crate::vesper::bindings::vesper_field] = &[$(
                    $crate::vesper::bindings::vesper_field {
                        name: concat!(stringify!($field), "\0").as_ptr().cast(),
                        type_: <$type as $crate::vesper::Value>::TYPE,
                        labels: <$type as $crate::vesper::Value>::LABELS,
                    },
                )*];

                #[inline]
                fn size(&self) -> usize {
                    0usize $( .saturating_add($crate::vesper::Value::size(&self.$field)) )*
                }

                #[inline]
                fn put(&self, record: &mut $crate::vesper::Record<'_>) {
                    $( $crate::vesper::Value::put(&self.$field, record); )*
                }
            }
        )+

        /// Places in the table.
        #[allow(non_camel_case_types)]
        enum __event_id { $($event),+ }
    };
}

/// Names the values of an integer field: makes a type of field that is written as that integer.
///
/// ```ignore
/// labels! {
///     /// How it ended.
///     struct Outcome(i32) = c"outcome" { c"ok" = 0, c"failed" = 1 }
/// }
/// ```
macro_rules! labels {
    (
        $(#[$meta:meta])*
        struct $name:ident($type:ty) = $text:literal {
            $( $label:literal = $value:expr ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) $type);

        impl $name {
            const ENTRIES: &'static [$crate::vesper::bindings::vesper_label] = &[$(
                $crate::vesper::bindings::vesper_label {
                    value: $value as i64,
                    label: ::kernel::str::as_char_ptr_in_const_context($label),
                },
            )+];
        }

        impl $crate::vesper::Value for $name {
            const TYPE: u32 = <$type as $crate::vesper::Value>::TYPE;
            const LABELS: *const $crate::vesper::bindings::vesper_labels =
                &$crate::vesper::bindings::vesper_labels {
                    name: ::kernel::str::as_char_ptr_in_const_context($text),
                    labels: Self::ENTRIES.as_ptr(),
                    nr_labels: Self::ENTRIES.len() as u32,
                };

            #[inline]
            fn size(&self) -> usize {
                $crate::vesper::Value::size(&self.0)
            }

            #[inline]
            fn put(&self, record: &mut $crate::vesper::Record<'_>) {
                $crate::vesper::Value::put(&self.0, record);
            }
        }
    };
}

fn this_module() -> *mut kernel::bindings::module {
    crate::LocalModule::THIS_MODULE.as_ptr()
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
        let mut raw = bindings::vesper_record {
            pos: ptr::null_mut(),
            end: ptr::null_mut(),
            start: ptr::null_mut(),
            lane: ptr::null(),
            time: 0,
            irq_flags: 0,
        };
        let len = u32::try_from(event.size()).unwrap_or(u32::MAX);
        // SAFETY: The channel is open as long as `self`.
        if !unsafe { bindings::vesper_record_begin(self.raw.as_ptr(), R::ID, len, &mut raw) } {
            return false;
        }
        let mut record = Record {
            raw,
            _channel: PhantomData,
        };
        event.put(&mut record);
        let flags = if urgent {
            bindings::VESPER_RECORD_URGENT
        } else {
            0
        };
        // SAFETY: Begun above, in this context.
        unsafe { bindings::vesper_record_commit(record.raw(), flags) };
        true
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

/// A tracepoint and the handler for it. [`tracepoint!`] makes one.
///
/// # Safety
///
/// `HANDLER` is a function that takes a `Data` by pointer, then the parameters of the tracepoint
/// `NAME`.
pub(crate) unsafe trait Tracepoint {
    /// What the handler gets beside the tracepoint's parameters.
    type Data: Sync + Send;
    /// Name of the tracepoint.
    const NAME: &'static CStr;
    /// The handler.
    const HANDLER: *mut c_void;
}

/// Declares the handler of a tracepoint: a method of the probe's own type.
///
/// The author vouches for the parameters: they must be those of the tracepoint's `TP_PROTO`.
///
/// ```ignore
/// tracepoint! {
///     // SAFETY: As in include/trace/events/sched.h.
///     unsafe fn sched_process_exit(task: *const task_struct, group_dead: bool) => Probe::exit
/// }
/// ```
macro_rules! tracepoint {
    ($(
        $(#[$meta:meta])*
        unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) => $data:ident::$method:ident
    )+) => {
        $(
            $(#[$meta])*
            #[allow(non_camel_case_types)]
            pub(crate) enum $name {}

            // SAFETY: The user of the macro vouches for the parameters, and the first is the data.
            unsafe impl $crate::vesper::Tracepoint for $name {
                type Data = $data;
                const NAME: &'static ::kernel::str::CStr =
                    match ::kernel::str::CStr::from_bytes_with_nul(
                        concat!(stringify!($name), "\0").as_bytes(),
                    ) {
                        Ok(name) => name,
                        Err(_) => c"",
                    };
                const HANDLER: *mut ::kernel::ffi::c_void = {
                    /// # Safety
                    ///
                    /// Called by the tracepoint, with the data of a hook that is attached.
                    unsafe extern "C" fn handler(
                        data: *mut ::kernel::ffi::c_void,
                        $($arg: $type),*
                    ) {
                        // SAFETY: The hook holds a reference to the data until no handler runs.
                        let data = unsafe { &*data.cast::<$data>() };
                        data.$method($($arg),*);
                    }
                    handler as *mut ::kernel::ffi::c_void
                };
            }
        )+
    };
}

/// A handler that is being called. Dropping it takes the handler off and waits until it runs
/// nowhere; then the reference to the data goes.
pub(crate) struct Hook<D> {
    raw: NonNull<bindings::vesper_hook>,
    _data: Arc<D>,
}

// SAFETY: A hook is only ever taken off, which may happen anywhere in process context.
unsafe impl<D: Send + Sync> Send for Hook<D> {}

// SAFETY: As for `Send`.
unsafe impl<D: Send + Sync> Sync for Hook<D> {}

impl<D: Send + Sync> Hook<D> {
    /// Attaches the handler of `T`. Process context. Fails with `ENOENT` if this kernel has no such
    /// tracepoint.
    pub(crate) fn attach<T: Tracepoint<Data = D>>(data: Arc<D>) -> Result<Self> {
        // SAFETY: The handler fits by the contract of `Tracepoint`; the data lives as long as the
        // hook, and longer.
        let raw = from_err_ptr(unsafe {
            bindings::vesper_tracepoint_attach(
                T::NAME.as_char_ptr(),
                T::HANDLER,
                ptr::from_ref(&*data).cast_mut().cast(),
            )
        })?;
        Ok(Self {
            raw: NonNull::new(raw).ok_or(EINVAL)?,
            _data: data,
        })
    }
}

impl<D> Drop for Hook<D> {
    fn drop(&mut self) {
        // SAFETY: Attached until here.
        unsafe { bindings::vesper_hook_detach(self.raw.as_ptr()) };
    }
}
