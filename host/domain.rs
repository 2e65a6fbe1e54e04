// SPDX-License-Identifier: GPL-2.0

//! A domain: one guest, for as long as its VMM is attached or data of it is unread.
//!
//! Lock order: `Host::domains`, `control`, the locks of [`crate::files`], those of a buffer
//! ([`crate::listener`]), then the leaves: `info`, the desk. Locks of the memory management and
//! of the VFS come after `control`, and user memory is never touched under any of these.

use crate::{
    abi::{
        self,
        Versions,
        NAME_LEN, //
    },
    bindings,
    desk::Desk,
    files::{
        DomainDir,
        Name, //
    },
    host::Host,
    listener::{
        Buffer,
        Limits,
        Listener,
        Loan,
        Quota,
        Why, //
    },
    message::{
        self,
        Control,
        Fault,
        Hello,
        Notify,
        REPLY_LEN, //
    },
    sys::{
        pages::{
            Pinned,
            Segment, //
        },
        pid::Pid,
        time::warn_limited, //
    },
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    workqueue::{
        Queue,
        Work,
        WorkItem, //
    },
};

/// How long a reset waits for readers that sit in the middle of a copy.
const RESET_WAIT_MS: u32 = 1000;

/// What is told about a domain.
pub(crate) struct Info {
    /// `VESPER_DOMAIN_*`.
    pub(crate) state: u32,
    /// `VESPER_RUN_*`, 0 if the VMM never said.
    pub(crate) run_state: u32,
    /// What the guest said of itself.
    pub(crate) hello: Option<KBox<Hello>>,
    /// Threads of the virtual CPUs, by CPU.
    pub(crate) vcpus: KVVec<Option<Pid>>,
    /// Name under which it is listed.
    pub(crate) label: [u8; NAME_LEN],
}

/// A guest.
#[pin_data]
pub(crate) struct Domain {
    host: Arc<Host>,
    name: [u8; NAME_LEN],
    vmm: Pid,
    dir: Arc<DomainDir>,
    quota: Arc<Quota>,
    #[pin]
    control: Mutex<Listener>,
    #[pin]
    info: Mutex<Info>,
    #[pin]
    desk: Desk,
    #[pin]
    work: Work<Domain>,
}

impl_has_work! {
    impl HasWork<Self> for Domain { self.work }
}

/// How a message from the guest was taken.
pub(crate) enum Taken {
    /// Understood; this is the answer.
    Reply([u8; REPLY_LEN]),
    /// Understood; there is nothing to answer.
    Silent,
}

impl Domain {
    /// A domain of that name, which was checked, for the calling VMM.
    pub(crate) fn new(
        host: &Arc<Host>,
        name: &[u8; NAME_LEN],
        dir: Arc<DomainDir>,
    ) -> Result<Arc<Self>> {
        let limits = host.limits();
        Arc::pin_init(
            try_pin_init!(Self {
                host: host.clone(),
                name: *name,
                vmm: Pid::current_process()?,
                dir,
                quota: Quota::new(limits.max_lent_pages)?,
                control <- new_mutex!(Listener::new(), "vesper::control"),
                info <- new_mutex!(
                    Info {
                        state: bindings::VESPER_DOMAIN_ATTACHED,
                        run_state: 0,
                        hello: None,
                        vcpus: KVVec::new(),
                        label: *name,
                    },
                    "vesper::info"
                ),
                desk <- Desk::new(limits.max_requests),
                work <- new_work!("vesper::domain"),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Its name, terminated.
    pub(crate) fn name(&self) -> &[u8; NAME_LEN] {
        &self.name
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Arc<DomainDir> {
        &self.dir
    }

    /// What waits for its VMM.
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Where its work is done.
    pub(crate) fn queue(&self) -> &Queue {
        self.host.queue()
    }

    /// Passes on a message from the guest. `EPROTO`: the guest broke the protocol.
    pub(crate) fn message(self: &Arc<Self>, queue: u32, bytes: &[u8]) -> Result<Taken> {
        if self.info.lock().state == bindings::VESPER_DOMAIN_BROKEN {
            return Err(EPROTO);
        }
        let head = message::head(bytes).map_err(|fault| self.fault(fault))?;
        match queue {
            bindings::VIRTIO_VESPER_VQ_CONTROL => {
                let (result, value) = match message::control(&head, bytes) {
                    Ok(message) => match self.control(head.id, message) {
                        Ok(value) => (Ok(()), value),
                        Err((err, value)) => (Err(err), value),
                    },
                    Err(Fault::Invalid) => (Err(EINVAL), 0),
                    Err(fault) => return Err(self.fault(fault)),
                };
                let status = match result {
                    Ok(()) => 0,
                    Err(err) if err == EPROTO => return Err(EPROTO),
                    Err(err) => err.to_errno().unsigned_abs(),
                };
                Ok(Taken::Reply(message::reply(&head, status, value)))
            }
            bindings::VIRTIO_VESPER_VQ_NOTIFY => {
                match message::notify(&head, bytes) {
                    Ok(Notify::Index { channel, buffer }) => {
                        // A notification may cross an unshare: unknown buffers are no fault.
                        let buffer = self.control.lock().buffer(channel, buffer);
                        if let Some(buffer) = buffer {
                            buffer.sync()?;
                        }
                    }
                    Ok(Notify::Panic) => self.sync_all(),
                    Err(Fault::Invalid) => {}
                    Err(fault) => return Err(self.fault(fault)),
                }
                Ok(Taken::Silent)
            }
            _ => Err(EINVAL),
        }
    }

    fn control(
        self: &Arc<Self>,
        id: u32,
        message: Control<'_>,
    ) -> core::result::Result<u32, (Error, u32)> {
        let mut control = self.control.lock();
        if control.closed {
            return Err((ENOTCONN, 0));
        }
        if let Control::Hello(hello) = &message {
            let result = match control.greeted {
                true => Err(self.fault(Fault::Broken("a second hello without a reset"))),
                false => self.hello(&mut control, hello),
            };
            return match result {
                Ok(()) => Ok(bindings::VIRTIO_VESPER_ABI_VERSION),
                Err(err) => Err((err, bindings::VIRTIO_VESPER_ABI_VERSION)),
            };
        }
        if !control.greeted {
            return Err((self.fault(Fault::Broken("a message before hello")), 0));
        }
        let result = match message {
            Control::Hello(_) => Err(EINVAL),
            Control::Open(open) => {
                let limits = self.host.limits();
                let limits = Limits {
                    max_channels: limits.max_channels,
                    max_buffer_pages: limits.max_buffer_pages,
                };
                return control.open(self, limits, &open).map_err(|err| (err, 0));
            }
            Control::Metadata {
                channel,
                section,
                text,
            } => control.metadata(channel, section, text),
            Control::Share(target) => control.share(self, target),
            Control::Unshare(target) => control.unshare(self, target),
            Control::Close(target) => control.close(self, target),
            Control::Result(outcome) => {
                drop(control);
                let known = self.desk.lock().loader.result(id, &outcome);
                if known {
                    self.desk.operators.notify_all();
                }
                Ok(())
            }
            Control::Goodbye => {
                let result = control.close_all(self, Why::Unshare);
                control.greeted = false;
                drop(control);
                self.desk.lock().loader.guest_gone();
                self.desk.operators.notify_all();
                self.set_state(bindings::VESPER_DOMAIN_ATTACHED);
                result
            }
        };
        match result {
            Err(err) if err == EPROTO => Err((
                self.fault(Fault::Broken("index page of a shared buffer")),
                0,
            )),
            result => result.map(|()| 0).map_err(|err| (err, 0)),
        }
    }

    fn hello(&self, control: &mut Listener, hello: &Hello) -> Result {
        match abi::versions(bindings::VIRTIO_VESPER_ABI_VERSION, hello.abi_version) {
            Versions::Match => {}
            older => {
                let side = match older {
                    Versions::WeAreOlder => "host's",
                    _ => "guest's",
                };
                warn_limited!("{}: the {} modules are older\n", Name(&self.name), side);
                return Err(EPROTONOSUPPORT);
            }
        }
        if hello.nr_cpus == 0
            || hello.nr_cpus > bindings::VESPER_MAX_VCPUS
            || hello.load_policy > bindings::VIRTIO_VESPER_POLICY_NONE
        {
            return Err(EINVAL);
        }
        let kept = KBox::new(*hello, GFP_KERNEL_ACCOUNT)?;
        control.greeted = true;
        control.nr_cpus = hello.nr_cpus;
        let mut info = self.info.lock();
        info.state = bindings::VESPER_DOMAIN_READY;
        let old = info.hello.replace(kept);
        drop(info);
        drop(old);
        Ok(())
    }

    /// Notes that the guest broke the protocol, if it did, and returns the VMM's error.
    fn fault(self: &Arc<Self>, fault: Fault) -> Error {
        match fault {
            Fault::Broken(why) => {
                self.broken(why);
                EPROTO
            }
            Fault::Invalid => EINVAL,
        }
    }

    /// The guest broke the protocol: nothing more is taken from it until it is reset. What it had
    /// shared stays readable. Can be called under any lock but a leaf.
    pub(crate) fn broken(self: &Arc<Self>, why: &str) {
        if !self.set_state(bindings::VESPER_DOMAIN_BROKEN) {
            return;
        }
        warn_limited!("{}: broke the protocol: {}\n", Name(&self.name), why);
        self.desk.broken();
        // Detaching takes locks that the caller may hold.
        let _ = self.queue().enqueue(self.clone());
    }

    /// Says whether the state changed; a dead domain's does not.
    fn set_state(&self, state: u32) -> bool {
        let mut info = self.info.lock();
        if info.state == state || info.state == bindings::VESPER_DOMAIN_DEAD {
            return false;
        }
        info.state = state;
        true
    }

    /// Passes on an element of the lend queue, see `struct vesper_lend`.
    pub(crate) fn lend(
        self: &Arc<Self>,
        cookie: u64,
        bytes: &[u8],
        segments: &[Segment],
    ) -> Result {
        if self.info.lock().state == bindings::VESPER_DOMAIN_BROKEN {
            return Err(EPROTO);
        }
        let head = message::head(bytes).map_err(|fault| self.fault(fault))?;
        let fragment = message::fragment(&head, bytes).map_err(|fault| self.fault(fault))?;
        let pages = segments
            .iter()
            .fold(0usize, |sum, s| sum.saturating_add(s.pages()));
        if pages != fragment.nr_pages as usize {
            return Err(EINVAL);
        }
        {
            let mut control = self.control.lock();
            if !control.greeted {
                drop(control);
                return Err(self.fault(Fault::Broken("pages lent before hello")));
            }
            control.expects(&fragment)?;
        }
        // Without the lock: this can wait for the VMM's own memory.
        let index = fragment.first.is_none();
        let loan = Loan::new(&self.quota, &self.desk, cookie, pages, || {
            Pinned::new(segments, index)
        })?;
        let mut control = self.control.lock();
        if control.closed || !control.greeted {
            return Err(ENOTCONN);
        }
        control.lend(&fragment, loan)
    }

    /// Looks at every index page.
    fn sync_all(&self) {
        let mut at = 0;
        loop {
            let Some(buffer) = self.control.lock().nth(at) else {
                return;
            };
            let _ = buffer.sync();
            at = at.wrapping_add(1);
        }
    }

    /// The device or the machine was reset: nothing refers to guest memory when this returns,
    /// unless a reader holds on to it for longer than [`RESET_WAIT_MS`].
    pub(crate) fn reset(self: &Arc<Self>) {
        let mut control = self.control.lock();
        // First, so that loans end in silence.
        self.desk.reset();
        // Fails for an unshare only.
        let _ = control.close_all(self, Why::Reset);
        control.greeted = false;
        drop(control);
        let mut info = self.info.lock();
        if info.state != bindings::VESPER_DOMAIN_DEAD {
            info.state = bindings::VESPER_DOMAIN_ATTACHED;
        }
        let hello = info.hello.take();
        drop(info);
        drop(hello);

        self.wait_returned();
    }

    /// Waits until nothing refers to guest memory any more, but not for a reader that sits in the
    /// middle of a copy for longer than [`RESET_WAIT_MS`].
    fn wait_returned(&self) {
        let mut left: Jiffies = msecs_to_jiffies(RESET_WAIT_MS);
        loop {
            let Some(buffer) = self.control.lock().going() else {
                return;
            };
            if !buffer.wait_returned(&mut left) {
                warn_limited!("{}: a reader keeps guest memory\n", Name(&self.name));
                return;
            }
        }
    }

    /// Notes what the VMM says of itself.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Info)) {
        change(&mut self.info.lock());
    }

    /// The VMM is gone. The domain lives on until its data is read.
    pub(crate) fn vmm_gone(self: &Arc<Self>) {
        let mut control = self.control.lock();
        self.desk.close();
        // Fails for an unshare only.
        let _ = control.close_all(self, Why::Death);
        control.closed = true;
        control.greeted = false;
        let drained = control.buffers().is_empty();
        drop(control);
        self.info.lock().state = bindings::VESPER_DOMAIN_DEAD;
        // Whoever looks after the VMM is gone finds all there is.
        self.wait_returned();
        if drained {
            self.host.remove(self);
        }
    }

    /// A buffer is drained and its file gone. The last one of a dead domain takes it along.
    pub(crate) fn forget(self: &Arc<Self>, buffer: &Arc<Buffer>) {
        let mut control = self.control.lock();
        control.forget(buffer);
        let over = control.closed && control.buffers().is_empty();
        drop(control);
        if over {
            self.host.remove(self);
        }
    }

    /// Removes all files, read or not, and lets go of the buffers.
    pub(crate) fn discard(&self) {
        let buffers = self.control.lock().take();
        for buffer in buffers.iter() {
            buffer.remove();
        }
        drop(buffers);
    }

    /// Fills in what is told of the domain.
    pub(crate) fn facts(&self, out: &mut bindings::vesper_domain) {
        let channels = self.control.lock().channels();
        let modules = self.desk.lock().loader.modules().len();
        let info = self.info.lock();
        out.name = info.label;
        out.state = info.state;
        out.run_state = info.run_state;
        out.vmm_pid = self.vmm.nr();
        out.modules = modules as u32;
        out.channels = channels as u32;
        out.lent_pages = self.quota.lent() as u64;
        if let Some(hello) = &info.hello {
            out.guest_abi = hello.abi_version;
            out.nr_cpus = hello.nr_cpus;
            out.load_policy = hello.load_policy;
            out.tsc_khz = hello.tsc_khz;
            out.tsc_anchor = hello.tsc_anchor;
            out.realtime_ns = hello.realtime_ns;
            out.boot_id = hello.boot_id;
            out.release = hello.release;
            out.vermagic = hello.vermagic;
        }
    }

    /// `VESPER_DOMAIN_*`.
    pub(crate) fn state(&self) -> u32 {
        self.info.lock().state
    }

    /// Name under which it is listed.
    pub(crate) fn label(&self) -> [u8; NAME_LEN] {
        self.info.lock().label
    }

    /// Tells of each buffer.
    pub(crate) fn for_each_buffer(&self, mut tell: impl FnMut(&Arc<Buffer>) -> Result) -> Result {
        let mut at = 0;
        loop {
            let Some(buffer) = self.control.lock().nth(at) else {
                return Ok(());
            };
            tell(&buffer)?;
            at = at.wrapping_add(1);
        }
    }
}

impl WorkItem for Domain {
    type Pointer = Arc<Domain>;

    /// The rest of [`Domain::broken`].
    fn run(this: Arc<Domain>) {
        let mut control = this.control.lock();
        if this.info.lock().state == bindings::VESPER_DOMAIN_BROKEN {
            // Fails for an unshare only.
            let _ = control.close_all(&this, Why::Broken);
        }
    }
}
