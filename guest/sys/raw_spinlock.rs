// SPDX-License-Identifier: GPL-2.0

//! A `raw_spinlock_t` that is taken with interrupts off: spins on PREEMPT_RT too.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use crate::bindings;
use kernel::{
    ffi,
    sync::lock::{
        Backend,
        Lock, //
    },
};

/// Creates a [`RawSpinLock`] initialiser with a lock class of its own.
macro_rules! new_raw_spinlock {
    ($inner:expr, $name:literal) => {
        kernel::sync::lock::Lock::new($inner, kernel::c_str!($name), kernel::static_lock_class!())
    };
}
pub(crate) use new_raw_spinlock;

/// A lock for what is also touched in hard interrupt. Hold it for a bounded time and don't allocate
/// under it.
pub(crate) type RawSpinLock<T> = Lock<T, RawSpinLockBackend>;

/// Backend that turns interrupts off.
pub(crate) struct RawSpinLockBackend;

// SAFETY: `raw_spinlock_t` ensures mutual exclusion, and `relock` is the default implementation,
// which uses the same locking method.
unsafe impl Backend for RawSpinLockBackend {
    type State = bindings::raw_spinlock_t;
    type GuardState = ffi::c_ulong;

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const ffi::c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: `ptr` is valid for writes, `name` and `key` for good, by the requirements of
        // `Backend::init`.
        unsafe { bindings::vesper_helper_raw_spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: `ptr` was initialised, by the requirements of `Backend::lock`.
        unsafe { bindings::vesper_helper_raw_spin_lock_irqsave(ptr) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;
        // SAFETY: `ptr` was initialised, by the requirements of `Backend::try_lock`; `flags` is a
        // local.
        let taken = unsafe { bindings::vesper_helper_raw_spin_trylock_irqsave(ptr, &mut flags) };
        taken.then_some(flags)
    }

    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState) {
        // SAFETY: The caller owns the lock, by the requirements of `Backend::unlock`, and
        // `guard_state` comes from taking it.
        unsafe { bindings::vesper_helper_raw_spin_unlock_irqrestore(ptr, *guard_state) }
    }

    unsafe fn assert_is_held(_ptr: *mut Self::State) {}
}
