// SPDX-License-Identifier: GPL-2.0

//! What a probe wants to know of a task, from any context.
//!
//! C header: [`include/linux/sched.h`](srctree/include/linux/sched.h)

use super::{
    Record,
    Text,
    Value, //
};
use core::{
    marker::PhantomData,
    ptr::{
        addr_of,
        NonNull, //
    },
};
use kernel::{
    bindings,
    sync::rcu, //
};

/// Bytes of a task's name, its terminator included.
pub(crate) const COMM_LEN: usize = 16;

/// A task that is there as long as `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    raw: NonNull<bindings::task_struct>,
    _life: PhantomData<&'a ()>,
}

impl<'a> Task<'a> {
    /// Names a task that a probe point passed.
    ///
    /// # Safety
    ///
    /// `raw` is null or a task that is not freed as long as `'a`.
    pub(crate) unsafe fn from_raw(raw: *mut bindings::task_struct) -> Option<Self> {
        Some(Self {
            raw: NonNull::new(raw)?,
            _life: PhantomData,
        })
    }

    /// The task that is running: in an interrupt, whichever was interrupted.
    pub(crate) fn current() -> Option<Self> {
        // SAFETY: The running task does not end before this context does.
        unsafe { Self::from_raw(bindings::get_current()) }
    }

    /// For the kernel's functions.
    pub(crate) fn as_raw(self) -> *mut bindings::task_struct {
        self.raw.as_ptr()
    }

    /// The thread that stands for its process and has its id and name. It may have ended, but goes
    /// last.
    pub(crate) fn leader(self) -> Task<'a> {
        // SAFETY: The task is there, so its leader is: that is freed only after it.
        let leader = unsafe { addr_of!((*self.raw.as_ptr()).group_leader).read_volatile() };
        Task {
            raw: NonNull::new(leader).unwrap_or(self.raw),
            _life: PhantomData,
        }
    }

    /// What tells it from other tasks, as long as it is there. A multiple of eight.
    pub(crate) fn key(self) -> usize {
        self.raw.as_ptr().addr()
    }

    /// Id of the thread, as the initial namespace has it.
    pub(crate) fn pid(self) -> i32 {
        // SAFETY: The task is there; its id changes only when it execs, and is one word.
        unsafe { addr_of!((*self.raw.as_ptr()).pid).read_volatile() }
    }

    /// Id of the process, as the initial namespace has it.
    pub(crate) fn tgid(self) -> i32 {
        // SAFETY: As for `pid`.
        unsafe { addr_of!((*self.raw.as_ptr()).tgid).read_volatile() }
    }

    /// Id of the process as its own pid namespace has it; 0 if it has none any more.
    pub(crate) fn ns_tgid(self) -> i32 {
        let _rcu = rcu::read_lock();
        // SAFETY: The task is there, and what is found of its ids stays so long. A task that is
        // past its end has no namespace, for which the second would take another.
        unsafe {
            let namespace = bindings::task_active_pid_ns(self.raw.as_ptr());
            if namespace.is_null() {
                return 0;
            }
            bindings::__task_pid_nr_ns(
                self.raw.as_ptr(),
                bindings::pid_type_PIDTYPE_TGID,
                namespace,
            )
        }
    }

    /// Its name. It may be changing.
    pub(crate) fn comm(self) -> Comm {
        // SAFETY: The task is there, the name is an array of bytes in it. It always ends in a NUL.
        Comm(unsafe {
            addr_of!((*self.raw.as_ptr()).comm)
                .cast::<[u8; COMM_LEN]>()
                .read()
        })
    }
}

/// Name of a task.
#[derive(Clone, Copy)]
pub(crate) struct Comm([u8; COMM_LEN]);

impl Comm {
    /// As bytes, without what is behind the end.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(COMM_LEN - 1);
        self.0.get(..len).unwrap_or(&[])
    }
}

impl Value for Comm {
    const TYPE: u32 = Text::TYPE;

    #[inline]
    fn size(&self) -> usize {
        Text(self.as_bytes()).size()
    }

    #[inline]
    fn put(&self, record: &mut Record<'_>) {
        Text(self.as_bytes()).put(record);
    }
}
