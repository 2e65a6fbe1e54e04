// SPDX-License-Identifier: GPL-2.0

//! A channel as the probe has it: a lane for each CPU, and the line to the host.

use super::{
    debugfs,
    lane::Lane,
    outlet::Outlet,
    registry,
    spec::Spec,
    store::{
        Buffer,
        Store, //
    },
    writer::{
        Switch,
        Writer, //
    },
};
use crate::{
    bindings,
    later::{
        smp_mb,
        Full, //
    },
    listener::{
        self,
        Source, //
    },
    sys::{
        cpu::{
            HotplugLock,
            IrqOff, //
        },
        deferred::Deferred,
        index::Index,
        relay,
        work::Work, //
    },
};
use kernel::{
    cpu,
    prelude::*,
    sync::Arc, //
};

/// See the module. Dropping it ends the sharing, and waits for that.
pub(crate) struct Channel {
    // Dropped in this order: when the lanes are gone, nothing uses the line to the host any more.
    lanes: KVec<Pin<KBox<Deferred<Lane>>>>,
    outlet: Arc<Work<Outlet>>,
}

impl Channel {
    /// Makes a channel that the host does not know of. Process context.
    pub(crate) fn create(lock: &HotplugLock, spec: Spec) -> Result<Arc<Self>> {
        let overwrite = spec.overwrite();
        let relay = relay::Channel::open(spec.description.geometry, overwrite)?;
        let store = Store::new(spec.description, relay, spec.preamble, spec.events)?;
        let outlet = Outlet::new(store.clone(), spec.switch_ns);
        let outlet = Arc::pin_init(Work::new(outlet), GFP_KERNEL)?;
        let mut lanes = KVec::new();
        for cpu in 0..cpu::nr_cpu_ids() {
            let writer = if lock.online(cpu) {
                Some(Self::furnish(&store, cpu)?)
            } else {
                None
            };
            let lane = Deferred::new(Lane::new(cpu, outlet.clone(), writer));
            lanes.push(KBox::pin_init(lane, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Arc::new(Self { lanes, outlet }, GFP_KERNEL)?)
    }

    /// Shares it with the host. Process context, no lock held: the host may ask for a flush
    /// meanwhile.
    pub(crate) fn share(&self) -> Result {
        let share = listener::open(self.outlet.store.clone())?;
        self.outlet.connect(share)?;
        // For buffers that came while the host was being told.
        self.grow();
        Ok(())
    }

    /// Gives `cpu` an index page, and puts that and its relay buffer into `store`.
    fn furnish(store: &Store, cpu: u32) -> Result<Writer> {
        let description = store.description();
        let index = Index::new(description.geometry.n_subbufs())?;
        let index = Arc::new(index, GFP_KERNEL)?;
        let writer = Writer::new(
            store.relay().writer(cpu).ok_or(ENOMEM)?,
            index.clone(),
            description.uuid,
            cpu,
            description.flags & bindings::VIRTIO_VESPER_CHAN_OVERWRITE != 0,
        );
        let view = store.relay().view(cpu).ok_or(ENOMEM)?;
        store.put(cpu, Buffer { view, index })?;
        Ok(writer)
    }

    /// Sets the lane of a CPU up that is about to come up, if it has not been up before. Process
    /// context.
    pub(crate) fn prepare(&self, lock: &HotplugLock, cpu: u32) -> Result {
        let store = &self.outlet.store;
        if store.get(cpu).is_some() {
            return Ok(());
        }
        let lane = self.lanes.get(cpu as usize).ok_or(EINVAL)?;
        lane.install(lock, Self::furnish(store, cpu)?)?;
        self.grow();
        Ok(())
    }

    /// Has the buffers that have come since lent to the host, soon.
    fn grow(&self) {
        self.outlet.set_grown();
        self.outlet.queue();
    }

    /// Says whether this is the channel that lends `store`.
    pub(crate) fn lends(&self, store: &Store) -> bool {
        core::ptr::eq(&*self.outlet.store, store)
    }

    /// What is lent.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.outlet.store
    }

    /// The lane of this CPU.
    #[inline]
    pub(crate) fn lane(&self, irq: &IrqOff) -> Option<&Deferred<Lane>> {
        self.lanes.get(irq.cpu() as usize).map(|lane| &**lane)
    }

    /// The lanes, by CPU.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Deferred<Lane>> {
        self.lanes.iter().map(|lane| &**lane)
    }

    /// Publishes what lies waiting, on all CPUs. Process context.
    pub(crate) fn flush(&self, lock: &HotplugLock) {
        lock.on_each_cpu(|| {
            let irq = IrqOff::new();
            if let Some(lane) = self.lane(&irq) {
                lane.flush_here(Switch::Always);
            }
        });
        self.flush_offline(lock);
    }

    /// The host has made room: publishes what was held up for want of it. Process context.
    pub(crate) fn catch_up(&self, lock: &HotplugLock) {
        // The host's word for room comes before the look for who waits, see `Lane::expired`.
        smp_mb(Full);
        // No CPU is interrupted for nothing.
        if self.lanes().any(|lane| lane.is_held_up()) {
            lock.on_each_cpu(|| {
                let irq = IrqOff::new();
                if let Some(lane) = self.lane(&irq) {
                    lane.catch_up();
                }
            });
            for lane in self.lanes().filter(|lane| lane.is_held_up()) {
                lane.flush_offline(lock);
            }
        }
    }

    /// Publishes what was left behind by CPUs that went offline; of those that are back it is seen
    /// to that it does not wait for ever. Process context.
    pub(crate) fn flush_offline(&self, lock: &HotplugLock) {
        for lane in self.lanes() {
            lane.flush_offline(lock);
        }
        if self.lanes().any(|lane| lane.is_astray(lock)) {
            lock.on_each_cpu(|| {
                let irq = IrqOff::new();
                if let Some(lane) = self.lane(&irq) {
                    Lane::come_back(lane);
                }
            });
        }
    }
}

/// A channel that a probe has open. Dropping it publishes what lies waiting and closes it.
pub(crate) struct Handle {
    // Files first: they look into the channel.
    _files: debugfs::Files,
    channel: Arc<Channel>,
}

impl Handle {
    /// Opens a channel, and shares it with the host. Process context.
    pub(crate) fn open(spec: Spec) -> Result<Self> {
        let lock = HotplugLock::read();
        let channel = registry::insert(&lock, spec)?;
        drop(lock);
        let handle = Self {
            _files: debugfs::Files::new(&channel).inspect_err(|_| registry::remove(&channel))?,
            channel,
        };
        handle.channel.share()?;
        Ok(handle)
    }

    /// Publishes what lies waiting, on all CPUs. Process context.
    pub(crate) fn flush(&self) {
        self.channel.flush(&HotplugLock::read());
    }

    /// The channel.
    #[inline]
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.flush();
        // What there is no memory for stays a number: there is nobody left to ask again.
        self.channel.outlet.settle();
        // After this, ours is the last reference.
        registry::remove(&self.channel);
    }
}
