// SPDX-License-Identifier: GPL-2.0

//! Pages counted against RLIMIT_MEMLOCK of those who lend them.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use super::workqueue::OwnedQueue;
use crate::bindings;
use kernel::{
    error::to_result,
    impl_has_work,
    list::{
        impl_list_arc_safe,
        impl_list_item,
        List,
        ListArc,
        ListLinks, //
    },
    mm::Mm,
    new_spinlock, new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        SpinLock, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};

/// What was counted for one loan.
#[pin_data]
struct Count {
    #[pin]
    links: ListLinks,
    mm: ARef<Mm>,
    pages: usize,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Count { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Count { using ListLinks { self.links }; }
}

impl Count {
    /// Takes it back, however long its process holds the lock that this wants.
    fn settle(&self) {
        // SAFETY: The structure is referenced, which is all that this needs, even after the
        // process is gone. It takes back just what [`Account::new`] counted; nobody does so twice,
        // as a count is in one place: with its account, on a list, or taken off it.
        unsafe { bindings::account_locked_vm(self.mm.as_raw(), self.pages, false) };
    }

    /// The same, unless it would have to wait.
    fn try_settle(&self) -> bool {
        // SAFETY: As above.
        unsafe { bindings::vesper_helper_try_unaccount(self.mm.as_raw(), self.pages) }
    }
}

/// The accounts of a domain: where a count is taken back of which the process holds the lock. All
/// of a domain's wait one behind the other, so that one domain takes up one worker.
#[pin_data]
pub(crate) struct Accounts {
    queue: Arc<OwnedQueue>,
    /// How many are waiting.
    late: Atomic<usize>,
    /// A leaf lock.
    #[pin]
    waiting: SpinLock<List<Count>>,
    #[pin]
    work: Work<Accounts>,
}

impl_has_work! {
    impl HasWork<Self> for Accounts { self.work }
}

impl WorkItem for Accounts {
    type Pointer = Arc<Accounts>;

    fn run(this: Arc<Accounts>) {
        // A statement of its own, so that the lock is not held while this waits.
        let next = || this.waiting.lock().pop_front();
        while let Some(count) = next() {
            count.settle();
            this.late.fetch_sub(1, Release);
        }
    }
}

impl Accounts {
    /// How often, with a millisecond in between, somebody who finds the limit reached looks
    /// whether it is for something late.
    const LOOKS: usize = 100;

    /// `queue` is where counts that are late are taken back; whoever owns it drains it before its
    /// last reference goes, as what waits there holds one. `ENOMEM`.
    pub(crate) fn new(queue: Arc<OwnedQueue>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                queue,
                late: Atomic::new(0),
                waiting <- new_spinlock!(List::new(), "vesper::waiting"),
                work <- new_work!("vesper::accounts"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }
}

/// Pages that are counted until this is dropped, or a moment longer: who drops it may hold locks
/// that others want, and does not wait for that of a process.
pub(super) struct Account {
    count: Option<ListArc<Count>>,
    accounts: Arc<Accounts>,
}

impl Account {
    /// Counts `pages` against the caller's limit; `ENOMEM` if that is too small.
    pub(super) fn new(pages: usize, accounts: &Arc<Accounts>) -> Result<Self> {
        let mm: ARef<Mm> = {
            let task = kernel::current!();
            let mm = task.mm().ok_or(EFAULT)?;
            let mm: &Mm = mm;
            mm.into()
        };
        let count = ListArc::pin_init(
            try_pin_init!(Count {
                links <- ListLinks::new(),
                mm,
                pages,
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        let mut looks = 0usize;
        loop {
            // Before the attempt: what is not late by now is seen to be taken back by it.
            let late = accounts.late.load(Acquire);
            // SAFETY: `mm` is the caller's and referenced.
            let done = unsafe { bindings::account_locked_vm(count.mm.as_raw(), pages, true) };
            let full = done == ENOMEM.to_errno();
            if !full || late == 0 || looks == Accounts::LOOKS {
                to_result(done)?;
                return Ok(Self {
                    count: Some(count),
                    accounts: accounts.clone(),
                });
            }
            // What the caller was told it has back may be among them.
            fsleep(Delta::from_millis(1));
            looks = looks.wrapping_add(1);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let Some(count) = self.count.take().filter(|count| !count.try_settle()) else {
            return;
        };
        let accounts = &self.accounts;
        accounts.late.fetch_add(1, Relaxed);
        accounts.waiting.lock().push_back(count);
        // Fails if it is queued already, and has not begun: then it will find this one, too.
        let _ = accounts.queue.enqueue(accounts.clone());
    }
}
