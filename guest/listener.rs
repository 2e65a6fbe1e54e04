// SPDX-License-Identifier: GPL-2.0

//! Probe listener, action layer: the channels that are shared with the host (paper §3.3.2).
//!
//! A channel outlives the device: it is shared when one is there, and again with the next one.
//!
//! Lock order: `LISTENER` and `Listener::channels` are held for a moment only, with nothing taken
//! under them. Under a channel's `link`, which serialises all that is said to the host about it,
//! come the locks of the communication layer and `Loans::count`. `Source` is called under `link`.

use crate::{
    bindings,
    comm::Comm, //
};
use kernel::{
    current, new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        global_lock,
        Arc,
        Mutex, //
    },
    task::Pid,
};

mod share;
mod source;

use share::Channel;
pub(crate) use source::{
    BufferPages,
    Description,
    Source, //
};

global_lock! {
    // SAFETY: Initialised by `publish`, the first function of this file that module init calls.
    unsafe(uninit) static LISTENER: Mutex<Option<Arc<Listener>>> = None;
}

/// The channels of this guest.
#[pin_data]
pub(crate) struct Listener {
    comm: Arc<Comm>,
    #[pin]
    channels: Mutex<KVec<Arc<Channel>>>,
    /// Channels are to be shared.
    up: Atomic<bool>,
    /// Which thread the host last refused a channel, and why: the loader tells the operator.
    #[pin]
    refusal: Mutex<Option<(Pid, Error)>>,
}

impl Listener {
    /// Initialiser.
    pub(crate) fn new(comm: Arc<Comm>) -> impl PinInit<Self> {
        pin_init!(Self {
            comm,
            channels <- new_mutex!(KVec::new(), "vesper_channels"),
            up: Atomic::new(false),
            refusal <- new_mutex!(None, "vesper_refusal"),
        })
    }

    fn snapshot(&self) -> Result<KVec<Arc<Channel>>> {
        let channels = self.channels.lock();
        let mut copy = KVec::with_capacity(channels.len(), GFP_KERNEL)?;
        for channel in channels.iter() {
            copy.push(channel.clone(), GFP_KERNEL)?;
        }
        Ok(copy)
    }

    /// There is a host: shares every channel. What it refuses is reported in the log and stays
    /// unshared. Process context.
    pub(crate) fn attached(&self) -> Result {
        self.up.xchg(true, Full);
        for channel in self.snapshot()? {
            let mut link = channel.link.lock();
            if let Err(e) = channel.share(&self.comm, &self.up, &mut link) {
                report(&*channel.source, e);
            }
        }
        Ok(())
    }

    /// The host will be gone: takes everything back from it, as far as it plays along. Process
    /// context; waits, with a time limit.
    pub(crate) fn detaching(&self) {
        self.up.xchg(false, Full);
        let mut reachable = true;
        // One by one, as there may be no memory for a copy of the list.
        loop {
            let next = {
                let channels = self.channels.lock();
                channels.iter().find(|c| c.is_shared()).cloned()
            };
            let Some(channel) = next else {
                return;
            };
            let mut link = channel.link.lock();
            if reachable {
                // The host keeps what is closed; what is open by then will be shared again.
                if !link.closed {
                    channel.source.flush();
                }
                // Those of others are found anew when the next host asks.
                let flags = channel.source.description().flags;
                let again = flags & bindings::VIRTIO_VESPER_CHAN_FOREIGN == 0;
                reachable = channel.unshare(&self.comm, &mut link, again);
            } else {
                channel.abandon(&mut link);
            }
        }
    }

    /// There is room on the notify queue again. Process context.
    pub(crate) fn room(&self) -> Result {
        self.comm.room();
        for channel in self.snapshot()? {
            channel.flush_pending(&self.comm);
        }
        Ok(())
    }

    /// The host has made room: what was held up for want of it is published. Process context.
    pub(crate) fn catch_up(&self) -> Result {
        for channel in self.snapshot()? {
            let link = channel.link.lock();
            if !link.closed {
                channel.source.catch_up();
            }
        }
        Ok(())
    }

    /// Why the host refused a channel to the calling thread, if that was what happened last.
    pub(crate) fn take_refusal(&self) -> Option<Error> {
        let mut refusal = self.refusal.lock();
        match *refusal {
            Some((pid, e)) if pid == current!().pid() => {
                *refusal = None;
                Some(e)
            }
            _ => None,
        }
    }

    fn open(self: &Arc<Self>, source: Arc<dyn Source>) -> Result<Share> {
        let channel = Channel::new(source)?;
        self.channels.lock().push(channel.clone(), GFP_KERNEL)?;
        // From here on, dropping it closes it.
        let share = Share {
            listener: self.clone(),
            channel,
        };
        let channel = &share.channel;
        let result = {
            let mut link = channel.link.lock();
            channel.share(&self.comm, &self.up, &mut link)
        };
        match result {
            // If there is no device, or it just went, the next one will do.
            Ok(()) | Err(ENODEV) => Ok(share),
            Err(_) if !self.up.load(Relaxed) => Ok(share),
            Err(e) => {
                report(&*channel.source, e);
                *self.refusal.lock() = Some((current!().pid(), e));
                Err(e)
            }
        }
    }
}

fn report(source: &dyn Source, e: Error) {
    let module = CStr::from_bytes_until_nul(&source.description().module);
    pr_err!(
        "sharing a channel of {} with the host failed: {:?}\n",
        module.unwrap_or(c"?"),
        e,
    );
}

/// Makes `listener` the one that [`open`] uses. Once in the life of the module, before anything
/// else.
pub(crate) fn publish(listener: Arc<Listener>) {
    // SAFETY: Called once.
    unsafe { LISTENER.init() };
    *LISTENER.lock() = Some(listener);
}

/// Ends what [`publish`] began.
pub(crate) fn withdraw() {
    let listener = LISTENER.lock().take();
    drop(listener);
}

/// Opens a channel on the host and lends it the buffers of `source` (A5, A6).
///
/// Returns when the host's files exist. If there is no device yet, the channel is remembered and
/// shared when one appears, and that is no error. Fails with the host's errno if it refuses.
/// Process context; may wait for the host, with a time limit.
pub(crate) fn open(source: Arc<dyn Source>) -> Result<Share> {
    let listener = LISTENER.lock().clone().ok_or(ENODEV)?;
    listener.open(source)
}

/// A channel that is open towards the host. Dropping it ends the sharing (C5 to C7): that waits,
/// with a time limit, until the host's files are gone and every page has come back.
pub(crate) struct Share {
    listener: Arc<Listener>,
    channel: Arc<Channel>,
}

impl Share {
    /// Tells the host that the index of buffer `cpu` has moved (B2): `produced` is the number of
    /// sub-buffers closed so far, a hint only.
    ///
    /// Any context but NMI; hard interrupt is where it is meant to be called (irq_work). Never
    /// waits, and costs one exit at the most. When the queue is full the buffer is marked, and told
    /// of when there is room.
    pub(crate) fn notify(&self, cpu: u32, produced: u64, urgent: bool) {
        self.channel
            .notify(&self.listener.comm, cpu, produced, urgent);
    }

    /// Sends what the source has for section `section` of the metadata file beyond what was sent
    /// before. Process context.
    pub(crate) fn metadata(&self, section: u32) -> Result {
        self.channel.grow_metadata(&self.listener.comm, section)
    }

    /// Lends a buffer that was not there before: its CPU came up. Process context; nothing happens
    /// if the buffer is lent already.
    pub(crate) fn add_buffer(&self, cpu: u32) -> Result {
        self.channel.add_buffer(&self.listener.comm, cpu)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.listener
            .channels
            .lock()
            .retain(|c| !Arc::ptr_eq(c, &self.channel));
        let mut link = self.channel.link.lock();
        if !self.channel.unshare(&self.listener.comm, &mut link, false) {
            pr_warn!(
                "a channel is not closed on the host: pages that did not come back are kept until they do, or the device is reset\n"
            );
        }
        link.closed = true;
    }
}
