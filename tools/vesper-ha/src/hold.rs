// SPDX-License-Identifier: GPL-2.0

//! Locks that go on when a thread that held one has panicked.
//!
//! What the daemon keeps behind its locks is whole after each statement, and it has
//! more to do than that thread had.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a lock is taken here.
pub trait Hold<T: ?Sized> {
    /// Waits for the lock, whatever became of those who held it.
    fn hold(&self) -> MutexGuard<'_, T>;
}

impl<T: ?Sized> Hold<T> for Mutex<T> {
    fn hold(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn after_a_panic() {
        let lock = Arc::new(Mutex::new(1));
        let held = Arc::clone(&lock);
        let panicked = std::thread::spawn(move || {
            *held.lock().unwrap() = 2;
            let _held = held.lock();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(lock.is_poisoned());
        assert_eq!(*lock.hold(), 2);
    }
}
