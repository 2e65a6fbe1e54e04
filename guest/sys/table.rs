// SPDX-License-Identifier: GPL-2.0

//! A small table that is looked up in any context.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use crate::later::synchronize_rcu;
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Arc, //
    },
};

/// # Invariants
///
/// While `key` is not 0, `value` is a reference of the table's own, which is given up only when
/// nobody is left who could have seen that key.
struct Slot {
    key: Atomic<usize>,
    value: Atomic<usize>,
}

/// References by key, which is not 0. Whoever changes it does so alone.
pub(crate) struct Table<T: Send + Sync> {
    slots: KVec<Slot>,
    _values: PhantomData<Arc<T>>,
}

impl<T: Send + Sync> Table<T> {
    /// An empty one for `room` references.
    pub(crate) fn new(room: usize) -> Result<Self> {
        let mut slots = KVec::with_capacity(room, GFP_KERNEL)?;
        for _ in 0..room {
            slots.push(
                Slot {
                    key: Atomic::new(0),
                    value: Atomic::new(0),
                },
                GFP_KERNEL,
            )?;
        }
        Ok(Self {
            slots,
            _values: PhantomData,
        })
    }

    fn slot(&self, key: usize) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.key.load(Acquire) == key)
    }

    /// Puts `value` in. `ENOSPC`.
    pub(crate) fn insert(&self, key: usize, value: Arc<T>) -> Result {
        let slot = self.slot(0).ok_or(ENOSPC)?;
        slot.value.store(Arc::into_raw(value) as usize, Relaxed);
        // INVARIANT: The reference was just put there.
        slot.key.store(key, Release);
        Ok(())
    }

    /// Takes the value of `key` out, and waits until nobody looks at it. Process context.
    pub(crate) fn remove(&self, key: usize) -> Option<Arc<T>> {
        let slot = self.slot(key).filter(|_| key != 0)?;
        slot.key.store(0, Relaxed);
        synchronize_rcu();
        let value = slot.value.load(Relaxed) as *const T;
        // SAFETY: The table's reference, by the invariants; those who saw the key have finished.
        Some(unsafe { Arc::from_raw(value) })
    }

    /// Calls `f` with the value of `key`, if there is one. Any context in which RCU watches.
    #[inline]
    pub(crate) fn with<R>(&self, key: usize, f: impl FnOnce(&T) -> R) -> Option<R> {
        let _rcu = rcu::read_lock();
        let slot = self.slot(key).filter(|_| key != 0)?;
        let value = slot.value.load(Relaxed) as *const T;
        // SAFETY: The key was seen under the lock, so by the invariants the reference stays until
        // that is let go.
        Some(f(unsafe { &*value }))
    }

    /// Calls `f` with each value. Any context in which RCU watches.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&T)) {
        for slot in &self.slots {
            let key = slot.key.load(Relaxed);
            self.with(key, &mut f);
        }
    }
}

impl<T: Send + Sync> Drop for Table<T> {
    fn drop(&mut self) {
        for slot in &self.slots {
            if slot.key.load(Relaxed) != 0 {
                // SAFETY: The table's reference, and nobody looks any more.
                drop(unsafe { Arc::from_raw(slot.value.load(Relaxed) as *const T) });
            }
        }
    }
}
