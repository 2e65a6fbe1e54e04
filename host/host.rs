// SPDX-License-Identifier: GPL-2.0

//! Everything that this module holds: the domains, its directory, its work queue.

use crate::{
    abi::{
        self,
        NAME_LEN, //
    },
    bindings::VESPER_DOMAIN_DEAD,
    changes::Changes,
    domain::Domain,
    files::{
        self,
        DomainDir,
        Name, //
    },
    heartbeat::{
        Bell,
        Settings, //
    },
    listener::Tally,
    sys::{
        debugfs::Entry,
        pid::Pid,
        workqueue::OwnedQueue, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    workqueue::Queue, //
};

/// Limits, from the module's parameters.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Domains with a VMM.
    pub(crate) max_domains: usize,
    /// Channels of a domain.
    pub(crate) max_channels: usize,
    /// Pages of a buffer.
    pub(crate) max_buffer_pages: usize,
    /// Pages that a domain lends at a time.
    pub(crate) max_lent_pages: usize,
    /// Bytes kept of a domain for its readers, metadata included.
    pub(crate) max_kept_bytes: usize,
    /// Bytes kept of all domains.
    pub(crate) max_kept_total: usize,
    /// Domains without a VMM.
    pub(crate) max_dead: usize,
    /// Loader requests of a domain.
    pub(crate) max_requests: usize,
    /// Heartbeat of a domain of which nobody has said otherwise.
    pub(crate) heartbeat: Settings,
}

/// What the module holds.
///
/// Domains refer back to it; [`Host::shut_down`] cuts the circle.
#[pin_data]
pub(crate) struct Host {
    #[pin]
    domains: Mutex<KVec<Arc<Domain>>>,
    limits: Limits,
    changes: Arc<Changes>,
    #[pin]
    bell: Bell,
    // Before the directory: what is queued may still remove files.
    queue: OwnedQueue,
    /// For what is late to be taken back from the accounts of those who lend.
    late: Arc<OwnedQueue>,
    kept: Arc<Tally>,
    /// Outermost of all locks.
    #[pin]
    trimming: Mutex<()>,
    root: Entry,
}

/// Where the first of those is whose rank none exceeds.
fn first_of_most<T, R: PartialOrd>(
    all: impl Iterator<Item = T>,
    rank: impl Fn(T) -> R,
) -> Option<usize> {
    let mut most: Option<(R, usize)> = None;
    for (at, one) in all.enumerate() {
        let its = rank(one);
        if most.as_ref().is_none_or(|(before, _)| its > *before) {
            most = Some((its, at));
        }
    }
    most.map(|(_, at)| at)
}

impl Host {
    /// Makes the directory and the queue; `EEXIST` if the directory is there already.
    pub(crate) fn new(limits: Limits) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                domains <- new_mutex!(KVec::new(), "vesper::domains"),
                limits,
                changes: Changes::new()?,
                bell <- Bell::new(),
                queue: OwnedQueue::new()?,
                late: Arc::new(OwnedQueue::new()?, GFP_KERNEL)?,
                kept: Tally::new()?,
                trimming <- new_mutex!((), "vesper::trimming"),
                root: files::root()?,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Limits, from the module's parameters.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// What changes in what is listed.
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Wakes who looks at heartbeats.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Where work is done that may wait for a reader.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Where the accounts of those who lend may wait for them.
    pub(crate) fn late(&self) -> &Arc<OwnedQueue> {
        &self.late
    }

    /// What counts the pages kept of all domains.
    pub(crate) fn kept(&self) -> &Arc<Tally> {
        &self.kept
    }

    /// Makes a domain for the calling VMM. `EINVAL`: the name; `EEXIST`: attached already;
    /// `ENOSPC`: too many.
    pub(crate) fn attach(self: &Arc<Self>, field: &[u8; NAME_LEN]) -> Result<Arc<Domain>> {
        let name = abi::name(field).ok_or(EINVAL)?;
        if name == abi::HOST_DOMAIN {
            return Err(EINVAL);
        }
        self.admit(field, name, Some(Pid::current_process()?))
    }

    /// Makes the domain that this kernel itself is. `EEXIST`: it is there already.
    pub(crate) fn attach_self(self: &Arc<Self>) -> Result<Arc<Domain>> {
        let mut field = [0; NAME_LEN];
        field
            .iter_mut()
            .zip(abi::HOST_DOMAIN)
            .for_each(|(to, from)| *to = *from);
        self.admit(&field, abi::HOST_DOMAIN, None)
    }

    fn admit(
        self: &Arc<Self>,
        field: &[u8; NAME_LEN],
        name: &[u8],
        vmm: Option<Pid>,
    ) -> Result<Arc<Domain>> {
        let mut domains = self.domains.lock();
        let alive = |d: &&Arc<Domain>| d.state() != VESPER_DOMAIN_DEAD;
        if domains.iter().filter(alive).any(|d| d.name() == field) {
            return Err(EEXIST);
        }
        if domains.iter().filter(alive).count() >= self.limits.max_domains {
            return Err(ENOSPC);
        }
        domains.reserve(1, GFP_KERNEL)?;
        // A dead one of that name, of which there is at most one that still has the name itself,
        // makes room.
        for dead in domains.iter().filter(|d| d.label() == *field) {
            let label = dead.dir().make_room(name)?;
            dead.note(|info| info.label = label);
        }
        let dir = DomainDir::new(&self.root, name, self.changes.clone())?;
        let domain = Domain::new(self, field, dir, vmm)?;
        domains.push(domain.clone(), GFP_KERNEL)?;
        self.changes.note();
        Ok(domain)
    }

    /// Puts a domain whose VMM is gone behind those that are gone already.
    pub(crate) fn died(&self, domain: &Arc<Domain>) {
        let mut domains = self.domains.lock();
        let at = domains.iter().position(|d| Arc::ptr_eq(d, domain));
        if let Some(Ok(domain)) = at.map(|at| domains.remove(at)) {
            // There is room for the one just taken out.
            let _ = domains.push_within_capacity(domain);
        }
        self.changes.note();
    }

    /// Forgets a domain, of which nothing is left to be read.
    pub(crate) fn remove(&self, domain: &Arc<Domain>) {
        // Under the lock, so that a new one of the name finds neither.
        let mut domains = self.domains.lock();
        // Open files may keep the domain for as long as they like, but not its directory.
        domain.dir().remove();
        domains.retain(|d| !Arc::ptr_eq(d, domain));
        self.changes.note();
    }

    /// Has the oldest dead domains thrown away, if there are too many: of the user who has most of
    /// them, those of the name of which there are most, so that who has more of them than others
    /// makes room first.
    pub(crate) fn trim(&self) {
        loop {
            let domains = self.domains.lock();
            let dead = || domains.iter().filter(|d| d.is_kept());
            if dead().count() <= self.limits.max_dead {
                return;
            }
            let rank = |d: &Arc<Domain>| {
                let of_user = || dead().filter(|other| other.user() == d.user());
                let of_name = of_user().filter(|other| other.name() == d.name());
                (of_user().count(), of_name.count())
            };
            // In the order in which they died.
            let most = first_of_most(dead(), rank);
            let Some(oldest) = most.and_then(|at| dead().nth(at)).cloned() else {
                return;
            };
            drop(domains);
            oldest.make_room("too many guests are gone");
        }
    }

    /// Has some of what is kept thrown away, if the copies of all domains are more than may be: of
    /// the user of whose guests there is most, there of the name of which there is most, the dead
    /// first, in the order in which they died.
    pub(crate) fn trim_kept(&self) {
        let limit = self.limits.max_kept_total;
        if self.kept.bytes() <= limit {
            return;
        }
        // One at a time: what another one throws away is not to be done twice. No other lock is
        // held while domains are looked at, as a reset can keep its own for long.
        let _turn = self.trimming.lock();
        let Ok(domains) = self.snapshot() else {
            return;
        };
        let Ok(mut copies) = KVec::with_capacity(domains.len(), GFP_KERNEL) else {
            return;
        };
        for domain in domains {
            let bytes = domain.copied_bytes();
            let _ = copies.push_within_capacity((domain, bytes));
        }
        // Not the tally, in which is what is being thrown away, too.
        let sum = |sum: usize, of: &(Arc<Domain>, usize)| sum.saturating_add(of.1);
        let mut excess = copies.iter().fold(0, sum).saturating_sub(limit);
        while excess != 0 {
            let rank = |(domain, bytes): &(Arc<Domain>, usize)| {
                let of_user = || copies.iter().filter(|(d, _)| d.user() == domain.user());
                let of_name = of_user().filter(|(d, _)| d.name() == domain.name());
                match bytes {
                    0 => (0, 0, false),
                    _ => (
                        of_user().fold(0, sum),
                        of_name.fold(0, sum),
                        domain.is_kept(),
                    ),
                }
            };
            let Some(at) = first_of_most(copies.iter(), rank) else {
                return;
            };
            let Some((domain, bytes)) = copies.get_mut(at).filter(|(_, bytes)| *bytes != 0) else {
                return;
            };
            let freed = domain.drop_copies(excess);
            excess = excess.saturating_sub(freed);
            // Of one that has nothing to be had no more is asked.
            *bytes = match freed {
                0 => 0,
                _ => bytes.saturating_sub(freed),
            };
        }
    }

    /// All domains there are at one moment.
    pub(crate) fn snapshot(&self) -> Result<KVec<Arc<Domain>>> {
        let domains = self.domains.lock();
        let mut all = KVec::with_capacity(domains.len(), GFP_KERNEL)?;
        for domain in domains.iter() {
            all.push(domain.clone(), GFP_KERNEL)?;
        }
        Ok(all)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.domains.lock().len()
    }

    /// The domain that is listed as `label`; `ENODEV`.
    pub(crate) fn find(&self, label: &[u8; NAME_LEN]) -> Result<Arc<Domain>> {
        self.domains
            .lock()
            .iter()
            .find(|d| d.label() == *label)
            .cloned()
            .ok_or(ENODEV)
    }

    /// Lets go of everything. No file is open and no VMM attached: the module is being removed.
    pub(crate) fn shut_down(&self) {
        let domains = core::mem::take(&mut *self.domains.lock());
        // What was reaped may still be on its way out: a worker that finds no buffer left of a
        // domain removes the directory, in which those that are taken out below have their files.
        self.queue.drain();
        for domain in domains.iter() {
            if domain.is_kept() {
                pr_warn!(
                    "{}: {} bytes that nobody has read go with the module\n",
                    Name(&domain.label()),
                    domain.kept_bytes()
                );
            }
            domain.discard();
            domain.dir().remove();
        }
        // Work still queued holds domains, and these hold us.
        self.queue.drain();
        drop(domains);
        self.late.drain();
    }
}
