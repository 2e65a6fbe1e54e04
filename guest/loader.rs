// SPDX-License-Identifier: GPL-2.0

//! Probe loader, action layer: loads and unloads modules for the host, without user space (paper
//! §3.3.1, A3, A4, C3, C4).
//!
//! Messages are taken in one after the other. What they ask for is done by a kernel thread for each
//! request, in order; but a module's init function may take for ever, so after a while the next one
//! does not wait any longer.
//!
//! Lock order: `incoming`, then those of [`job::Jobs`]; neither is held while a module is loaded or
//! the host is waited for.

use crate::{
    abi, bindings,
    comm::{
        self,
        Comm,
        Head, //
    },
    later::{
        ECANCELED,
        EOPNOTSUPP,
        EPROTO, //
    },
    listener::Listener,
    sys::{
        kthread,
        notifier::Notifier,
        syscall::Calls,
        trace, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};

mod explain;
mod image;
mod job;
mod news;
mod policy;
mod run;
mod transfer;

pub(crate) use explain::Text;
use job::{
    Job,
    Jobs,
    Name, //
};
pub(crate) use news::{
    changed,
    withdraw, //
};
pub(crate) use policy::Policy;
use run::{
    Outcome,
    Refusal, //
};
use transfer::Progress;

/// How long a request waits for the one before it, in milliseconds.
const TURN_MS: u32 = 10_000;

/// After how long without a piece a transfer may be pushed aside, in milliseconds.
const STALE_MS: i64 = 10_000;

/// Stage of what is refused before the kernel is asked.
const TRANSFER: u32 = bindings::VIRTIO_VESPER_STAGE_TRANSFER;

/// An image on its way.
struct Incoming {
    id: u32,
    name: Name,
    progress: Progress,
    image: KVVec<u8>,
    params: KVec<u8>,
    last: Instant<Monotonic>,
}

/// The loader.
#[pin_data]
pub(crate) struct Loader {
    comm: Arc<Comm>,
    listener: Arc<Listener>,
    policy: Policy,
    calls: Option<Calls>,
    jobs: Arc<Jobs>,
    #[pin]
    incoming: Mutex<Option<Incoming>>,
    /// Dropped with the loader: see to it that no thread runs.
    _notifier: Notifier<Jobs>,
}

impl Loader {
    /// Makes a loader. If this kernel is not one that we can load modules in, it says so to every
    /// request.
    pub(crate) fn new(comm: Arc<Comm>, listener: Arc<Listener>) -> Result<Arc<Self>> {
        let policy = Policy::get();
        let calls = match policy {
            Policy::None => None,
            _ => Calls::resolve()
                .inspect_err(|e| pr_warn!("modules can't be loaded for the host: {:?}\n", e))
                .ok(),
        };
        let jobs = Arc::pin_init(Jobs::new(comm.clone()), GFP_KERNEL)?;
        let notifier = Notifier::on_module(jobs.clone())?;
        Arc::pin_init(
            pin_init!(Self {
                comm,
                listener,
                policy,
                calls,
                jobs,
                incoming <- new_mutex!(None, "vesper_incoming"),
                _notifier: notifier,
            }),
            GFP_KERNEL,
        )
    }

    /// Has the host told what modules have to say when that changes, until [`withdraw`]. Once in the
    /// life of the module.
    pub(crate) fn publish(&self) -> Result {
        news::publish(self.jobs.clone())
    }

    /// What the administrator lets the host load.
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// There is a host: tells it what was loaded before. Process context.
    pub(crate) fn attached(&self) {
        self.jobs.tell_all();
    }

    /// The host will be gone, and with it the rest of what it was sending and what it waits for.
    /// Process context.
    pub(crate) fn detaching(&self) {
        let dropped = self.incoming.lock().take();
        drop(dropped);
        self.jobs.cancel_all();
    }

    /// Takes in a message of the host's: `message` is all of it, its length checked. By one thread
    /// at a time. Process context.
    pub(crate) fn receive(self: &Arc<Self>, head: &Head, message: &[u8]) {
        let taken = match head.kind {
            bindings::VIRTIO_VESPER_L_LOAD => self.load(head.id, message),
            bindings::VIRTIO_VESPER_L_DATA => self.data(head.id, message),
            bindings::VIRTIO_VESPER_L_UNLOAD => self.unload(head.id, message),
            bindings::VIRTIO_VESPER_L_CANCEL => self.cancel(head.id),
            kind => {
                pr_warn!("message of unknown type {:#06x} from the host\n", kind);
                Ok(())
            }
        };
        if let Err(refusal) = taken {
            self.report(self.comm.generation(), head.id, &refusal.into());
        }
    }

    /// An image is announced.
    fn load(self: &Arc<Self>, id: u32, message: &[u8]) -> Result<(), Refusal> {
        let load: bindings::virtio_vesper_load = comm::read(message)
            .filter(|load: &bindings::virtio_vesper_load| {
                abi::name(&load.module).is_some() && load.reserved == 0
            })
            .ok_or(Refusal {
                error: EINVAL,
                stage: TRANSFER,
                module: NO_NAME,
                why: "the host sent a malformed load request",
            })?;
        let name = load.module;
        trace::load_request(id, &name);
        let refuse = |error, stage, why| Refusal {
            error,
            stage,
            module: name,
            why,
        };
        if self.policy == Policy::None {
            return Err(refuse(
                EPERM,
                bindings::VIRTIO_VESPER_STAGE_POLICY,
                "the guest lets nothing be loaded from the host (vesper_guest.load_policy=none)",
            ));
        }
        if self.calls.is_none() {
            return Err(refuse(
                EOPNOTSUPP,
                bindings::VIRTIO_VESPER_STAGE_KERNEL,
                "modules can't be loaded into this guest's kernel without its user space",
            ));
        }
        let image_len = u32::from_le(load.image_len);
        let params_len = u32::from_le(load.params_len);
        let progress = Progress::new(
            (image_len, bindings::VIRTIO_VESPER_MAX_IMAGE),
            (params_len, bindings::VIRTIO_VESPER_MAX_PARAMS),
        )
        .ok_or_else(|| {
            refuse(
                EFBIG,
                TRANSFER,
                "image or parameters are empty or too large",
            )
        })?;

        let mut incoming = self.incoming.lock();
        if let Some(other) = &*incoming {
            if other.last.elapsed().as_millis() < STALE_MS {
                return Err(refuse(
                    EBUSY,
                    TRANSFER,
                    "another image is on its way to the guest: try again",
                ));
            }
            pr_warn!("a transfer that stopped in the middle is dropped\n");
        }
        *incoming = None;
        let memory = || -> Result<_> {
            Ok((
                KVVec::with_capacity(image_len as usize, GFP_KERNEL | __GFP_NOWARN)?,
                KVec::with_capacity(params_len as usize, GFP_KERNEL)?,
            ))
        };
        let (image, params) = memory()
            .map_err(|e| refuse(e, TRANSFER, "the guest has not enough memory for the image"))?;
        *incoming = Some(Incoming {
            id,
            name,
            progress,
            image,
            params,
            last: Instant::now(),
        });
        Ok(())
    }

    /// A piece of an image.
    fn data(self: &Arc<Self>, id: u32, message: &[u8]) -> Result<(), Refusal> {
        let whole = {
            let mut guard = self.incoming.lock();
            // Of a request that was refused already, others may be on their way.
            let Some(incoming) = (*guard).as_mut().filter(|incoming| incoming.id == id) else {
                return Ok(());
            };
            if let Err(error) = incoming.take(message) {
                let refusal = Refusal {
                    error,
                    stage: TRANSFER,
                    module: incoming.name,
                    why: "a piece of the image did not arrive as it should",
                };
                *guard = None;
                return Err(refusal);
            }
            if !incoming.progress.is_complete() {
                return Ok(());
            }
            (*guard).take()
        };
        match whole {
            Some(incoming) => {
                let name = incoming.name;
                self.start(id, name, move |this, job| this.run_load(job, incoming))
            }
            None => Ok(()),
        }
    }

    /// A module is to go.
    fn unload(self: &Arc<Self>, id: u32, message: &[u8]) -> Result<(), Refusal> {
        let name = comm::read::<bindings::virtio_vesper_unload>(message)
            .map(|unload| unload.module)
            .filter(|name| abi::name(name).is_some())
            .ok_or(Refusal {
                error: EINVAL,
                stage: TRANSFER,
                module: NO_NAME,
                why: "the host sent a malformed unload request",
            })?;
        trace::unload_request(id, &name);
        self.start(id, name, move |this, job| this.run_unload(job, name))
    }

    /// A request is withdrawn: whatever has not begun is dropped.
    fn cancel(&self, id: u32) -> Result<(), Refusal> {
        let mut incoming = self.incoming.lock();
        if let Some(dropped) = (*incoming).take_if(|incoming| incoming.id == id) {
            return Err(canceled(dropped.name));
        }
        self.jobs.cancel(id);
        Ok(())
    }

    /// Has a thread do something and report what came of it.
    fn start(
        self: &Arc<Self>,
        id: u32,
        name: Name,
        run: impl FnOnce(&Self, &Job) -> Outcome + Send + 'static,
    ) -> Result<(), Refusal> {
        let signed_only = self.policy == Policy::Signed;
        let this = self.clone();
        let started = self.jobs.add(id, signed_only).and_then(|(job, before)| {
            let ours = job.clone();
            kthread::spawn(c"vesper/loader", move || {
                if let Some(before) = before {
                    before.wait(TURN_MS);
                }
                let outcome = if ours.begin() {
                    run(&this, &ours)
                } else {
                    canceled(name).into()
                };
                this.jobs.remove(&ours);
                this.report(ours.generation, id, &outcome);
                // What was said meanwhile had to wait for that.
                changed();
            })
            .inspect_err(|_| self.jobs.remove(&job))
        });
        started.map_err(|error| Refusal {
            error,
            stage: TRANSFER,
            module: name,
            why: "the guest can't start a thread for the request",
        })
    }
}

/// The field for a module's name when there is none.
const NO_NAME: Name = [0; abi::NAME_LEN];

fn canceled(module: Name) -> Refusal {
    Refusal {
        error: ECANCELED,
        stage: TRANSFER,
        module,
        why: "withdrawn before it began",
    }
}

impl Incoming {
    /// Takes a DATA message in.
    fn take(&mut self, message: &[u8]) -> Result {
        let data: bindings::virtio_vesper_data = comm::read(message).ok_or(EPROTO)?;
        let bytes = message
            .get(size_of::<bindings::virtio_vesper_data>()..)
            .ok_or(EPROTO)?;
        if data.reserved != 0 {
            return Err(EPROTO);
        }
        let piece = self
            .progress
            .accept(u32::from_le(data.offset), bytes.len())
            .ok_or(EPROTO)?;
        let (image, params) = bytes.split_at_checked(piece.image).ok_or(EPROTO)?;
        self.image.extend_from_slice(image, GFP_KERNEL)?;
        self.params.extend_from_slice(params, GFP_KERNEL)?;
        self.last = Instant::now();
        Ok(())
    }
}
