// SPDX-License-Identifier: GPL-2.0

//! The virtio driver: puts the layers together when a device comes, and apart when it goes.

use crate::{
    beat::Beat,
    bindings,
    comm::{
        self,
        Comm,
        Config, //
    },
    foreign::Foreign,
    listener::Listener,
    loader::Loader,
    probe,
    sys::{
        notifier::OnPanic,
        virtio::{
            self,
            Device, //
        },
        work,
        workqueue::Workqueue,
    },
};
use kernel::{
    new_mutex, pr_warn_once,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        Mutex, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};

/// Device features that this driver knows.
pub(crate) const FEATURES: [u32; 3] = [
    bindings::VIRTIO_VESPER_F_LOADER,
    bindings::VIRTIO_VESPER_F_SHARE,
    bindings::VIRTIO_VESPER_F_HEARTBEAT,
];

/// `ID`s of the work items. They run side by side: what the host returns must not wait for what it
/// wants.
const RETURNS: u64 = 0;
const REQUESTS: u64 = 1;
const ROOM: u64 = 2;
const FLUSH: u64 = 3;
const CHECK: u64 = 4;

/// The parts of the module, and what a device sets in motion.
#[pin_data]
pub(crate) struct Guest {
    comm: Arc<Comm>,
    listener: Arc<Listener>,
    loader: Arc<Loader>,
    foreign: Arc<work::Work<Foreign>>,
    #[pin]
    beat: Beat,
    /// A device is bound.
    #[pin]
    bound: Mutex<bool>,
    #[pin]
    returns: Work<Guest, RETURNS>,
    #[pin]
    requests: Work<Guest, REQUESTS>,
    #[pin]
    room: Work<Guest, ROOM>,
    #[pin]
    flush: Work<Guest, FLUSH>,
    #[pin]
    check: Work<Guest, CHECK>,
    queue: Workqueue,
}

impl_has_work! {
    impl HasWork<Guest, 0> for Guest { self.returns }
    impl HasWork<Guest, 1> for Guest { self.requests }
    impl HasWork<Guest, 2> for Guest { self.room }
    impl HasWork<Guest, 3> for Guest { self.flush }
    impl HasWork<Guest, 4> for Guest { self.check }
}

impl WorkItem<RETURNS> for Guest {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.comm.reap();
    }
}

impl WorkItem<REQUESTS> for Guest {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.comm.receive(|bytes| match comm::split(bytes) {
            Some((head, _)) if head.kind == bindings::VIRTIO_VESPER_L_FLUSH => {
                // It may wait for a channel that is just being shared.
                let _ = this.queue.enqueue::<_, FLUSH>(this.clone()).is_ok();
            }
            Some((head, message))
                if matches!(
                    head.kind,
                    bindings::VIRTIO_VESPER_L_SHARE | bindings::VIRTIO_VESPER_L_UNSHARE
                ) =>
            {
                Foreign::receive(&this.foreign, &head, message)
            }
            Some((head, message)) => this.loader.receive(&head, message),
            None => pr_warn!("malformed message from the host\n"),
        });
    }
}

impl WorkItem<ROOM> for Guest {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if this.listener.room().is_err() {
            // No memory: what is marked goes with the next notification of its buffer.
            pr_warn_once!("no memory to send notifications that were held up\n");
        }
    }
}

impl WorkItem<FLUSH> for Guest {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if this.listener.catch_up().is_err() {
            pr_warn_once!("no memory to publish what was held up\n");
        }
    }
}

impl WorkItem<CHECK> for Guest {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.comm.check();
    }
}

impl Guest {
    /// Puts the parts together.
    pub(crate) fn new(
        comm: Arc<Comm>,
        listener: Arc<Listener>,
        loader: Arc<Loader>,
        foreign: Arc<work::Work<Foreign>>,
    ) -> Result<Arc<Self>> {
        let queue = Workqueue::new(c"vesper_guest")?;
        Arc::pin_init(
            pin_init!(Self {
                comm,
                listener,
                loader,
                foreign,
                beat <- Beat::new(),
                bound <- new_mutex!(false, "vesper_bound"),
                returns <- new_work!("vesper_returns"),
                requests <- new_work!("vesper_requests"),
                room <- new_work!("vesper_room"),
                flush <- new_work!("vesper_flush"),
                check <- new_work!("vesper_check"),
                queue,
            }),
            GFP_KERNEL,
        )
    }

    /// Waits for all that is still to be done. Nothing new comes when no driver is registered.
    pub(crate) fn drain(&self) {
        self.queue.drain();
    }

    /// Takes a device into use.
    fn enter(&self, device: &Device) -> Result<Config> {
        if !device.has_feature(bindings::VIRTIO_F_VERSION_1) {
            dev_err!(device.device(), "a legacy device can't be used\n");
            device.reset();
            return Err(ENODEV);
        }
        let config = Config::read(device);
        // SAFETY: `Guest` is the driver of this device. `Comm` drops the queues in `detach`, which
        // is called below if anything fails and else by `leave`, which `remove` and `freeze` call.
        let queues = unsafe { device.find_vqs::<Guest, { comm::QUEUES }>(comm::QUEUE_NAMES) };
        // What was negotiated would stand in the way of who comes next.
        let queues = queues.inspect_err(|_| device.reset())?;
        let entered = self
            .comm
            .attach(device, &config, queues)
            .inspect(|()| device.ready())
            .and_then(|()| {
                // A host that does not offer the feature wants to see a zero.
                let share = device.has_feature(bindings::VIRTIO_VESPER_F_SHARE);
                let features = u32::from(share) << bindings::VIRTIO_VESPER_F_SHARE;
                let policy = self.loader.policy().to_abi();
                self.comm.hello(&config, policy, features)
            })
            .and_then(
                |()| match device.has_feature(bindings::VIRTIO_VESPER_F_LOADER) {
                    true => {
                        // First, so that it can't ask for what is there.
                        self.loader.attached();
                        self.foreign.attached();
                        self.comm.post()
                    }
                    false => Ok(()),
                },
            )
            .and_then(|()| self.listener.attached());
        if let Err(e) = entered {
            dev_err!(device.device(), "the host can't be used: {:?}\n", e);
            self.foreign.stop();
            self.listener.detaching();
            self.detach();
            return Err(e);
        }
        if device.has_feature(bindings::VIRTIO_VESPER_F_HEARTBEAT) {
            // Everything else works without.
            if let Err(e) = self.beat.attached(&self.comm) {
                dev_warn!(device.device(), "no heartbeat for the host: {:?}\n", e);
            }
        }
        Ok(config)
    }

    /// Gives a device up.
    fn leave(&self, device: &Device) {
        // First, so that nobody waits for the next one.
        self.beat.stop();
        self.foreign.stop();
        self.listener.detaching();
        self.loader.detaching();
        match self.comm.goodbye() {
            // A device that did not come back from sleep is left without a word.
            Ok(()) | Err(ENODEV) => (),
            Err(e) => dev_warn!(device.device(), "the host does not say goodbye: {:?}\n", e),
        }
        self.detach();
        device.reset();
    }

    /// Parts with the device. What it said has been heard after this, and none of it is taken for
    /// the words of the next one.
    fn detach(&self) {
        self.comm.detach();
        self.queue.drain();
        // What came in meanwhile.
        self.loader.detaching();
        self.foreign.detached();
    }
}

impl OnPanic for Guest {
    fn panic(&self) {
        // First, so that there is nothing behind the last words.
        probe::silence();
        self.beat.panic();
        self.foreign.last_words();
        self.comm.last_words();
    }
}

impl virtio::Driver for Guest {
    const NAME: &'static CStr = c"vesper_guest";

    fn probe(this: ArcBorrow<'_, Self>, device: &Device) -> Result {
        let mut bound = this.bound.lock();
        if *bound {
            dev_err!(device.device(), "a guest can use one VESPER device only\n");
            // What the core has negotiated would stand in the way of who takes it later.
            device.reset();
            return Err(EBUSY);
        }
        let config = this.enter(device)?;
        *bound = true;
        dev_info!(
            device.device(),
            "known to the host as {}\n",
            config.domain()
        );
        Ok(())
    }

    fn remove(this: ArcBorrow<'_, Self>, device: &Device) {
        let mut bound = this.bound.lock();
        this.leave(device);
        *bound = false;
    }

    fn freeze(this: ArcBorrow<'_, Self>, device: &Device) -> Result {
        this.leave(device);
        Ok(())
    }

    fn restore(this: ArcBorrow<'_, Self>, device: &Device) -> Result {
        this.enter(device)?;
        Ok(())
    }

    fn shutdown(this: ArcBorrow<'_, Self>, _device: &Device) {
        // The device keeps what is lent: so the host gets also what is recorded from here to the
        // end, and what is open by then. That end resets the device, or takes the bus from it
        // (kexec); a machine that is only halted has it when its VMM ends. Nothing is waited for: neither a CPU that takes no interrupt, nor a lock whose
        // holder waits for the host.
        this.beat.shutdown();
        this.comm.hush();
    }

    fn config_changed(this: ArcBorrow<'_, Self>) {
        let guest: Arc<Self> = this.into();
        let _ = guest.queue.enqueue::<_, CHECK>(guest.clone()).is_ok();
    }

    fn used(this: ArcBorrow<'_, Self>, queue: u32) {
        // If an item is queued already, it will see this too.
        let guest: Arc<Self> = this.into();
        let _ = match queue {
            bindings::VIRTIO_VESPER_VQ_LOADER => {
                guest.queue.enqueue::<_, REQUESTS>(guest.clone()).is_ok()
            }
            bindings::VIRTIO_VESPER_VQ_NOTIFY => {
                guest.queue.enqueue::<_, ROOM>(guest.clone()).is_ok()
            }
            _ => guest.queue.enqueue::<_, RETURNS>(guest.clone()).is_ok(),
        };
    }
}
