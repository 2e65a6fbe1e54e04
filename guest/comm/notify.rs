// SPDX-License-Identifier: GPL-2.0

//! Notify queue: messages from interrupt context (B2, B3).
//!
//! Nothing is allocated here and nobody waits: the messages are made beforehand, those that the
//! host has seen are taken back when the next one is sent, and only while the queue is full is the
//! device asked for an interrupt.

use super::{
    message::Message,
    Comm, //
};
use crate::{
    bindings,
    sys::virtio::{
        Bell,
        Element,
        Virtqueue, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        rcu, //
    },
    transmute::AsBytes, //
};

/// Most messages on their way at one time.
const MAX_MESSAGES: usize = 128;

/// The queue, and messages that are not on it.
pub(super) struct Notifier {
    queue: Virtqueue<()>,
    free: KVec<KBox<Element<()>>>,
    /// For the last words: not to be had otherwise.
    reserve: Option<KBox<Element<()>>>,
    waiting: bool,
}

impl Notifier {
    /// Makes the messages. Process context.
    pub(super) fn new(mut queue: Virtqueue<()>) -> Result<Self> {
        let size = queue.vring_size();
        if size < 2 {
            return Err(EINVAL);
        }
        let count = MAX_MESSAGES.min(size.wrapping_sub(1));
        let mut free = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            free.push(Self::element(&queue)?, GFP_KERNEL)?;
        }
        let reserve = Some(Self::element(&queue)?);
        queue.disable_cb();
        Ok(Self {
            queue,
            free,
            reserve,
            waiting: false,
        })
    }

    /// See [`Virtqueue::bell`].
    pub(super) fn bell(&self) -> Bell {
        self.queue.bell()
    }

    fn element(queue: &Virtqueue<()>) -> Result<KBox<Element<()>>> {
        let bytes = KVec::from_elem(0, size_of::<bindings::virtio_vesper_notify>(), GFP_KERNEL)?;
        let mut element = Element::new(bytes, 0, ())?;
        queue.map(&mut element)?;
        Ok(element)
    }

    /// Takes back what the host has seen.
    fn reap(&mut self) {
        while let Some((element, _)) = self.queue.get_buf() {
            self.put_back(element);
        }
    }

    /// There is room: no more are taken out than `free` was made for. The reserve, once used, comes
    /// back to where it was.
    fn put_back(&mut self, element: KBox<Element<()>>) {
        if let Err(full) = self.free.push_within_capacity(element) {
            self.reserve = Some(full.0);
        }
    }

    /// Takes a message to fill in, or asks to be called back when there is one.
    fn get(&mut self) -> Option<KBox<Element<()>>> {
        self.reap();
        if self.free.is_empty() {
            self.waiting = true;
            if !self.queue.enable_cb() {
                self.reap();
            }
        }
        match self.free.pop() {
            None => None,
            element => {
                if self.waiting {
                    self.waiting = false;
                    self.queue.disable_cb();
                }
                element
            }
        }
    }

    /// Puts a message on the queue. Returns whether it is there.
    fn send(&mut self, mut element: KBox<Element<()>>, notify: &[u8]) -> bool {
        element.out_mut().copy_from_slice(notify);
        match self.queue.add_mapped(element) {
            Ok(()) => true,
            Err(rejected) => {
                // Only a broken device refuses: there is no more to be told to it.
                self.put_back(rejected.element);
                false
            }
        }
    }
}

fn index(kind: u32, flags: u32, channel: u32, buffer: u32, produced: u64) -> impl AsBytes {
    let mut notify = bindings::virtio_vesper_notify {
        hdr: Zeroable::zeroed(),
        channel: channel.to_le(),
        buffer: buffer.to_le(),
        produced: produced.to_le(),
    };
    notify.set_hdr(kind, flags, 0, 0);
    notify
}

impl Comm {
    /// Tells the host that the index of a buffer has moved. Returns `false` if the queue is full:
    /// then try again when [`Guest`](crate::guest::Guest) hears from the queue, see
    /// [`room`](Self::room); `full` is called before that can be. Any context but NMI.
    pub(crate) fn notify(
        &self,
        channel: u32,
        buffer: u32,
        produced: u64,
        urgent: bool,
        full: impl FnOnce(),
    ) -> bool {
        let flags = if urgent {
            bindings::VIRTIO_VESPER_MSG_URGENT
        } else {
            0
        };
        let message = index(
            bindings::VIRTIO_VESPER_N_INDEX,
            flags,
            channel,
            buffer,
            produced,
        );
        if self.hushed.load(Relaxed) {
            return true;
        }

        let rcu = rcu::read_lock();
        let kick = {
            let mut notifier = self.notify.lock();
            let Some(notifier) = (*notifier).as_mut() else {
                return true;
            };
            let Some(element) = notifier.get() else {
                // Under the lock: who hears of room takes it before looking for what is left.
                full();
                return false;
            };
            notifier.send(element, message.as_bytes());
            notifier.queue.kick_prepare(&rcu)
        };
        // Without the lock: it may leave the guest.
        if let Some(kick) = kick {
            kick.notify();
        }
        true
    }
}

impl Comm {
    /// There may be room on the queue again: whoever had found none has said so after this.
    pub(crate) fn room(&self) {
        drop(self.notify.lock());
    }

    /// Last words: asks the host to look at everything. For a panic: waits for no lock.
    pub(crate) fn last_words(&self) {
        if let Some(mut notifier) = self.notify.try_lock() {
            if let Some(notifier) = (*notifier).as_mut() {
                if let Some(element) = notifier.reserve.take() {
                    let message = index(bindings::VIRTIO_VESPER_N_PANIC, 0, 0, 0, 0);
                    notifier.send(element, message.as_bytes());
                }
            }
        }
        // Also when the queue was busy: what is on it already counts as much.
        if let Some(bell) = self.bell.try_lock() {
            if let Some(bell) = bell.as_ref() {
                bell.ring();
            }
        }
    }
}
