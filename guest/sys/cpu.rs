// SPDX-License-Identifier: GPL-2.0

//! What belongs to one CPU, and the ways to get at it.
//!
//! C headers: [`include/linux/irqflags.h`](srctree/include/linux/irqflags.h),
//! [`include/linux/cpu.h`](srctree/include/linux/cpu.h),
//! [`include/linux/smp.h`](srctree/include/linux/smp.h)

use crate::bindings;
use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
    ops::{
        Deref,
        DerefMut, //
    },
    sync::atomic::{
        compiler_fence,
        Ordering, //
    },
};
use kernel::{
    ffi::c_void,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    types::NotThreadSafe,
};

/// Local interrupts are off, and this context stays on its CPU.
pub(crate) struct IrqOff {
    flags: usize,
    _not_send: NotThreadSafe,
}

impl IrqOff {
    /// Turns local interrupts off, until the result is dropped. Nests.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            // SAFETY: No requirements; `drop` restores what this saved, on the same CPU.
            flags: unsafe { bindings::vesper_helper_irq_save() },
            _not_send: NotThreadSafe,
        }
    }

    /// The CPU this runs on.
    #[inline]
    pub(crate) fn cpu(&self) -> u32 {
        // SAFETY: No requirements, and with interrupts off the answer stays true.
        unsafe { bindings::raw_smp_processor_id() }
    }

    /// Says whether that CPU counts as one: not before it has come, nor when it is on its way out
    /// and others may already look at what is its own.
    #[inline]
    pub(crate) fn online(&self) -> bool {
        online(self.cpu())
    }
}

/// Says whether `cpu` counts as one at this moment.
#[inline]
pub(crate) fn online(cpu: u32) -> bool {
    // SAFETY: No requirements: the helper checks the range.
    unsafe { bindings::vesper_helper_cpu_online(cpu) }
}

impl Drop for IrqOff {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `flags` came from the matching save, and an `IrqOff` never leaves its context.
        unsafe { bindings::vesper_helper_irq_restore(self.flags) };
    }
}

/// No CPU comes up or goes down.
pub(crate) struct HotplugLock {
    held: bool,
}

impl HotplugLock {
    /// Holds hotplug off until the result is dropped. Process context; may sleep.
    pub(crate) fn read() -> Self {
        // SAFETY: Process context by this function's own rule; `drop` unlocks.
        unsafe { bindings::cpus_read_lock() };
        Self { held: true }
    }

    /// For callbacks that the hotplug code makes under its own lock.
    ///
    /// # Safety
    ///
    /// The caller holds the hotplug lock, for reading or writing, as long as the result lives.
    pub(crate) unsafe fn assume() -> Self {
        Self { held: false }
    }

    /// Says whether `cpu` is online; the answer holds as long as the lock does.
    pub(crate) fn online(&self, cpu: u32) -> bool {
        online(cpu)
    }

    /// Calls `f` on every online CPU, in hard interrupt context, and waits for it to end there.
    pub(crate) fn on_each_cpu<F: Fn() + Sync>(&self, f: F) {
        /// # Safety
        ///
        /// `data` is a valid `&F`.
        unsafe extern "C" fn call<F: Fn() + Sync>(data: *mut c_void) {
            // SAFETY: By the contract above; shared with the other CPUs, for which `F` is `Sync`.
            unsafe { (*data.cast::<F>())() }
        }
        // SAFETY: `f` lives until the call returns, which is after the last use of it.
        unsafe {
            bindings::vesper_helper_on_each_cpu(
                Some(call::<F>),
                core::ptr::from_ref(&f).cast_mut().cast(),
            )
        };
    }
}

impl Drop for HotplugLock {
    fn drop(&mut self) {
        if self.held {
            // SAFETY: Locked by `read`.
            unsafe { bindings::cpus_read_unlock() };
        }
    }
}

/// A value that only its own CPU touches, with interrupts off and one context at a time; while the
/// CPU is offline, others may.
///
/// A context that comes in on top of another (an NMI, or a probe point hit inside the API) is
/// refused. No lock, no waiting.
///
/// # Invariants
///
/// While `busy` is set there is one [`Access`] to `value`, or one suspended.
pub(crate) struct Owned<T> {
    cpu: u32,
    busy: Atomic<u32>,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached through one `Access` at a time only, from whatever context.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    /// Gives `value` to `cpu`.
    pub(crate) fn new(cpu: u32, value: T) -> Self {
        Self {
            cpu,
            busy: Atomic::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Gets at the value from its own CPU: any context, NMI included.
    ///
    /// `None` if another context of this CPU is at it, if this is another CPU, or one that is not
    /// [online](IrqOff::online).
    #[inline]
    pub(crate) fn enter(&self, irq: IrqOff) -> Option<Access<'_, T>> {
        if irq.cpu() != self.cpu || !irq.online() || self.busy.load(Relaxed) != 0 {
            return None;
        }
        // A plain store will do: what can come between it and the load is a context on top of this
        // one, which is through with the value before this one goes on.
        self.busy.store(1, Relaxed);
        compiler_fence(Ordering::Acquire);
        // INVARIANT: No other context of this CPU has it (`busy` was clear), and the contexts that
        // come on top from here on find `busy` set. Other CPUs are let in by `enter_offline` only,
        // which is while this one does not run.
        Some(Access {
            owned: self,
            irq: Some(irq),
        })
    }

    /// Gets at the value while its CPU is offline. `None` if that is not so, or another is at it.
    pub(crate) fn enter_offline<'a>(&'a self, lock: &'a HotplugLock) -> Option<Access<'a, T>> {
        if lock.online(self.cpu) || self.busy.cmpxchg(0, 1, Acquire).is_err() {
            return None;
        }
        // INVARIANT: As long as `lock` is held the CPU is not online, so that `enter` lets nobody
        // in, and the exchange keeps others out.
        Some(Access {
            owned: self,
            irq: None,
        })
    }

    /// Takes up an access that was [suspended](Access::suspend).
    ///
    /// # Safety
    ///
    /// `flags` came from the suspended access to this very value, in this context, and is taken up
    /// once.
    #[inline]
    pub(crate) unsafe fn resume(&self, flags: usize) -> Access<'_, T> {
        // INVARIANT: `busy` is still set, and the suspended access is the only one.
        Access {
            owned: self,
            irq: Some(IrqOff {
                flags,
                _not_send: NotThreadSafe,
            }),
        }
    }
}

/// Exclusive access to the value of an [`Owned`], interrupts off.
pub(crate) struct Access<'a, T> {
    owned: &'a Owned<T>,
    // `None` if the CPU is offline. Dropped last: interrupts come on when all is done.
    irq: Option<IrqOff>,
}

impl<T> Access<'_, T> {
    /// Sets the access aside while C code holds the record: interrupts stay off, others stay out.
    #[inline]
    pub(crate) fn suspend(self) -> usize {
        let this = ManuallyDrop::new(self);
        this.irq.as_ref().map_or(0, |irq| irq.flags)
    }
}

impl<T> Deref for Access<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: This is the only access, by the invariant of `Owned`.
        unsafe { &*self.owned.value.get() }
    }
}

impl<T> DerefMut for Access<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: This is the only access, by the invariant of `Owned`.
        unsafe { &mut *self.owned.value.get() }
    }
}

impl<T> Drop for Access<'_, T> {
    #[inline]
    fn drop(&mut self) {
        compiler_fence(Ordering::Release);
        self.owned.busy.store(0, Release);
    }
}
