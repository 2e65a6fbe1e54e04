// SPDX-License-Identifier: GPL-2.0

//! A domain: one guest, for as long as its VMM is attached or data of it is unread.
//!
//! Lock order: `Host::trimming`, `Host::domains`, `control`, the locks of [`crate::files`], those of a buffer
//! ([`crate::listener`]), that of the heartbeat, then the leaves: `info`, the desk. Locks of the memory management and
//! of the VFS come after `control`, and user memory is never touched under any of these.

use crate::{
    abi::NAME_LEN,
    bindings,
    desk::Desk,
    files::DomainDir,
    heartbeat::{
        self,
        Heartbeat, //
    },
    host::Host,
    listener::{
        Buffer,
        Listener,
        Quota,
        Tally, //
    },
    message::Hello,
    sys::{
        account::Accounts,
        pid::Pid,
        time::Brake,
        trace, //
    },
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    str::CStr,
    sync::{
        atomic::Atomic,
        Arc,
        Mutex, //
    },
    task::Kuid,
    workqueue::{
        Queue,
        Work, //
    },
};

mod end;
mod guest;

pub(crate) use self::guest::Taken;

/// What is told about a domain.
pub(crate) struct Info {
    /// `VESPER_DOMAIN_*`.
    pub(crate) state: u32,
    /// `VESPER_RUN_*`, 0 if the VMM never said. What it said last tells why it is gone.
    pub(crate) run_state: u32,
    /// How often the VMM has asked the guest to power off since its driver came.
    pub(crate) powerdowns: u32,
    /// What the guest said of itself.
    pub(crate) hello: Option<KBox<Hello>>,
    /// Device ABI version of the driver that was turned away last, 0 if none was since a hello
    /// that was good. Outlives the reset with which that driver gives up.
    pub(crate) refused_abi: u32,
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
    /// Process that attached; none if it is this kernel.
    vmm: Option<Pid>,
    /// Whose process that is.
    user: Kuid,
    dir: Arc<DomainDir>,
    quota: Arc<Quota>,
    /// What may be lent for the heartbeat, which is not a matter of buffers.
    beat_quota: Arc<Quota>,
    heartbeat: Arc<Heartbeat>,
    accounts: Arc<Accounts>,
    brake: Brake,
    /// What was kept is being thrown away.
    reaped: Atomic<bool>,
    /// The process whose memory is lent is gone.
    orphaned: Atomic<bool>,
    #[pin]
    control: Mutex<Listener>,
    #[pin]
    info: Mutex<Info>,
    #[pin]
    desk: Desk,
    #[pin]
    work: Work<Domain>,
    /// Of its own, as it may wait for who looks at other domains.
    #[pin]
    trim_work: Work<Domain, TRIM>,
}

/// Number of the work item that trims.
const TRIM: u64 = 1;

impl_has_work! {
    impl HasWork<Self> for Domain { self.work }
    impl HasWork<Self, TRIM> for Domain { self.trim_work }
}

impl Domain {
    /// A domain of that name, which was checked, that process `vmm` attaches or nobody.
    pub(crate) fn new(
        host: &Arc<Host>,
        name: &[u8; NAME_LEN],
        dir: Arc<DomainDir>,
        vmm: Option<Pid>,
    ) -> Result<Arc<Self>> {
        let limits = host.limits();
        let heartbeat = Heartbeat::new(limits.heartbeat)?;
        if vmm.is_some() {
            dir.show(&heartbeat)?;
        }
        Arc::pin_init(
            try_pin_init!(Self {
                host: host.clone(),
                name: *name,
                vmm,
                user: Kuid::current_euid(),
                dir,
                quota: Quota::new(limits.max_lent_pages)?,
                beat_quota: Quota::new(heartbeat::max_pages())?,
                heartbeat,
                accounts: Accounts::new(host.late().clone())?,
                brake: Brake::new(),
                reaped: Atomic::new(false),
                orphaned: Atomic::new(false),
                control <- new_mutex!(Listener::new(), "vesper::control"),
                info <- new_mutex!(
                    Info {
                        state: bindings::VESPER_DOMAIN_ATTACHED,
                        run_state: 0,
                        powerdowns: 0,
                        hello: None,
                        refused_abi: 0,
                        vcpus: KVVec::new(),
                        label: *name,
                    },
                    "vesper::info"
                ),
                desk <- Desk::new(name, limits.max_requests, limits.max_lent_pages),
                work <- new_work!("vesper::domain"),
                trim_work <- new_work!("vesper::trim"),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// User whose process attached.
    pub(crate) fn user(&self) -> Kuid {
        self.user
    }

    /// The brake for messages about it.
    pub(crate) fn brake(&self) -> &Brake {
        &self.brake
    }

    /// What counts the pages kept of all domains.
    pub(crate) fn kept(&self) -> &Arc<Tally> {
        self.host.kept()
    }

    /// Its name, terminated.
    pub(crate) fn name(&self) -> &[u8; NAME_LEN] {
        &self.name
    }

    /// Tells trace events of a step that concerns `module`, see [`trace::step`].
    pub(crate) fn step<T>(&self, step: &'static CStr, module: &[u8; NAME_LEN], result: &Result<T>) {
        let status = match result {
            Ok(_) => 0,
            Err(err) => err.to_errno(),
        };
        trace::step(step, &self.name, module, status);
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Arc<DomainDir> {
        &self.dir
    }

    /// What waits for its VMM.
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Its heartbeat.
    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Shows what is told of it to somebody who takes no lock.
    pub(crate) fn with_info<T>(&self, look: impl FnOnce(&Info) -> T) -> T {
        look(&self.info.lock())
    }

    /// Where its work is done.
    pub(crate) fn queue(&self) -> &Queue {
        self.host.queue()
    }

    /// The accounts of those who lend for it.
    pub(crate) fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Notes what the VMM says of itself.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Info)) {
        self.note_unlisted(change);
        self.changed();
    }

    /// The same for what is not listed.
    pub(crate) fn note_unlisted(&self, change: impl FnOnce(&mut Info)) {
        change(&mut self.info.lock());
    }

    /// Something that is listed of it has changed. Can be called under any lock.
    pub(crate) fn changed(&self) {
        self.host.changes().note();
    }

    /// Fills in what is told of the domain.
    pub(crate) fn facts(&self, out: &mut bindings::vesper_domain) {
        let channels = self.control.lock().channels();
        out.kept_bytes = self.kept_bytes();
        (out.heartbeat, out.hangs) = self.heartbeat.verdict();
        let info = self.info.lock();
        out.name = info.label;
        out.state = info.state;
        out.run_state = info.run_state;
        out.powerdowns = info.powerdowns;
        out.vmm_pid = self.vmm.as_ref().map_or(0, Pid::nr);
        out.channels = channels as u32;
        out.lent_pages = self.quota.lent() as u64;
        out.guest_abi = info.refused_abi;
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

    /// Says whether the guest can show channels of others.
    pub(crate) fn shares(&self) -> bool {
        let info = self.info.lock();
        info.hello
            .as_ref()
            .is_some_and(|hello| guest::shares(hello))
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
    pub(crate) fn for_each_buffer(&self, tell: impl FnMut(&Arc<Buffer>) -> Result) -> Result {
        // Those there are at one moment: while it tells, some may go.
        let buffers = self.control.lock().snapshot()?;
        buffers.iter().try_for_each(tell)
    }
}
