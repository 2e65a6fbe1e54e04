// SPDX-License-Identifier: GPL-2.0

//! What waits to be fetched by a VMM: loans that are over, messages for the guest's loader.
//!
//! `inner` is a leaf lock: none is taken under it. `turn` orders readers and is taken first.
//! `carrier` is a leaf, too.

use crate::{
    abi::NAME_LEN,
    bindings::{
        vesper_event,
        VESPER_EVENT_BROKEN,
        VESPER_EVENT_LOADER,
        VESPER_EVENT_RETURN, //
    },
    loader::Loader,
    sys::{
        callback::Callback,
        mutex::Turn,
        trace, //
    },
};
use core::mem::size_of;
use kernel::{
    list::{
        impl_list_arc_safe,
        impl_list_item,
        List,
        ListArc,
        ListLinks, //
    },
    new_condvar, new_mutex, new_poll_condvar, optional_name,
    prelude::*,
    static_lock_class,
    sync::{
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        poll::PollCondVar,
        CondVar,
        Mutex, //
    },
    uaccess::UserSliceWriter,
};

/// The notice that a loan is over, allocated when the loan begins so that it cannot fail to end.
#[pin_data]
pub(crate) struct Return {
    #[pin]
    links: ListLinks,
    cookie: u64,
    /// The reset count under which the loan began.
    epoch: u64,
}

impl Return {
    /// The reset count under which the loan began.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Return { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Return { using ListLinks { self.links }; }
}

/// Where an event is written.
pub(crate) trait Out {
    /// Bytes that still fit.
    fn room(&self) -> usize;

    /// Writes bytes. `EFAULT`.
    fn put(&mut self, bytes: &[u8]) -> Result;
}

impl Out for UserSliceWriter {
    fn room(&self) -> usize {
        self.len()
    }

    fn put(&mut self, bytes: &[u8]) -> Result {
        self.write_slice(bytes)
    }
}

impl Out for &mut [u8] {
    fn room(&self) -> usize {
        self.len()
    }

    fn put(&mut self, bytes: &[u8]) -> Result {
        let (to, rest) = core::mem::take(self)
            .split_at_mut_checked(bytes.len())
            .ok_or(EFAULT)?;
        to.copy_from_slice(bytes);
        *self = rest;
        Ok(())
    }
}

/// One VMM's desk.
#[pin_data]
pub(crate) struct Desk {
    /// Name of the domain.
    name: [u8; NAME_LEN],
    #[pin]
    inner: Mutex<Inner>,
    /// Moved whenever the VMM may have something to fetch.
    #[pin]
    vmm: PollCondVar,
    /// Called likewise, for what carries messages inside this kernel.
    #[pin]
    carrier: Mutex<Option<Callback>>,
    /// Moved whenever a loader request may have been answered.
    #[pin]
    pub(crate) operators: CondVar,
    #[pin]
    turn: Turn,
    /// Most notices that may wait when a loan begins.
    max_waiting: usize,
}

/// What lies on the desk.
pub(crate) struct Inner {
    returns: List<Return>,
    /// How many these are.
    waiting: usize,
    broken: bool,
    epoch: u64,
    /// The VMM is gone.
    closed: bool,
    /// Requests for the guest's loader.
    pub(crate) loader: Loader,
}

impl Inner {
    fn ready(&self) -> bool {
        self.broken || !self.returns.is_empty() || self.loader.ready()
    }

    /// Says whether a request can still be made that was begun when drivers had gone away `gone`
    /// times. `EPIPE` if the VMM is gone, or the driver that it was begun for.
    pub(crate) fn still(&self, gone: u64) -> Result {
        match self.closed || self.loader.gone() != gone {
            true => Err(EPIPE),
            false => Ok(()),
        }
    }
}

impl Desk {
    /// An empty desk of domain `name`, at which at most `max_requests` loader requests wait. No
    /// loan begins while `max_waiting` notices of others do.
    pub(crate) fn new(
        name: &[u8; NAME_LEN],
        max_requests: usize,
        max_waiting: usize,
    ) -> impl PinInit<Self> {
        let name = *name;
        pin_init!(Self {
            name,
            inner <- new_mutex!(
                Inner {
                    returns: List::new(),
                    waiting: 0,
                    broken: false,
                    epoch: 0,
                    closed: false,
                    loader: Loader::new(max_requests),
                },
                "vesper::desk"
            ),
            vmm <- new_poll_condvar!("vesper::vmm"),
            carrier <- new_mutex!(None, "vesper::carrier"),
            operators <- new_condvar!("vesper::operators"),
            turn <- Turn::new(optional_name!("vesper::turn"), static_lock_class!()),
            max_waiting,
        })
    }

    /// Looks at the desk.
    pub(crate) fn lock(&self) -> Guard<'_, Inner, MutexBackend> {
        self.inner.lock()
    }

    /// Wakes the VMM, after something was put on the desk.
    pub(crate) fn notify_vmm(&self) {
        self.vmm.notify_all();
        // Under the lock, so that who takes it out knows that it is not running.
        if let Some(carrier) = &*self.carrier.lock() {
            carrier.call();
        }
    }

    /// Has `carrier` called, or nobody any more, where a VMM would be woken.
    pub(crate) fn set_carrier(&self, carrier: Option<Callback>) {
        *self.carrier.lock() = carrier;
    }

    /// What poll registers with.
    pub(crate) fn vmm(&self) -> &PollCondVar {
        &self.vmm
    }

    /// Says whether a read would give something.
    pub(crate) fn ready(&self) -> bool {
        self.lock().ready()
    }

    /// Prepares the notice for a loan that begins now. `ENOSPC`: the VMM does not fetch those of
    /// loans that are over, each of which takes memory.
    pub(crate) fn notice(&self, cookie: u64) -> Result<ListArc<Return>> {
        let epoch = {
            let inner = self.lock();
            if inner.waiting >= self.max_waiting {
                return Err(ENOSPC);
            }
            inner.epoch
        };
        ListArc::pin_init(
            try_pin_init!(Return {
                links <- ListLinks::new(),
                cookie,
                epoch,
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Says whether a loan began after the last reset.
    pub(crate) fn is_current(&self, notice: &Return) -> bool {
        notice.epoch == self.lock().epoch
    }

    /// A loan is over. Nothing is said of one that began before the last reset.
    pub(crate) fn loan_over(&self, notice: ListArc<Return>) {
        let mut inner = self.lock();
        if inner.closed || notice.epoch != inner.epoch {
            return;
        }
        inner.returns.push_back(notice);
        inner.waiting = inner.waiting.saturating_add(1);
        drop(inner);
        self.notify_vmm();
    }

    /// A reader has made room in a buffer that was full: what waits in the guest for that need wait
    /// no longer. Can be called under any lock but a leaf.
    pub(crate) fn made_room(&self) {
        if self.lock().loader.flush() {
            self.notify_vmm();
        }
    }

    /// How often the device was reset.
    pub(crate) fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// The guest broke the protocol under this reset count: one that came later is not accused.
    pub(crate) fn broken(&self, epoch: u64) {
        let mut inner = self.lock();
        if inner.epoch != epoch {
            return;
        }
        inner.broken = true;
        inner.loader.cut_off();
        drop(inner);
        self.operators.notify_all();
        self.notify_vmm();
    }

    /// Whatever the guest broke, the VMM need not hear of it any more.
    pub(crate) fn forgive(&self) {
        self.lock().broken = false;
    }

    /// The device was reset: loans begun so far end in silence, requests are lost.
    pub(crate) fn reset(&self) {
        let mut inner = self.lock();
        inner.epoch = inner.epoch.wrapping_add(1);
        inner.broken = false;
        let returns = core::mem::take(&mut inner.returns);
        inner.waiting = 0;
        inner.loader.guest_gone();
        drop(inner);
        drop(returns);
        self.operators.notify_all();
    }

    /// The VMM is gone.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.reset();
    }

    /// Gives one event to the VMM. `EAGAIN` if there is none and `wait` is not set, `EINVAL` if it
    /// does not fit, `ERESTARTSYS` for a signal.
    pub(crate) fn read(&self, out: &mut impl Out, wait: bool) -> Result<usize> {
        loop {
            {
                let _turn = self.turn.take()?;
                if let Some(done) = self.deliver(out)? {
                    return Ok(done);
                }
            }
            if !wait {
                return Err(EAGAIN);
            }
            let mut inner = self.lock();
            while !inner.ready() {
                if self.vmm.wait_interruptible(&mut inner) {
                    return Err(ERESTARTSYS);
                }
            }
        }
    }

    fn deliver(&self, out: &mut impl Out) -> Result<Option<usize>> {
        let mut inner = self.lock();
        if let Some(notice) = inner.returns.pop_front() {
            inner.waiting = inner.waiting.saturating_sub(1);
            drop(inner);
            let done = put(out, VESPER_EVENT_RETURN, notice.cookie, &[], &[]);
            if done.is_err() {
                // Nobody else takes from the front meanwhile: it is our turn. A reset may have
                // made the notice void.
                let mut inner = self.lock();
                if notice.epoch == inner.epoch {
                    inner.returns.push_front(notice);
                    inner.waiting = inner.waiting.saturating_add(1);
                }
            }
            return done.map(Some);
        }
        if core::mem::replace(&mut inner.broken, false) {
            let epoch = inner.epoch;
            drop(inner);
            let done = put(out, VESPER_EVENT_BROKEN, 0, &[], &[]);
            if done.is_err() {
                let mut inner = self.lock();
                inner.broken |= epoch == inner.epoch;
            }
            return done.map(Some);
        }
        let Some(piece) = inner.loader.take_piece() else {
            return Ok(None);
        };
        drop(inner);
        let done = put(out, VESPER_EVENT_LOADER, 0, piece.head(), piece.body());
        let done = done.inspect_err(|_| self.lock().loader.unsent(&piece))?;
        let gone = self.lock().loader.sent(&piece);
        if let Some((module, unload)) = gone {
            let step = if unload { c"C3" } else { c"A3" };
            trace::step(step, &self.name, &module, 0);
        }
        Ok(Some(done))
    }
}

/// Writes one event whose message consists of two parts.
fn put(out: &mut impl Out, kind: u32, cookie: u64, head: &[u8], body: &[u8]) -> Result<usize> {
    let len = head.len().wrapping_add(body.len());
    let event = vesper_event {
        type_: kind,
        len: u32::try_from(len)?,
        cookie,
        status: 0,
        reserved: 0,
    };
    if out.room() < size_of::<vesper_event>().wrapping_add(len) {
        return Err(EINVAL);
    }
    let mut words = [0u8; size_of::<vesper_event>()];
    words[0..4].copy_from_slice(&event.type_.to_ne_bytes());
    words[4..8].copy_from_slice(&event.len.to_ne_bytes());
    words[8..16].copy_from_slice(&event.cookie.to_ne_bytes());
    out.put(&words)?;
    out.put(head)?;
    out.put(body)?;
    Ok(size_of::<vesper_event>().wrapping_add(len))
}
