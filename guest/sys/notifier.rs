// SPDX-License-Identifier: GPL-2.0

//! Notifier chains: panic, and the life of modules.
//!
//! C headers: [`include/linux/notifier.h`](srctree/include/linux/notifier.h),
//! [`include/linux/panic_notifier.h`](srctree/include/linux/panic_notifier.h),
//! [`include/linux/module.h`](srctree/include/linux/module.h)

use super::module::Module;
use crate::bindings;
use core::marker::PhantomPinned;
use kernel::{
    error::to_result,
    ffi,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// Is told of a panic.
pub(crate) trait OnPanic: Send + Sync + 'static {
    /// The kernel panics: interrupts are off and all other CPUs have stopped, maybe with locks
    /// held.
    fn panic(&self);
}

/// Is told of the life of modules. Process context.
pub(crate) trait OnModule: Send + Sync + 'static {
    /// Place in the chain. As it is, early: a module that must not come should not be seen by
    /// others.
    const PRIORITY: ffi::c_int = ffi::c_int::MAX;

    /// The calling thread loads a module; none of its code has run. An error ends the load.
    fn coming(&self, _module: &Module) -> Result {
        Ok(())
    }

    /// A module has come, and its init function has run.
    fn live(&self, _module: &Module) {}

    /// A module goes, or fails to come after all.
    fn going(&self, _module: &Module) {}
}

/// A notifier that is on its chain until it is dropped.
///
/// # Invariants
///
/// `inner.block` is registered on the chain that `unregister` takes it off.
pub(crate) struct Notifier<T> {
    inner: Pin<KBox<Inner<T>>>,
    unregister: unsafe fn(*mut bindings::notifier_block),
}

#[pin_data]
#[repr(C)]
struct Inner<T> {
    // First, so that a pointer to it is one to the whole.
    #[pin]
    block: Opaque<bindings::notifier_block>,
    data: Arc<T>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Any thread may take a notifier off its chain.
unsafe impl<T: Send + Sync> Send for Notifier<T> {}

// SAFETY: A shared notifier gives access to nothing.
unsafe impl<T: Send + Sync> Sync for Notifier<T> {}

impl<T: Send + Sync> Notifier<T> {
    /// # Safety
    ///
    /// `call` expects the block of an `Inner<T>`; `register` puts a block on a chain, and
    /// `unregister` takes it off again and waits for calls to end.
    unsafe fn register(
        data: Arc<T>,
        call: bindings::notifier_fn_t,
        priority: ffi::c_int,
        register: unsafe fn(*mut bindings::notifier_block) -> ffi::c_int,
        unregister: unsafe fn(*mut bindings::notifier_block),
    ) -> Result<Self> {
        let inner = KBox::pin_init(
            pin_init!(Inner {
                block: Opaque::new(bindings::notifier_block {
                    notifier_call: call,
                    priority,
                    ..Zeroable::zeroed()
                }),
                data,
                _pin: PhantomPinned,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The block is initialised, and pinned until `drop` takes it off the chain.
        to_result(unsafe { register(inner.block.get()) })?;
        // INVARIANT: Just registered.
        Ok(Self { inner, unregister })
    }
}

impl<T: OnPanic> Notifier<T> {
    /// Has `data` told of a panic.
    pub(crate) fn on_panic(data: Arc<T>) -> Result<Self> {
        // SAFETY: `panic_call` is made for this; both functions serve the panic chain, which waits
        // for an RCU grace period.
        unsafe {
            Self::register(
                data,
                Some(panic_call::<T>),
                ffi::c_int::MAX,
                |block| {
                    bindings::atomic_notifier_chain_register(
                        &raw mut bindings::panic_notifier_list,
                        block,
                    )
                },
                |block| {
                    bindings::atomic_notifier_chain_unregister(
                        &raw mut bindings::panic_notifier_list,
                        block,
                    );
                },
            )
        }
    }
}

impl<T: OnModule> Notifier<T> {
    /// Has `data` told of modules.
    pub(crate) fn on_module(data: Arc<T>) -> Result<Self> {
        // SAFETY: `module_call` is made for this; both functions serve the module chain, which
        // holds a lock while it calls.
        unsafe {
            Self::register(
                data,
                Some(module_call::<T>),
                T::PRIORITY,
                |block| bindings::register_module_notifier(block),
                |block| {
                    bindings::unregister_module_notifier(block);
                },
            )
        }
    }
}

impl<T> Drop for Notifier<T> {
    fn drop(&mut self) {
        // SAFETY: Registered on the chain that this is for, by the type's invariants.
        unsafe { (self.unregister)(self.inner.block.get()) };
    }
}

/// # Safety
///
/// `block` is that of an `Inner<T>` that is on a chain, for all of `'a`.
unsafe fn data<'a, T>(block: *mut bindings::notifier_block) -> &'a T {
    // SAFETY: The block is the first field of `Inner`, which is `repr(C)`.
    unsafe { &(*block.cast::<Inner<T>>()).data }
}

/// # Safety
///
/// Called by the panic chain only, with the block of an `Inner<T>`.
unsafe extern "C" fn panic_call<T: OnPanic>(
    block: *mut bindings::notifier_block,
    _event: ffi::c_ulong,
    _message: *mut ffi::c_void,
) -> ffi::c_int {
    // SAFETY: The chain passes the block that was put on it.
    unsafe { data::<T>(block) }.panic();
    bindings::NOTIFY_DONE as ffi::c_int
}

/// # Safety
///
/// Called by the module chain only, with the block of an `Inner<T>` and a `struct module`.
unsafe extern "C" fn module_call<T: OnModule>(
    block: *mut bindings::notifier_block,
    event: ffi::c_ulong,
    module: *mut ffi::c_void,
) -> ffi::c_int {
    // SAFETY: The chain passes the block that was put on it.
    let data = unsafe { data::<T>(block) };
    // SAFETY: The module chain passes a module that stays during the call.
    let module = unsafe { Module::from_raw(module.cast()) };
    match event as u32 {
        bindings::module_state_MODULE_STATE_COMING => match data.coming(module) {
            Ok(()) => bindings::NOTIFY_OK as ffi::c_int,
            // As `notifier_from_errno`.
            Err(e) => {
                bindings::NOTIFY_STOP_MASK as ffi::c_int
                    | (bindings::NOTIFY_OK as ffi::c_int).wrapping_sub(e.to_errno())
            }
        },
        bindings::module_state_MODULE_STATE_LIVE => {
            data.live(module);
            bindings::NOTIFY_OK as ffi::c_int
        }
        bindings::module_state_MODULE_STATE_GOING => {
            data.going(module);
            bindings::NOTIFY_OK as ffi::c_int
        }
        _ => bindings::NOTIFY_DONE as ffi::c_int,
    }
}
