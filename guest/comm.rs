// SPDX-License-Identifier: GPL-2.0

//! Communication layer: the virtio device, and nothing about what is said over it.
//!
//! One object for the life of the module. A device is attached to it and detached again; without
//! one, every operation says `ENODEV`.
//!
//! Lock order: none of the locks in here is held while another one is taken, but for that of an
//! answer, under `control`; and nothing but the queue is touched under them, and memory taken for
//! what goes there, so they come last in every order. `control`, `lend` and `loader` are for process context, `notify` and `bell` for any
//! but NMI.

use crate::{
    abi, bindings,
    sys::{
        raw_spinlock::{
            new_raw_spinlock,
            RawSpinLock, //
        },
        virtio::{
            Bell,
            Device,
            Element,
            Found,
            Virtqueue, //
        },
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
};

mod control;
mod hello;
mod lend;
mod message;
mod notify;

pub(crate) use control::{
    Sent,
    Undo,
    REPLY_TIMEOUT_S, //
};
pub(crate) use lend::Lender;
pub(crate) use message::{
    read,
    split,
    Head, //
};

/// Buffers that are posted for the host's loader messages.
const LOADER_BUFFERS: usize = 32;

/// Bytes in each of them.
const LOADER_BUFFER_SIZE: usize = 16384;

/// Number of queues.
pub(crate) const QUEUES: usize = bindings::VIRTIO_VESPER_VQ_MAX as usize;

/// Names of the queues, by number, and whether the device's use of them calls back.
pub(crate) const QUEUE_NAMES: [(&CStr, bool); QUEUES] = [
    (c"loader", true),
    (c"lend", true),
    (c"control", true),
    (c"notify", true),
];

/// What a device says of itself.
pub(crate) struct Config {
    /// Of the host's side.
    abi_version: u32,
    /// Name under which the host knows this guest.
    domain: [u8; abi::NAME_LEN],
    max_fragment: u32,
}

impl Config {
    /// Reads it. Process context.
    pub(crate) fn read(device: &Device) -> Self {
        let config: bindings::virtio_vesper_config = device.config();
        Self {
            abi_version: u32::from_le(config.abi_version),
            domain: config.domain,
            max_fragment: u32::from_le(config.max_fragment),
        }
    }

    /// Name under which the host knows this guest, to be printed.
    pub(crate) fn domain(&self) -> &str {
        abi::name(&self.domain)
            .and_then(|name| core::str::from_utf8(name).ok())
            .unwrap_or("?")
    }
}

/// The way to the host.
#[pin_data]
pub(crate) struct Comm {
    #[pin]
    control: Mutex<Option<control::Control>>,
    #[pin]
    lend: Mutex<Option<Virtqueue<lend::Loan>>>,
    #[pin]
    loader: Mutex<Option<Virtqueue<()>>>,
    #[pin]
    notify: RawSpinLock<Option<notify::Notifier>>,
    #[pin]
    bell: RawSpinLock<Option<Bell>>,
    max_fragment: Atomic<usize>,
    next_id: Atomic<u32>,
    /// Counts the times that a device was attached.
    generation: Atomic<u32>,
    /// No more notifications.
    hushed: Atomic<bool>,
}

impl Comm {
    /// Initialiser, without a device.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            control <- new_mutex!(None, "vesper_control"),
            lend <- new_mutex!(None, "vesper_lend"),
            loader <- new_mutex!(None, "vesper_loader_queue"),
            notify <- new_raw_spinlock!(None, "vesper_notify"),
            bell <- new_raw_spinlock!(None, "vesper_bell"),
            max_fragment: Atomic::new(0),
            next_id: Atomic::new(1),
            generation: Atomic::new(0),
            hushed: Atomic::new(false),
        })
    }

    /// Takes the queues of a device into use. It must be told that it is ready after this, and
    /// [`Comm::detach`] must be called before it goes. Process context.
    pub(crate) fn attach(
        &self,
        device: &Device,
        config: &Config,
        queues: [Found; QUEUES],
    ) -> Result {
        let [loader, lend, control, notify] = queues;
        let mut lend = Virtqueue::from(lend);

        let limit = config
            .max_fragment
            .min(bindings::VIRTIO_VESPER_MAX_FRAGMENT) as usize;
        // Head and reply take one descriptor each.
        let limit = limit.min(lend.vring_size().saturating_sub(2));
        self.max_fragment.store(
            if !device.has_feature(bindings::VIRTIO_RING_F_INDIRECT_DESC) {
                dev_err!(
                    device.device(),
                    "no indirect descriptors, so nothing can be lent\n"
                );
                0
            } else if lend.bounces() {
                dev_err!(
                    device.device(),
                    "DMA goes through bounce buffers (swiotlb), so nothing can be lent\n"
                );
                0
            } else {
                limit
            },
            Relaxed,
        );

        let notify = notify::Notifier::new(Virtqueue::from(notify))?;
        *self.bell.lock() = Some(notify.bell());
        *self.notify.lock() = Some(notify);
        *self.lend.lock() = Some(lend);
        let generation = self.generation().wrapping_add(1);
        *self.control.lock() = Some(control::Control::new(Virtqueue::from(control), generation));
        self.generation.store(generation, Relaxed);
        *self.loader.lock() = Some(Virtqueue::from(loader));
        Ok(())
    }

    /// Gives the queues up: resets the device, which ends all loans and lets all who wait for a
    /// reply go, and deletes them. Process context.
    pub(crate) fn detach(&self) {
        // First nobody can reach them any more. Dropping the first one resets the device, dropping
        // the last one deletes them.
        let _bell = self.bell.lock().take();
        let _notify = self.notify.lock().take();
        let _control = self.control.lock().take();
        let _lend = self.lend.lock().take();
        let _loader = self.loader.lock().take();
    }

    /// The machine goes down, and maybe an IOMMU before it: sends no notification any more. The
    /// host looks by itself when the device is reset.
    pub(crate) fn hush(&self) {
        self.hushed.store(true, Relaxed);
    }

    /// Which of the devices that come and go is or was the last one. An id that the host gave a
    /// request means nothing to the next.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    /// Pages that may be lent in one fragment; 0 if nothing can be lent over this device.
    pub(crate) fn max_fragment(&self) -> usize {
        self.max_fragment.load(Relaxed)
    }

    /// Takes in what has come back on control and lend queue. Process context.
    pub(crate) fn reap(&self) {
        self.reap_lend();
        self.reap_control();
    }

    /// The device has changed its configuration, which it does only to say that it is broken: lets
    /// nobody wait for it any longer. Process context.
    pub(crate) fn check(&self) {
        if let Some(control) = &*self.control.lock() {
            if control.queue.needs_reset() {
                pr_err!("the device is broken: the host says why\n");
                control.queue.break_device();
            }
        }
    }

    /// Posts the buffers for loader messages: from now on the host can send some. Process context.
    pub(crate) fn post(&self) -> Result {
        for _ in 0..LOADER_BUFFERS {
            let element = Element::new(KVec::new(), LOADER_BUFFER_SIZE, ())?;
            let mut loader = self.loader.lock();
            let queue = (*loader).as_mut().ok_or(ENODEV)?;
            match queue.add(element, &[]) {
                Err(rejected) if rejected.error == ENOSPC => break,
                result => result.map_err(|rejected| rejected.error)?,
            }
        }
        if let Some(queue) = (*self.loader.lock()).as_mut() {
            queue.kick_now();
        }
        Ok(())
    }

    /// Hands every loader message that has come to `take`, in order, and posts its buffer again. By
    /// one thread at a time. Process context.
    pub(crate) fn receive(&self, mut take: impl FnMut(&[u8])) {
        loop {
            let next = (*self.loader.lock()).as_mut().and_then(Virtqueue::get_buf);
            let Some((element, written)) = next else {
                return;
            };
            let bytes = element.reply();
            take(bytes.get(..written).unwrap_or(bytes));

            // If this fails the device is broken or gone, and the buffer with it.
            if let Some(queue) = (*self.loader.lock()).as_mut() {
                if queue.add(element, &[]).is_ok() {
                    queue.kick_now();
                }
            }
        }
    }
}
