// SPDX-License-Identifier: GPL-2.0

//! Requests as they are carried out, each in a thread of its own, and what comes of them.

use super::{
    explain::{
        self,
        Text, //
    },
    image,
    job::{
        self,
        Job,
        Name, //
    },
    Incoming,
    Loader,
    TRANSFER, //
};
use crate::{
    abi, bindings,
    later::{
        EOPNOTSUPP,
        ESTALE, //
    },
    probe::Listening,
    sys::{
        syscall::AddressSpace,
        trace,
        xz, //
    },
};
use kernel::prelude::*;

/// What came of a request.
pub(super) struct Outcome {
    result: Result,
    stage: u32,
    module: Name,
    text: Text,
}

/// Why a request comes to nothing before anything was tried.
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) stage: u32,
    pub(super) module: Name,
    pub(super) why: &'static str,
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        let text = Text::new(fmt!("{}", refusal.why));
        Self::failed(refusal.error, refusal.stage, refusal.module, text)
    }
}

impl Outcome {
    fn failed(error: Error, stage: u32, module: Name, text: Text) -> Self {
        Self {
            result: Err(error),
            stage,
            module,
            text,
        }
    }
}

impl Loader {
    /// Loads a module. In the request's thread.
    pub(super) fn run_load(&self, job: &Job, incoming: Incoming) -> Outcome {
        let Incoming {
            name,
            mut image,
            params,
            ..
        } = incoming;
        if image::is_xz(&image) {
            match xz::decompress(&image, bindings::VIRTIO_VESPER_MAX_IMAGE as usize) {
                Ok(plain) => image = plain,
                Err(e) => {
                    return Outcome::failed(e, TRANSFER, name, explain::decompress(e));
                }
            }
        }
        if let Err(e) = self.policy.admits(&image) {
            let stage = bindings::VIRTIO_VESPER_STAGE_POLICY;
            return Outcome::failed(e, stage, name, explain::unsigned());
        }
        // A kernel with MODULE_FORCE_LOAD would take what fits no kernel for sure.
        if image::modinfo(&image, b"vermagic").is_none() {
            let stage = bindings::VIRTIO_VESPER_STAGE_KERNEL;
            return Outcome::failed(ENOEXEC, stage, name, explain::load(ENOEXEC, &image));
        }

        trace::load_begin(job.id, &name);
        // For want of memory, what the module has to say is in the kernel log only.
        let listening = Listening::begin().ok();
        // What another thread of this number was refused is not this module's.
        let _ = self.listener.take_refusal();
        let result = self
            .calls
            .as_ref()
            .ok_or(EOPNOTSUPP)
            .and_then(AddressSpace::new)
            .and_then(|space| space.init_module(&image, &params));
        let module = job.module().unwrap_or_else(|| {
            job::field(image::modinfo(&image, b"name").unwrap_or(abi::name(&name).unwrap_or(&[])))
        });
        trace::load_done(job.id, &module, &result);
        let refusal = self.listener.take_refusal();
        // What is said from here on is told when the answer has been given.
        self.jobs.note_told(&module);
        let remarks = listening.map_or(KVec::new(), Listening::end);
        match (result, refusal) {
            // The module lives with it, so it is loaded.
            (Ok(()), refusal) => {
                let (stage, text) = match refusal {
                    Some(refusal) => (bindings::VIRTIO_VESPER_STAGE_SHARE, explain::share(refusal)),
                    None if !remarks.is_empty() => {
                        (bindings::VIRTIO_VESPER_STAGE_PROBE, explain::said(&remarks))
                    }
                    None => (
                        bindings::VIRTIO_VESPER_STAGE_KERNEL,
                        explain::loaded(&image, &params),
                    ),
                };
                Outcome {
                    result: Ok(()),
                    stage,
                    module,
                    text,
                }
            }
            // Its init function failed of it: that is the cause, whatever it made of it.
            (Err(_), Some(refusal)) => {
                let stage = bindings::VIRTIO_VESPER_STAGE_SHARE;
                Outcome::failed(refusal, stage, module, explain::share(refusal))
            }
            (Err(e), None) if !remarks.is_empty() => {
                let stage = bindings::VIRTIO_VESPER_STAGE_PROBE;
                Outcome::failed(e, stage, module, explain::said(&remarks))
            }
            (Err(e), None) => {
                let stage = bindings::VIRTIO_VESPER_STAGE_KERNEL;
                Outcome::failed(e, stage, module, explain::load(e, &image))
            }
        }
    }

    /// Unloads a module. In the request's thread.
    pub(super) fn run_unload(&self, job: &Job, name: Name) -> Outcome {
        let Some(module) = self.jobs.loaded(abi::name(&name).unwrap_or(&[])) else {
            let text = Text::new(fmt!(
                "the guest has no such module that was loaded by VESPER"
            ));
            let stage = bindings::VIRTIO_VESPER_STAGE_POLICY;
            return Outcome::failed(ENOENT, stage, name, text);
        };
        trace::unload_begin(job.id, &module);
        let result = self
            .calls
            .as_ref()
            .ok_or(EOPNOTSUPP)
            .and_then(AddressSpace::new)
            .and_then(|space| space.delete_module(abi::name(&module).unwrap_or(&[])));
        trace::unload_done(job.id, &module, &result);
        Outcome {
            result,
            stage: bindings::VIRTIO_VESPER_STAGE_KERNEL,
            module,
            text: match result {
                Ok(()) => Text::none(),
                Err(e) => explain::unload(e),
            },
        }
    }

    /// Tells the host what came of request `id`, which it made in that [`Comm::generation`]. If
    /// there is another one now, it hears only whether the module is there. Process context.
    ///
    /// [`Comm::generation`]: crate::comm::Comm::generation
    pub(super) fn report(&self, generation: u32, id: u32, outcome: &Outcome) {
        let status = match outcome.result {
            Ok(()) => 0,
            Err(e) => e.to_errno().unsigned_abs(),
        };
        if status != 0 {
            pr_info!("request of the host failed: {}\n", outcome.text.as_str());
        }
        let result = bindings::virtio_vesper_result {
            status: status.to_le(),
            stage: outcome.stage.to_le(),
            module: outcome.module,
            text: outcome.text.field(),
            ..Zeroable::zeroed()
        };
        match self.comm.result(generation, id, result) {
            Ok(()) => (),
            Err(ESTALE) => self.jobs.tell(outcome.module),
            Err(e) => pr_warn!("the host does not hear what came of its request: {:?}\n", e),
        }
    }
}
