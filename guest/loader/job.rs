// SPDX-License-Identifier: GPL-2.0

//! Requests that have come whole, and the modules that came of them.

use super::explain;
use crate::{
    abi, bindings,
    comm::{
        Comm,
        Sent,
        REPLY_TIMEOUT_S, //
    },
    later::EKEYREJECTED,
    probe::standing,
    sys::{
        completion::Completion,
        module::Module,
        notifier::OnModule, //
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
        Arc,
        Mutex, //
    },
    task::Pid, //
};

/// How long a module that goes waits for the host to hear of it, in seconds. Meanwhile nobody else
/// can begin to be told of modules, and who loads one may have to wait behind that.
const GOING_TIMEOUT_S: u32 = 1;

/// A field for a module's name.
pub(super) type Name = [u8; abi::NAME_LEN];

/// Copies a name to a field.
pub(super) fn field(name: &[u8]) -> Name {
    let mut field = [0; abi::NAME_LEN];
    for (to, from) in field[..abi::NAME_LEN - 1].iter_mut().zip(name) {
        *to = *from;
    }
    field
}

/// How far a job is.
pub(super) enum State {
    Waiting,
    Canceled,
    /// The thread that does it, and the module that its load brought.
    Begun {
        pid: Pid,
        module: Option<Name>,
    },
}

/// One request.
#[pin_data]
pub(super) struct Job {
    /// What the host calls it, and for how long it does: see [`Comm::generation`].
    pub(super) id: u32,
    pub(super) generation: u32,
    /// Only signed modules may come.
    pub(super) signed_only: bool,
    #[pin]
    pub(super) state: Mutex<State>,
    #[pin]
    done: Completion,
    /// Somebody has waited for it long enough.
    late: Atomic<bool>,
}

impl Job {
    /// Waits until it is done, or for so many milliseconds: then nobody waits for it again.
    pub(super) fn wait(&self, ms: u32) {
        if !self.done.wait_timeout(ms) {
            self.late.store(true, Relaxed);
        }
    }

    /// The calling thread begins with it; says whether it may.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state.lock();
        if matches!(*state, State::Canceled) {
            return false;
        }
        *state = State::Begun {
            pid: kernel::current!().pid(),
            module: None,
        };
        true
    }

    /// Name of the module that it brought.
    pub(super) fn module(&self) -> Option<Name> {
        match *self.state.lock() {
            State::Begun { module, .. } => module,
            _ => None,
        }
    }
}

/// A module that was loaded for the host.
struct Loaded {
    name: Name,
    /// What the host was last told that it has to say.
    told: KVec<u8>,
}

impl Loaded {
    fn name(&self) -> &[u8] {
        abi::name(&self.name).unwrap_or(&[])
    }
}

/// The jobs that are not done, and the modules that were loaded for the host.
///
/// The locks are held for a moment only; under `jobs` come those of the jobs.
#[pin_data]
pub(super) struct Jobs {
    comm: Arc<Comm>,
    #[pin]
    jobs: Mutex<KVec<Arc<Job>>>,
    #[pin]
    loaded: Mutex<KVec<Loaded>>,
    /// Held from the look at a module until what the host is told of it is on its way, so that what
    /// is told last is what is so. Taken before the others.
    #[pin]
    telling: Mutex<()>,
}

impl Jobs {
    pub(super) fn new(comm: Arc<Comm>) -> impl PinInit<Self> {
        pin_init!(Self {
            comm,
            jobs <- new_mutex!(KVec::new(), "vesper_jobs"),
            loaded <- new_mutex!(KVec::new(), "vesper_loaded"),
            telling <- new_mutex!((), "vesper_telling"),
        })
    }

    /// Queues a job. Returns it with the one that it has to wait for.
    pub(super) fn add(&self, id: u32, signed_only: bool) -> Result<(Arc<Job>, Option<Arc<Job>>)> {
        let job = Arc::pin_init(
            pin_init!(Job {
                id,
                generation: self.comm.generation(),
                signed_only,
                state <- new_mutex!(State::Waiting, "vesper_job"),
                done <- Completion::new(),
                late: Atomic::new(false),
            }),
            GFP_KERNEL,
        )?;
        let mut jobs = self.jobs.lock();
        let before = jobs.iter().rfind(|job| !job.late.load(Relaxed)).cloned();
        jobs.push(job.clone(), GFP_KERNEL)?;
        Ok((job, before))
    }

    /// The job is done, whatever came of it.
    pub(super) fn remove(&self, job: &Arc<Job>) {
        self.jobs.lock().retain(|other| !Arc::ptr_eq(other, job));
        job.done.complete_all();
    }

    /// Marks a job as withdrawn, if it has not begun.
    pub(super) fn cancel(&self, id: u32) {
        let jobs = self.jobs.lock();
        for job in jobs.iter().filter(|job| job.id == id) {
            let mut state = job.state.lock();
            if matches!(*state, State::Waiting) {
                *state = State::Canceled;
            }
        }
    }

    /// Marks every job as withdrawn that has not begun: the host that wanted them is gone.
    pub(super) fn cancel_all(&self) {
        let jobs = self.jobs.lock();
        for job in jobs.iter() {
            let mut state = job.state.lock();
            if matches!(*state, State::Waiting) {
                *state = State::Canceled;
            }
        }
    }

    /// The job that thread `pid` does.
    fn of(&self, pid: Pid) -> Option<Arc<Job>> {
        let jobs = self.jobs.lock();
        jobs.iter()
            .find(|job| matches!(*job.state.lock(), State::Begun { pid: p, .. } if p == pid))
            .cloned()
    }

    /// The kernel's name of a module that was loaded for the host: the kernel makes dashes in file
    /// names underscores.
    pub(super) fn loaded(&self, name: &[u8]) -> Option<Name> {
        let same = |&a: &u8, &b: &u8| a == b || (a == b'_' && b == b'-');
        let loaded = self.loaded.lock();
        loaded
            .iter()
            .find(|entry| {
                let known = entry.name();
                known.len() == name.len() && known.iter().zip(name).all(|(a, b)| same(a, b))
            })
            .map(|entry| entry.name)
    }

    /// Whether a request on that module is being carried out.
    fn is_busy(&self, name: &Name) -> bool {
        let jobs = self.jobs.lock();
        jobs.iter().any(
            |job| matches!(&*job.state.lock(), State::Begun { module: Some(m), .. } if m == name),
        )
    }
}

impl Jobs {
    /// The host is being told what module `name` has to say now. Process context.
    pub(super) fn note_told(&self, name: &Name) {
        let told = standing::text(abi::name(name).unwrap_or(&[]));
        let mut loaded = self.loaded.lock();
        if let Some(entry) = loaded.iter_mut().find(|entry| entry.name == *name) {
            entry.told = told;
        }
    }

    /// Tells the host whether a module that was loaded for it is there, and what it has to say.
    /// Process context.
    pub(super) fn tell(&self, name: Name) {
        self.tell_within(name, REPLY_TIMEOUT_S);
    }

    /// The same, and waits so many seconds at most. It is on its way by then.
    fn tell_within(&self, name: Name, timeout_s: u32) {
        match self.send(name).and_then(|s| self.comm.wait(&s, timeout_s)) {
            // It is told of what there is when it comes.
            Ok(()) | Err(ENODEV) => (),
            Err(ETIMEDOUT) if timeout_s < REPLY_TIMEOUT_S => (),
            Err(e) => pr_warn!("the host does not hear of a module: {:?}\n", e),
        }
    }

    fn send(&self, name: Name) -> Result<Sent> {
        let _turn = self.telling.lock();
        self.note_told(&name);
        let (status, said) = {
            let loaded = self.loaded.lock();
            match loaded.iter().find(|entry| entry.name == name) {
                Some(entry) => (0, explain::said(&entry.told)),
                None => (ENOENT.to_errno().unsigned_abs(), explain::Text::none()),
            }
        };
        let stage = if said.as_str().is_empty() {
            bindings::VIRTIO_VESPER_STAGE_KERNEL
        } else {
            bindings::VIRTIO_VESPER_STAGE_PROBE
        };
        let news = bindings::virtio_vesper_result {
            status: status.to_le(),
            stage: stage.to_le(),
            module: name,
            text: said.field(),
            ..Zeroable::zeroed()
        };
        self.comm.news(news)
    }

    /// Tells the host of the modules that have something else to say than they had. Those with a
    /// request under way are left for later. Process context.
    pub(super) fn tell_changes(&self) {
        let has_news = |entry: &Loaded| *entry.told != *standing::text(entry.name());
        self.tell_those(|entry| has_news(entry) && !self.is_busy(&entry.name));
    }

    /// Tells the host of every module that was loaded for it before. Process context.
    pub(super) fn tell_all(&self) {
        self.tell_those(|_| true);
    }

    /// Tells the host of the modules that are `wanted`. One may go while others are told of.
    fn tell_those(&self, wanted: impl Fn(&Loaded) -> bool) {
        let names = || -> Result<KVec<Name>> {
            let loaded = self.loaded.lock();
            let mut names = KVec::new();
            for entry in loaded.iter().filter(|entry| wanted(entry)) {
                names.push(entry.name, GFP_KERNEL)?;
            }
            Ok(names)
        };
        match names() {
            Ok(names) => names.into_iter().for_each(|name| self.tell(name)),
            Err(e) => pr_warn!("the host does not hear of modules: {:?}\n", e),
        }
    }
}

impl OnModule for Jobs {
    fn coming(&self, module: &Module) -> Result {
        let Some(job) = self.of(kernel::current!().pid()) else {
            return Ok(());
        };
        // The signature was checked before. This is the kernel's own word for it, and last chance.
        if job.signed_only && !module.is_signed() {
            return Err(EKEYREJECTED);
        }
        let name = field(module.name().to_bytes());
        let entry = Loaded {
            name,
            told: KVec::new(),
        };
        self.loaded.lock().push(entry, GFP_KERNEL)?;
        if let State::Begun { module, .. } = &mut *job.state.lock() {
            *module = Some(name);
        }
        Ok(())
    }

    fn going(&self, module: &Module) {
        standing::forget(module.name());
        let name = field(module.name().to_bytes());
        let known = {
            let mut loaded = self.loaded.lock();
            let before = loaded.len();
            loaded.retain(|other| other.name != name);
            loaded.len() != before
        };
        // What a request comes to is reported by its thread. Here and not later: a module of the
        // same name can come as soon as this one has gone, and what the host hears of that is behind
        // this.
        if known && self.of(kernel::current!().pid()).is_none() {
            self.tell_within(name, GOING_TIMEOUT_S);
        }
    }
}
