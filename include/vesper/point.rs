// SPDX-License-Identifier: GPL-2.0

//! Points: what the operator can choose of a probe.
//!
//! C header: `include/vesper/hook.h`

use super::{
    bindings,
    this_module, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    error::from_err_ptr,
    ffi::c_char,
    prelude::*,
    sync::Arc, //
};

/// The points that a probe has. [`points!`] makes one.
///
/// # Safety
///
/// `TABLE` is as `hook.h` wants it, and the handlers in it take a `Data` by pointer.
pub(crate) unsafe trait Points {
    /// What the handlers are methods of.
    type Data: Send + Sync + 'static;
    /// One for each.
    const TABLE: &'static [bindings::vesper_point];

    /// What the operator chose, a string.
    fn chosen() -> *const c_char;
}

/// A hook that stands in for the one before it.
#[doc(hidden)]
pub(crate) const fn alternative(
    mut spec: bindings::vesper_hook_spec,
) -> bindings::vesper_hook_spec {
    spec.flags |= bindings::VESPER_HOOK_ELSE;
    spec
}

/// Declares the points of a probe, and the module parameter `points` that chooses among them: each
/// has a name, a text, and the hooks that it takes. `|` separates hooks of which the first that can
/// be attached is taken. A point with `(off)` is attached only if it is named.
///
/// ```ignore
/// points! {
///     /// What this probe can watch.
///     struct Watched for Probe;
///
///     /// A process is chosen to die for want of memory.
///     oom_kill = [mark_victim];
///     /// Reclaim makes a task wait for longer than the threshold.
///     stall = [mm_vmscan_direct_reclaim_begin, mm_vmscan_direct_reclaim_end];
///     /// Every switch from one task to the next.
///     (off) switches = [sched_switch];
/// }
/// ```
macro_rules! points {
    (
        $(#[$table_meta:meta])*
        struct $table:ident for $data:ident;
        $(
            $(#[doc = $doc:literal])*
            $(($off:ident))? $point:ident = [
                $( $hook:ident $(| $other:ident)* ),+ $(,)?
            ];
        )+
    ) => {
        params! {
            points: str[256] = "default",
                "points to attach, by commas; 'default' and 'all' stand for several";
        }

        $(#[$table_meta])*
        pub(crate) enum $table {}

        // SAFETY: All of it is made of literals and of hooks that are as they must be; that they
        // take this type is checked below.
        unsafe impl $crate::vesper::Points for $table {
            type Data = $data;
            const TABLE: &'static [$crate::vesper::bindings::vesper_point] = &[$({
                const HOOKS: &[$crate::vesper::bindings::vesper_hook_spec] = &[$(
                    <$hook as $crate::vesper::Attach>::SPEC,
                    $(
                        $crate::vesper::alternative(
                            <$other as $crate::vesper::Attach>::SPEC
                        ),
                    )*
                )+];

                $crate::vesper::bindings::vesper_point {
                    name: concat!(stringify!($point), "\0").as_ptr().cast(),
                    hooks: HOOKS.as_ptr(),
                    nr_hooks: HOOKS.len() as u32,
                    flags: __vesper_point_flags!($($off)?),
                }
            }),+];

            fn chosen() -> *const ::kernel::ffi::c_char {
                points().as_char_ptr()
            }
        }

        const _: () = {
            const fn takes<T: $crate::vesper::Attach<Data = $data>>() {}
            $(
                $( takes::<$hook>(); $( takes::<$other>(); )* )+
                modinfo!(
                    "vesper_point=", stringify!($point), ":",
                    __vesper_point_state!($($off)?), ":", concat!($($doc),*)
                );
            )+
        };
    };
}

#[doc(hidden)]
macro_rules! __vesper_point_flags {
    () => {
        0
    };
    (off) => {
        $crate::vesper::bindings::VESPER_POINT_OFF
    };
}

#[doc(hidden)]
macro_rules! __vesper_point_state {
    () => {
        "ON"
    };
    (off) => {
        "OFF"
    };
}

/// The points that are attached. Dropping it takes their handlers off and waits until they run
/// nowhere; then the reference to the data goes.
pub(crate) struct Attachment<D> {
    raw: NonNull<bindings::vesper_points>,
    _data: Arc<D>,
}

// SAFETY: An attachment is only ever taken off, which may happen anywhere in process context.
unsafe impl<D: Send + Sync> Send for Attachment<D> {}

// SAFETY: As for `Send`.
unsafe impl<D: Send + Sync> Sync for Attachment<D> {}

impl<D: Send + Sync + 'static> Attachment<D> {
    /// Attaches those points of `P` that the operator chose. The operator is told of those that
    /// can't be. For a module's init function; errors as of `vesper_points_attach()`.
    pub(crate) fn new<P: Points<Data = D>>(data: Arc<D>) -> Result<Self> {
        // SAFETY: The table and its handlers are as they must be by the contract of `Points`; the
        // data lives as long as the attachment, and longer.
        let raw = from_err_ptr(unsafe {
            bindings::vesper_points_attach(
                this_module(),
                P::TABLE.as_ptr(),
                P::TABLE.len() as u32,
                P::chosen(),
                ptr::from_ref(&*data).cast_mut().cast(),
            )
        })?;
        Ok(Self {
            raw: NonNull::new(raw).ok_or(EINVAL)?,
            _data: data,
        })
    }
}

impl<D> Drop for Attachment<D> {
    fn drop(&mut self) {
        // SAFETY: Attached until here.
        unsafe { bindings::vesper_points_detach(self.raw.as_ptr()) };
    }
}
