// SPDX-License-Identifier: GPL-2.0

//! A relay channel of others, as the listener lends it and as switches move it on.

use crate::{
    abi, bindings,
    listener::{
        BufferPages,
        Description,
        Share,
        Source, //
    },
    sys::{
        cpu::HotplugLock,
        deferred::{
            Deferred,
            Handler, //
        },
        index::Index,
        raw_spinlock::{
            new_raw_spinlock,
            RawSpinLock, //
        },
        relays::Buffer, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        SetOnce, //
    },
};

/// What the host was told of a buffer last.
struct Told {
    produced: u64,
    begun: u64,
    /// The channel was reset: what its numbers say now is another story.
    stale: bool,
}

/// A buffer with its index page.
#[pin_data]
struct Lane {
    // Before the buffer: nothing of it is lent any more when the two go.
    index: Index,
    buffer: Buffer,
    #[pin]
    told: RawSpinLock<Told>,
}

impl Lane {
    fn new(buffer: Buffer, geometry: abi::Geometry) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            try_pin_init!(Self {
                index: Index::new(geometry.n_subbufs())?,
                buffer,
                told <- new_raw_spinlock!(
                    Told { produced: 0, begun: 0, stale: false },
                    "vesper_told"
                ),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Tells the index page how far the writer is, who is at this point or kept from going on.
    /// Returns whether there is something to read that was not there before.
    fn publish(&self, geometry: abi::Geometry) -> bool {
        let mut told = self.told.lock();
        let state = self.buffer.state();
        if told.stale {
            return false;
        }
        self.index.lost(state.full);
        if state.produced < told.produced {
            told.stale = true;
            // Whatever lies there is not what the host takes it for.
            self.index.begun(u64::MAX);
            return true;
        }
        let begun = state.produced.wrapping_add(u64::from(state.used.is_some()));
        let first = state
            .produced
            .saturating_sub(geometry.n_subbufs() as u64)
            .max(told.produced);
        for number in first..state.produced {
            let slot = geometry.slot(number);
            let padding = self.buffer.padding(slot).min(geometry.subbuf_size());
            self.index.publish(slot, padding, number.wrapping_add(1));
        }
        let news = state.produced != told.produced;
        if begun != told.begun {
            self.index.begun(begun);
        }
        told.produced = state.produced;
        told.begun = begun;
        news
    }

    /// What there was before the host came to see it, and is gone, it has not missed.
    fn begin(&self, geometry: abi::Geometry) {
        let begun = self.told.lock().begun;
        self.index
            .set_consumed(begun.saturating_sub(geometry.n_subbufs() as u64));
    }

    /// Tells the index page how much of the open sub-buffer is used, when nobody writes any more.
    fn finish(&self) {
        self.finish_by(&self.told.lock());
    }

    /// The same in a panic, which waits for no lock: who holds it may have been stopped, or be who
    /// panics.
    fn last_words(&self) {
        if let Some(told) = self.told.try_lock() {
            self.finish_by(&told);
        }
    }

    fn finish_by(&self, told: &Told) {
        let state = self.buffer.state();
        if let Some(used) = state.used.filter(|_| state.produced == told.produced) {
            self.index.open(state.produced, used, 0);
        }
    }
}

/// A channel of others.
pub(super) struct Channel {
    /// What tells it from others.
    pub(super) id: usize,
    /// Path of its files, less the CPU's number.
    pub(super) path: KVec<u8>,
    description: Description,
    lanes: KVec<SetOnce<Pin<KBox<Lane>>>>,
    /// By buffer: the host is to be told.
    wanted: KVec<Atomic<bool>>,
}

/// A field with `text`, in which every character that a name can't have is an underscore; what is
/// too long loses its end.
fn field(prefix: &[u8], text: &[u8]) -> [u8; abi::NAME_LEN] {
    let mut field = [0; abi::NAME_LEN];
    let bytes = Iterator::chain(prefix.iter(), text);
    for (at, (to, &from)) in field[..abi::NAME_LEN - 1].iter_mut().zip(bytes).enumerate() {
        *to = match from {
            b'/' => b'.',
            b'.' if at == 0 => b'_',
            b'_' | b'.' | b'-' => from,
            _ if from.is_ascii_alphanumeric() => from,
            _ => b'_',
        };
    }
    field
}

impl Channel {
    /// A channel with the files `path`, of which the last component is `name`. No name of a module
    /// has a dot, so that of the directory on the host, `relay.block.vda`, is none.
    pub(super) fn new(
        id: usize,
        path: KVec<u8>,
        name: &[u8],
        geometry: abi::Geometry,
        nr_buffers: u32,
    ) -> Result<Self> {
        let dir = path.len().saturating_sub(name.len().wrapping_add(1));
        let dir = path.get(..dir).unwrap_or(&[]);
        let prefix: &[u8] = if dir.is_empty() { b"relay" } else { b"relay." };
        let description = Description {
            module: field(prefix, dir),
            channel: field(b"", name),
            uuid: [0; 16],
            geometry,
            flags: bindings::VIRTIO_VESPER_CHAN_FOREIGN,
            nr_buffers,
        };
        let mut lanes = KVec::new();
        let mut wanted = KVec::new();
        for _ in 0..nr_buffers {
            lanes.push(SetOnce::new(), GFP_KERNEL)?;
            wanted.push(Atomic::new(false), GFP_KERNEL)?;
        }
        Ok(Self {
            id,
            path,
            description,
            lanes,
            wanted,
        })
    }

    /// Takes the buffer of `cpu`; returns whether it was not known before. Process context.
    pub(super) fn add(&self, cpu: u32, buffer: Buffer) -> Result<bool> {
        let slot = self.lanes.get(cpu as usize).ok_or(EINVAL)?;
        if slot.as_ref().is_some() {
            return Ok(false);
        }
        slot.populate(Lane::new(buffer, self.description.geometry)?);
        Ok(true)
    }

    fn lanes(&self) -> impl Iterator<Item = (u32, &Lane)> {
        let lanes = self.lanes.iter().enumerate();
        lanes.filter_map(|(cpu, lane)| Some((cpu as u32, &**lane.as_ref()?)))
    }

    /// Brings every index page up to date, each on its own CPU so that its writer is not in the
    /// middle of something. Switches have been followed for a while. Process context.
    pub(super) fn begin(&self) {
        let geometry = self.description.geometry;
        let lock = HotplugLock::read();
        let publish = |offline: bool| {
            let here = crate::sys::cpu::IrqOff::new().cpu();
            for (cpu, lane) in self.lanes() {
                if (offline && !lock.online(cpu)) || (!offline && cpu == here) {
                    lane.publish(geometry);
                }
            }
        };
        lock.on_each_cpu(|| publish(false));
        publish(true);
        for (_, lane) in self.lanes() {
            lane.begin(geometry);
        }
    }

    /// Somebody has switched buffer `cpu`, which is at `address`. Returns whether the host is to be
    /// told. Any context but NMI.
    fn switched(&self, cpu: u32, address: usize) -> bool {
        let Some(lane) = self.lanes.get(cpu as usize).and_then(|lane| lane.as_ref()) else {
            return false;
        };
        if !lane.buffer.is(address) || !lane.publish(self.description.geometry) {
            return false;
        }
        if let Some(wanted) = self.wanted.get(cpu as usize) {
            wanted.store(true, Relaxed);
        }
        true
    }

    /// Nobody writes any more: what is open counts.
    pub(super) fn finish(&self) {
        for (_, lane) in self.lanes() {
            lane.publish(self.description.geometry);
            lane.finish();
        }
    }

    /// The same for a kernel that dies, whose other CPUs have been stopped anywhere.
    pub(super) fn last_words(&self) {
        for (_, lane) in self.lanes() {
            lane.last_words();
        }
    }

    /// Whether it was closed.
    pub(super) fn finalized(&self) -> bool {
        self.lanes().any(|(_, lane)| lane.buffer.finalized())
    }

    /// Whether it was reset, and is to be shared anew.
    pub(super) fn is_stale(&self) -> bool {
        self.lanes().any(|(_, lane)| {
            let mut told = lane.told.lock();
            if lane.buffer.state().produced < told.produced {
                told.stale = true;
                lane.index.begun(u64::MAX);
            }
            told.stale
        })
    }
}

impl Source for Channel {
    fn description(&self) -> &Description {
        &self.description
    }

    fn buffer(&self, cpu: u32) -> Option<BufferPages<'_>> {
        let lane = self.lanes.get(cpu as usize)?.as_ref()?;
        Some(BufferPages {
            pages: lane.buffer.pages(),
            index: lane.index.page()?,
        })
    }

    fn metadata(&self, _section: u32, _from: usize, _text: &mut [u8]) -> usize {
        0
    }

    /// What is open is its writer's to close.
    fn flush(&self) {}

    fn catch_up(&self) {}
}

/// A channel that is shown, and what tells the host of it.
pub(super) struct Bell {
    // First: nothing of the rest is in the host's hands when it goes.
    share: SetOnce<Share>,
    pub(super) channel: Arc<Channel>,
}

impl Bell {
    /// A channel that is not shown yet.
    pub(super) fn new(channel: Arc<Channel>) -> Result<Arc<Deferred<Self>>> {
        let bell = Self {
            share: SetOnce::new(),
            channel,
        };
        Arc::pin_init(Deferred::new(bell), GFP_KERNEL)
    }
}

/// It is shown from now on.
pub(super) fn shown(bell: &Deferred<Bell>, share: Share) {
    bell.share.populate(share);
    // What was switched meanwhile.
    bell.kick();
}

/// Lends the buffer of `cpu`, which has just come.
pub(super) fn add_buffer(bell: &Deferred<Bell>, cpu: u32) -> Result {
    match bell.share.as_ref() {
        Some(share) => share.add_buffer(cpu),
        None => Ok(()),
    }
}

/// See [`Channel::switched`].
#[inline]
pub(super) fn switched(bell: &Deferred<Bell>, cpu: u32, address: usize) {
    if bell.channel.switched(cpu, address) {
        bell.kick();
    }
}

impl Handler for Bell {
    fn kicked(this: &Deferred<Self>) {
        let Some(share) = this.share.as_ref() else {
            return;
        };
        for (cpu, wanted) in this.channel.wanted.iter().enumerate() {
            if wanted.xchg(false, Full) {
                // The page is the truth.
                share.notify(cpu as u32, 0, false);
            }
        }
    }

    fn expired(_this: &Deferred<Self>) -> Option<u64> {
        None
    }
}
