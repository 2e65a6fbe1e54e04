// SPDX-License-Identifier: GPL-2.0

//! What the device does with what is on its queues: the same that a VMM's does, without the copies.
//!
//! Work is done by three items. `serve` has the queues of which somebody waits for an answer, and
//! the host's events. `notices` has the notify queue, and rests after each round, because what it
//! does here may be what a probe records, the more so if each record makes the guest notify: with
//! the rest there are at most so many rounds a second, whatever is probed.
//!
//! Lock order: `state`, then the host's. Nothing is waited for under it but by [`Device::reset`].

use crate::{
    bindings,
    later::EPROTO,
    sys::{
        host::{
            Carrier,
            Wake,
            EVENT_HEAD,
            REPLY_LEN, //
        },
        kick::{
            HasKick,
            Kick, //
        },
        virtio,
        vring::{
            Part,
            Ring, //
        },
        workqueue::Workqueue,
    },
};
use core::mem::offset_of;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};

const LOADER: u32 = bindings::VIRTIO_VESPER_VQ_LOADER;
const LEND: u32 = bindings::VIRTIO_VESPER_VQ_LEND;
const CONTROL: u32 = bindings::VIRTIO_VESPER_VQ_CONTROL;
const NOTIFY: u32 = bindings::VIRTIO_VESPER_VQ_NOTIFY;

/// `ID`s of the work items.
const SERVE: u64 = 0;
const NOTICES: u64 = 1;

/// How long `notices` rests, in milliseconds.
const REST_MS: i64 = 2;

const CONFIG_LEN: usize = size_of::<bindings::virtio_vesper_config>();
const MAX_REQUEST: usize = bindings::VIRTIO_VESPER_MAX_CONTROL as usize;
const MAX_EVENT: usize = EVENT_HEAD + bindings::VESPER_MAX_MESSAGE as usize;
const MAX_PAGES: usize = bindings::VIRTIO_VESPER_MAX_FRAGMENT as usize;
/// Entries of the lend queue, hence loans at a time.
const MAX_LOANS: usize = 1024;
/// Entries of the loader queue, hence buffers at a time.
const MAX_BUFFERS: usize = 128;

/// Pages on loan: an element that is not given back yet.
#[derive(Clone, Copy)]
struct Loan {
    /// Where the reply goes.
    reply: Part,
    /// Head of the request.
    request: [u8; 16],
}

/// A buffer for a message of the host's loader.
struct Posted {
    head: u16,
    part: Part,
}

struct State {
    carrier: Option<Carrier<Local>>,
    rings: Option<[Ring; virtio::QUEUES]>,
    /// The driver is ready, and has kept to the rules.
    started: bool,
    /// By head.
    loans: KVVec<Option<Loan>>,
    /// In the order in which they were posted.
    posted: KVec<Posted>,
    /// A message, and the head of a fragment, as the driver says them.
    request: KVec<u8>,
    fragment: KVec<u8>,
    event: KVVec<u8>,
    pages: KVec<*mut bindings::page>,
}

// SAFETY: The pointers among `pages` are used only while they are those of an element.
unsafe impl Send for State {}

/// The device.
#[pin_data]
pub(crate) struct Local {
    config: SetOnce<[u8; CONFIG_LEN]>,
    status: Atomic<u32>,
    /// The driver is to find out that something went wrong.
    needs_reset: Atomic<bool>,
    /// The notify queue was kicked, and was not looked at since.
    notified: Atomic<bool>,
    /// Another one was.
    kicked: Atomic<bool>,
    #[pin]
    state: Mutex<State>,
    #[pin]
    kick: Kick<Local>,
    #[pin]
    serve: Work<Local, SERVE>,
    #[pin]
    notices: Work<Local, NOTICES>,
    queue: Workqueue,
}

impl_has_work! {
    impl HasWork<Local, 0> for Local { self.serve }
    impl HasWork<Local, 1> for Local { self.notices }
}

// SAFETY: The field is of that type, and `Local::new` is the only way to one.
unsafe impl HasKick for Local {
    const OFFSET: usize = offset_of!(Local, kick);

    fn kicked(this: ArcBorrow<'_, Self>) {
        let local: Arc<Self> = this.into();
        // One that is queued already will see what this one would.
        if local.notified.xchg(false, Full) {
            let _ = local.queue.enqueue::<_, NOTICES>(local.clone()).is_ok();
        }
        if local.kicked.xchg(false, Full) {
            local.look();
        }
    }
}

impl Wake for Local {
    fn wake(this: ArcBorrow<'_, Self>) {
        Arc::from(this).look();
    }
}

/// Bytes of the configuration space.
fn config(attach: &bindings::vesper_attach) -> [u8; CONFIG_LEN] {
    type Config = bindings::virtio_vesper_config;
    let mut bytes = [0; CONFIG_LEN];
    let mut put = |at: usize, from: &[u8]| {
        bytes
            .iter_mut()
            .skip(at)
            .zip(from)
            .for_each(|(to, b)| *to = *b);
    };
    let fragment = attach.max_fragment.min(MAX_PAGES as u32);
    put(
        offset_of!(Config, abi_version),
        &attach.device_abi.to_le_bytes(),
    );
    put(offset_of!(Config, max_fragment), &fragment.to_le_bytes());
    put(
        offset_of!(Config, max_buffer_pages),
        &attach.max_buffer_pages.to_le_bytes(),
    );
    put(
        offset_of!(Config, max_channels),
        &attach.max_channels.to_le_bytes(),
    );
    put(offset_of!(Config, domain), &attach.name);
    bytes
}

/// The answer `status` to the request that begins with `request`: `struct virtio_vesper_reply`.
fn reply(request: &[u8], status: u32) -> [u8; REPLY_LEN] {
    type Reply = bindings::virtio_vesper_reply;
    type Hdr = bindings::virtio_vesper_hdr;
    let mut bytes = [0; REPLY_LEN];
    let mut put = |at: usize, from: &[u8]| {
        bytes
            .iter_mut()
            .skip(at)
            .zip(from)
            .for_each(|(to, b)| *to = *b);
    };
    let field = |at: usize, len: usize| request.get(at..at.wrapping_add(len)).unwrap_or(&[]);
    put(offset_of!(Hdr, type_), field(offset_of!(Hdr, type_), 2));
    put(offset_of!(Hdr, len), &(REPLY_LEN as u32).to_le_bytes());
    put(offset_of!(Hdr, id), field(offset_of!(Hdr, id), 4));
    put(offset_of!(Reply, status), &status.to_le_bytes());
    bytes
}

fn status(result: Result) -> u32 {
    match result {
        Ok(()) => 0,
        Err(err) => err.to_errno().unsigned_abs(),
    }
}

impl State {
    /// What is needed at every step.
    fn parts(&mut self) -> Result<(&Carrier<Local>, &mut [Ring; virtio::QUEUES])> {
        Ok((
            self.carrier.as_ref().ok_or(ENODEV)?,
            self.rings.as_mut().ok_or(ENODEV)?,
        ))
    }

    /// Takes in what was lent. `EPROTO`.
    fn lend(&mut self) -> Result {
        let carrier = self.carrier.as_ref().ok_or(ENODEV)?;
        let [_, ring, ..] = self.rings.as_mut().ok_or(ENODEV)?;
        let mut refused = false;
        for _ in 0..ring.size() {
            let Some(element) = ring.take()? else {
                break;
            };
            self.fragment.clear();
            for part in element.readable {
                part.read(&mut self.fragment).map_err(|_| EPROTO)?;
            }
            let (Some((answer, pages)), Some(&request)) = (
                element.writable.split_first(),
                self.fragment.first_chunk::<16>(),
            ) else {
                return Err(EPROTO);
            };
            let loan = Loan {
                reply: *answer,
                request,
            };
            let head = element.head;
            self.pages.clear();
            let mut result = Ok(());
            for part in pages {
                result = part
                    .page()
                    .and_then(|page| self.pages.push_within_capacity(page).map_err(|_| EINVAL));
                if result.is_err() {
                    break;
                }
            }
            let slot = self.loans.get_mut(usize::from(head)).ok_or(EPROTO)?;
            if slot.is_some() {
                return Err(EPROTO);
            }
            // SAFETY: Whole pages, which the driver has mapped for the device and leaves allocated
            // until the element is given back. They are relay's or an index page, got one by one.
            let result = result.and_then(|()| unsafe {
                carrier.lend(
                    u64::from(head).wrapping_add(1),
                    &self.fragment,
                    &mut self.pages,
                )
            });
            match result {
                Ok(()) => *slot = Some(loan),
                Err(err) if err == EPROTO => return Err(EPROTO),
                Err(err) => {
                    loan.reply.write(&reply(&loan.request, status(Err(err))))?;
                    ring.give(head, REPLY_LEN);
                    refused = true;
                }
            }
        }
        if refused {
            ring.call();
        }
        Ok(())
    }

    /// Passes on what is on the control or notify queue. Returns whether there may be more.
    fn messages(&mut self, queue: u32) -> Result<bool> {
        let size = self.parts()?.1[queue as usize].size();
        let mut more = true;
        for _ in 0..size {
            let rings = self.rings.as_mut().ok_or(ENODEV)?;
            let Some(element) = rings[queue as usize].take()? else {
                more = false;
                break;
            };
            let (head, answer) = (element.head, element.writable.first().copied());
            self.request.clear();
            for part in element.readable {
                part.read(&mut self.request).map_err(|_| EPROTO)?;
            }
            if queue == CONTROL {
                // It may speak of what was lent before it was sent.
                self.lend()?;
            }
            let (carrier, rings) = (
                self.carrier.as_ref().ok_or(ENODEV)?,
                self.rings.as_mut().ok_or(ENODEV)?,
            );
            let bytes = match carrier.message(queue, &self.request) {
                Ok(bytes) => bytes,
                Err(err) if err == EPROTO => return Err(EPROTO),
                Err(err) => reply(&self.request, status(Err(err))),
            };
            let written = match answer {
                Some(answer) if queue == CONTROL => {
                    answer.write(&bytes).map_err(|_| EPROTO)?;
                    REPLY_LEN
                }
                None if queue == NOTIFY => 0,
                _ => return Err(EPROTO),
            };
            rings[queue as usize].give(head, written);
        }
        self.parts()?.1[queue as usize].call();
        Ok(more)
    }

    /// Takes the buffers that were posted for the loader.
    fn post(&mut self) -> Result {
        let carrier = self.carrier.as_ref().ok_or(ENODEV)?;
        let [ring, ..] = self.rings.as_mut().ok_or(ENODEV)?;
        for _ in 0..ring.size() {
            let Some(element) = ring.take()? else {
                break;
            };
            let (&[part], []) = (element.writable, element.readable) else {
                return Err(EPROTO);
            };
            let posted = Posted {
                head: element.head,
                part,
            };
            let room = part.len().min(bindings::VESPER_MAX_MESSAGE as usize);
            self.posted
                .push_within_capacity(posted)
                .map_err(|_| EPROTO)?;
            carrier.buffers(1, room as u32).map_err(|_| EPROTO)?;
        }
        Ok(())
    }

    /// Passes on what the host has to say. Returns whether there may be more.
    fn events(&mut self) -> Result<bool> {
        for _ in 0..MAX_BUFFERS {
            let carrier = self.carrier.as_ref().ok_or(ENODEV)?;
            let [loader, lend, ..] = self.rings.as_mut().ok_or(ENODEV)?;
            let Some(len) = carrier.read(&mut self.event)? else {
                return Ok(false);
            };
            let event = self.event.get(..len).ok_or(EPROTO)?;
            let (Some(head), Some(body)) = (event.first_chunk::<16>(), event.get(EVENT_HEAD..))
            else {
                return Err(EPROTO);
            };
            let [a, b, c, d, _, _, _, _, cookie @ ..] = *head;
            match u32::from_ne_bytes([a, b, c, d]) {
                bindings::VESPER_EVENT_RETURN => {
                    let at = u64::from_ne_bytes(cookie).wrapping_sub(1) as usize;
                    let loan = self.loans.get_mut(at).and_then(Option::take);
                    let loan = loan.ok_or(EPROTO)?;
                    loan.reply.write(&reply(&loan.request, 0))?;
                    lend.give(at as u16, REPLY_LEN);
                    lend.call();
                }
                bindings::VESPER_EVENT_LOADER => {
                    let posted = self.posted.remove(0).map_err(|_| EPROTO)?;
                    posted.part.write(body)?;
                    loader.give(posted.head, body.len());
                    loader.call();
                }
                _ => return Err(EPROTO),
            }
        }
        Ok(true)
    }

    /// Forgets what is on the queues.
    fn clear(&mut self) {
        self.started = false;
        self.posted.clear();
        self.loans.iter_mut().for_each(|loan| *loan = None);
    }
}

impl Local {
    /// Makes a device, and attaches it to the host.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let mut loans = KVVec::with_capacity(MAX_LOANS, GFP_KERNEL)?;
        for _ in 0..MAX_LOANS {
            loans.push(None, GFP_KERNEL)?;
        }
        let mut event = KVVec::with_capacity(MAX_EVENT, GFP_KERNEL)?;
        event.resize(MAX_EVENT, 0, GFP_KERNEL)?;
        let state = State {
            carrier: None,
            rings: None,
            started: false,
            loans,
            posted: KVec::with_capacity(MAX_BUFFERS, GFP_KERNEL)?,
            request: KVec::with_capacity(MAX_REQUEST, GFP_KERNEL)?,
            fragment: KVec::with_capacity(
                size_of::<bindings::virtio_vesper_fragment>(),
                GFP_KERNEL,
            )?,
            event,
            pages: KVec::with_capacity(MAX_PAGES, GFP_KERNEL)?,
        };
        let local = Arc::pin_init(
            try_pin_init!(Self {
                config: SetOnce::new(),
                status: Atomic::new(0),
                needs_reset: Atomic::new(false),
                notified: Atomic::new(false),
                kicked: Atomic::new(false),
                state <- new_mutex!(state, "vesper_local"),
                kick <- Kick::new(),
                serve <- new_work!("vesper_local_serve"),
                notices <- new_work!("vesper_local_notices"),
                queue: Workqueue::new()?,
            }? Error),
            GFP_KERNEL,
        )?;
        let (carrier, attach) = Carrier::attach(local.clone())?;
        local.config.populate(config(&attach));
        local.state.lock().carrier = Some(carrier);
        Ok(local)
    }

    /// Detaches from the host, and waits for what is under way. There is no driver any more.
    pub(crate) fn shut_down(&self) {
        let carrier = self.state.lock().carrier.take();
        drop(carrier);
        // Nobody kicks or wakes any more.
        self.kick.wait();
        self.queue.drain();
    }

    /// Has `serve` look at its queues.
    fn look(self: Arc<Self>) {
        let _ = self.queue.enqueue::<_, SERVE>(self.clone()).is_ok();
    }

    /// Does `work` if there is a driver at work, and ends that if it goes wrong. Returns what
    /// `work` does.
    fn with(&self, work: impl FnOnce(&mut State) -> Result<bool>) -> bool {
        let mut state = self.state.lock();
        if !state.started {
            return false;
        }
        match work(&mut state) {
            Ok(more) => more,
            Err(err) => {
                pr_warn!("the driver or the host broke the protocol: {:?}\n", err);
                // The driver finds out, and resets us.
                state.started = false;
                if let Some(carrier) = &state.carrier {
                    carrier.broken();
                }
                self.needs_reset.store(true, Relaxed);
                if let Some([ring, ..]) = &state.rings {
                    ring.config_changed();
                }
                false
            }
        }
    }
}

impl WorkItem<SERVE> for Local {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let more = this.with(|state| {
            state.lend()?;
            let more = state.messages(CONTROL)?;
            state.post()?;
            Ok(state.events()? || more)
        });
        if more {
            this.look();
        }
    }
}

impl WorkItem<NOTICES> for Local {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let more = this.with(|state| state.messages(NOTIFY));
        fsleep(Delta::from_millis(REST_MS));
        if more {
            let _ = this.queue.enqueue::<_, NOTICES>(this.clone()).is_ok();
        }
    }
}

impl virtio::Device for Local {
    const SHAPES: [(u16, usize); virtio::QUEUES] = {
        let mut shapes = [(0, 0); virtio::QUEUES];
        shapes[LOADER as usize] = (MAX_BUFFERS as u16, 1);
        // Head and reply come before the pages.
        shapes[LEND as usize] = (MAX_LOANS as u16, MAX_PAGES + 2);
        shapes[CONTROL as usize] = (64, 2);
        shapes[NOTIFY as usize] = (256, 1);
        shapes
    };

    const FEATURES: u64 = 1 << bindings::VIRTIO_F_VERSION_1
        | 1 << bindings::VIRTIO_F_ACCESS_PLATFORM
        | 1 << bindings::VIRTIO_RING_F_INDIRECT_DESC
        | 1 << bindings::VIRTIO_VESPER_F_LOADER;

    fn config(&self) -> &[u8] {
        self.config.as_ref().map_or(&[], |config| &config[..])
    }

    fn status(&self) -> u8 {
        let status = self.status.load(Relaxed) as u8;
        match self.needs_reset.load(Relaxed) {
            true => status | bindings::VIRTIO_CONFIG_S_NEEDS_RESET as u8,
            false => status,
        }
    }

    fn set_status(&self, status: u8) {
        self.status.store(status.into(), Relaxed);
        if u32::from(status) & bindings::VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            self.state.lock().started = true;
            // What was on the queues before.
            self.kicked(LOADER);
            self.kicked(NOTIFY);
        }
    }

    fn reset(&self) {
        let mut state = self.state.lock();
        state.clear();
        // First the host lets go, then the loans are forgotten by whoever asked for this.
        if let Some(carrier) = &state.carrier {
            carrier.reset();
        }
        self.status.store(0, Relaxed);
        self.needs_reset.store(false, Relaxed);
    }

    fn set_queues(&self, rings: [Ring; virtio::QUEUES]) {
        self.state.lock().rings = Some(rings);
    }

    fn drop_queues(&self) {
        let mut state = self.state.lock();
        state.clear();
        state.rings = None;
    }

    fn kicked(&self, queue: u32) {
        match queue {
            NOTIFY => self.notified.xchg(true, Full),
            _ => self.kicked.xchg(true, Full),
        };
        self.kick.kick();
    }
}
