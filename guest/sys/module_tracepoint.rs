// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of modules, which come and go with them.
//!
//! C header: [`include/linux/tracepoint.h`](srctree/include/linux/tracepoint.h)

use crate::bindings;
use core::{
    cell::Cell,
    marker::PhantomPinned,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    str::CString,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

/// A handler at a tracepoint of a module, which is attached whenever that module is there. Dropping
/// it takes the handler off, and waits until it runs nowhere.
pub(crate) struct Attached(Pin<KBox<Inner>>);

#[pin_data]
#[repr(C)]
struct Inner {
    // First, so that a pointer to it is one to the whole.
    #[pin]
    block: Opaque<bindings::notifier_block>,
    /// Which module; any if there is none.
    module: Option<CString>,
    name: CString,
    handler: NonNull<c_void>,
    data: *mut c_void,
    /// Where the handler is. Used in calls of the chain only, which a lock of the kernel makes one
    /// after the other, and after them.
    tracepoint: Cell<*mut bindings::tracepoint>,
    /// Whether it is, for others to see.
    attached: Atomic<bool>,
    /// Why it last could not be put there, an errno; 0 if it could.
    error: Atomic<i32>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: What may be used by one context at a time is, as said at the field; the rest is never
// written.
unsafe impl Send for Attached {}

// SAFETY: A shared one gives access to nothing.
unsafe impl Sync for Attached {}

impl Attached {
    /// Has `handler(data, ...)` called at tracepoint `name` of `module`, now or when that is loaded;
    /// if none is given, of a module that is loaded now. Process context. Fails with `ENOENT` if
    /// the module has no such tracepoint, or none of all.
    ///
    /// # Safety
    ///
    /// `handler` is a function whose parameters are a pointer and those of the tracepoint, which
    /// may be called in the tracepoint's context with `data` until the result is dropped.
    pub(crate) unsafe fn new(
        module: Option<CString>,
        name: CString,
        handler: NonNull<c_void>,
        data: *mut c_void,
    ) -> Result<Self> {
        let waits = module.is_some();
        let inner = KBox::pin_init(
            pin_init!(Inner {
                block: Opaque::new(bindings::notifier_block {
                    notifier_call: Some(changed),
                    ..Zeroable::zeroed()
                }),
                module,
                name,
                handler,
                data,
                tracepoint: Cell::new(ptr::null_mut()),
                attached: Atomic::new(false),
                error: Atomic::new(0),
                _pin: PhantomPinned,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The block is initialised, and pinned until `drop` takes it off the chain. Each
        // module that is loaded is passed to it before this returns.
        to_result(unsafe { bindings::register_tracepoint_module_notifier(inner.block.get()) })?;
        let attached = Self(inner);
        to_result(attached.0.error.load(Relaxed))?;
        if !waits && !attached.is_attached() {
            return Err(ENOENT);
        }
        Ok(attached)
    }

    /// Whether the handler is at the tracepoint now.
    pub(crate) fn is_attached(&self) -> bool {
        self.0.attached.load(Relaxed)
    }

    /// Why it is not, although the module is there: as `new` fails.
    pub(crate) fn check(&self) -> Result {
        if self.is_attached() {
            return Ok(());
        }
        to_result(self.0.error.load(Relaxed))?;
        // A module without tracepoints, or one that taints the kernel, is not passed on.
        Err(ENOENT)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: On the chain since `new`. Each module is passed to the block as if it went, so
        // that the handler is off afterwards.
        unsafe { bindings::unregister_tracepoint_module_notifier(self.0.block.get()) };
    }
}

impl Inner {
    /// # Safety
    ///
    /// `module` is what the chain passes, in such a call.
    unsafe fn find(&self, module: *mut c_void) -> *mut bindings::tracepoint {
        // SAFETY: By the contract above.
        unsafe {
            if let Some(wanted) = &self.module {
                let name =
                    CStr::from_char_ptr(bindings::vesper_helper_tracepoint_module(module).cast());
                if **wanted != *name {
                    return ptr::null_mut();
                }
            }
            bindings::vesper_helper_tracepoint_find(module, self.name.as_char_ptr())
        }
    }
}

/// # Safety
///
/// Called by the chain of tracepoints in modules only, with the block of an `Inner`.
unsafe extern "C" fn changed(
    block: *mut bindings::notifier_block,
    event: c_ulong,
    module: *mut c_void,
) -> c_int {
    // SAFETY: The block is the first field of an `Inner`, which is `repr(C)`.
    let this = unsafe { &*block.cast::<Inner>() };
    // SAFETY: This is such a call.
    let tracepoint = unsafe { this.find(module) };
    let attached = this.tracepoint.get();
    match event as u32 {
        bindings::module_state_MODULE_STATE_COMING => {
            if tracepoint.is_null() && this.module.is_some() {
                // SAFETY: This is such a call.
                let name = unsafe {
                    CStr::from_char_ptr(bindings::vesper_helper_tracepoint_module(module).cast())
                };
                if this.module.as_ref().is_some_and(|wanted| **wanted == *name) {
                    this.error.store(ENOENT.to_errno(), Relaxed);
                }
            } else if !tracepoint.is_null() && attached.is_null() {
                // SAFETY: The tracepoint is there until the chain says that it goes; the handler
                // fits by the contract of `new`.
                match to_result(unsafe {
                    bindings::tracepoint_probe_register(
                        tracepoint,
                        this.handler.as_ptr(),
                        this.data,
                    )
                }) {
                    Ok(()) => {
                        this.tracepoint.set(tracepoint);
                        this.error.store(0, Relaxed);
                        this.attached.store(true, Relaxed);
                    }
                    Err(e) => this.error.store(e.to_errno(), Relaxed),
                }
            }
        }
        bindings::module_state_MODULE_STATE_GOING
            if !tracepoint.is_null() && tracepoint == attached =>
        {
            // SAFETY: Registered above with these very values. When the second call returns, no CPU
            // is in the handler any more.
            unsafe {
                bindings::tracepoint_probe_unregister(tracepoint, this.handler.as_ptr(), this.data);
                bindings::vesper_helper_tracepoint_synchronize_unregister();
            }
            this.tracepoint.set(ptr::null_mut());
            this.attached.store(false, Relaxed);
        }
        _ => (),
    }
    bindings::NOTIFY_OK as c_int
}
