// SPDX-License-Identifier: GPL-2.0

//! Control queue: a request, and the host's reply.

use super::{
    message::{
        self,
        Message, //
    },
    Comm, //
};
use crate::{
    bindings,
    later::{
        EPROTO,
        ESTALE, //
    },
    sys::{
        completion::Completion,
        virtio::{
            Element,
            Virtqueue, //
        },
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc,
        Mutex, //
    },
};

/// How long the host may take to answer, in seconds. Nothing waits longer for it.
const REPLY_TIMEOUT: u32 = 30;

/// The queue, and whether the host knows us: before hello and after goodbye, it takes nothing else.
pub(super) struct Control {
    pub(super) queue: Virtqueue<Asked>,
    greeted: bool,
    generation: u32,
}

impl Control {
    pub(super) fn new(queue: Virtqueue<Asked>, generation: u32) -> Self {
        Self {
            queue,
            greeted: false,
            generation,
        }
    }
}

/// What somebody waits for.
#[pin_data]
struct Answer {
    #[pin]
    reply: Mutex<Option<bindings::virtio_vesper_reply>>,
    #[pin]
    done: Completion,
}

/// The queue's end of an [`Answer`]: wakes who waits, also when the device went without a reply.
pub(super) struct Asked(Arc<Answer>);

impl Asked {
    /// Takes the reply in. `written` is what the device says it wrote of `bytes`.
    pub(super) fn answer(&self, bytes: &[u8], written: usize) {
        let bytes = bytes.get(..written).unwrap_or(bytes);
        *self.0.reply.lock() = message::read(bytes);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.done.complete_all();
    }
}

impl Comm {
    /// Sends a request and waits for the host's answer to it. Returns the reply's value, or what
    /// the host made of it as an error; `ENODEV` if there is no device, `EIO` if it is broken,
    /// `ETIMEDOUT` if the host doesn't answer. Process context.
    pub(crate) fn request<M: Message>(&self, kind: u32, message: M, tail: &[u8]) -> Result<u32> {
        self.request_with(kind, 0, message, tail)
    }

    /// The same, with `flags` in the head.
    pub(crate) fn request_with<M: Message>(
        &self,
        kind: u32,
        flags: u32,
        message: M,
        tail: &[u8],
    ) -> Result<u32> {
        let id = self.next_id.fetch_add(1, Relaxed);
        self.ask((kind, flags), id, None, message, tail)
    }

    /// Reports the outcome of the loader request `id` that the host made in [`generation`]: fails
    /// with `ESTALE` if that is over. Other errors as for [`Comm::request`].
    ///
    /// [`generation`]: Comm::generation
    pub(crate) fn result(
        &self,
        generation: u32,
        id: u32,
        result: bindings::virtio_vesper_result,
    ) -> Result {
        let kind = bindings::VIRTIO_VESPER_C_RESULT;
        self.ask((kind, 0), id, Some(generation), result, &[])?;
        Ok(())
    }

    /// Tells the host of a module without having been asked: see `struct virtio_vesper_result`.
    /// Errors as for [`Comm::request`].
    pub(crate) fn news(&self, news: bindings::virtio_vesper_result) -> Result {
        let kind = bindings::VIRTIO_VESPER_C_RESULT;
        self.ask((kind, 0), 0, None, news, &[])?;
        Ok(())
    }

    fn ask<M: Message>(
        &self,
        (kind, flags): (u32, u32),
        id: u32,
        generation: Option<u32>,
        mut message: M,
        tail: &[u8],
    ) -> Result<u32> {
        message.set_hdr(kind, flags, id, tail.len());

        let mut bytes = KVec::with_capacity(size_of::<M>().wrapping_add(tail.len()), GFP_KERNEL)?;
        bytes.extend_from_slice(message.as_bytes(), GFP_KERNEL)?;
        bytes.extend_from_slice(tail, GFP_KERNEL)?;
        let answer = Arc::pin_init(
            pin_init!(Answer {
                reply <- new_mutex!(None, "vesper_answer"),
                done <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        let reply_len = size_of::<bindings::virtio_vesper_reply>();
        let element = Element::new(bytes, reply_len, Asked(answer.clone()))?;

        {
            let mut control = self.control.lock();
            let control = (*control).as_mut().ok_or(ENODEV)?;
            if !control.greeted && kind != bindings::VIRTIO_VESPER_C_HELLO {
                return Err(ENODEV);
            }
            if generation.is_some_and(|generation| generation != control.generation) {
                return Err(ESTALE);
            }
            control.queue.add(element, &[]).map_err(|rejected| {
                match rejected.error {
                    // Only requests that the host never answered can fill it.
                    ENOSPC => EBUSY,
                    e => e,
                }
            })?;
            control.queue.kick_now();
            control.greeted = kind != bindings::VIRTIO_VESPER_C_GOODBYE;
        }
        self.await_answer(&answer)?;

        let Some(reply) = answer.reply.lock().take() else {
            return Err(ENODEV);
        };
        let (kind_back, id_back) = (reply.hdr.type_, reply.hdr.id);
        if u32::from(u16::from_le(kind_back)) != kind || u32::from_le(id_back) != id {
            return Err(EPROTO);
        }
        message::status(u32::from_le(reply.status))?;
        Ok(u32::from_le(reply.value))
    }

    fn await_answer(&self, answer: &Answer) -> Result {
        for _ in 0..REPLY_TIMEOUT {
            if answer.done.wait_timeout(1000) {
                return Ok(());
            }
            if self.is_broken() {
                return Err(EIO);
            }
        }
        Err(ETIMEDOUT)
    }

    fn is_broken(&self) -> bool {
        let control = self.control.lock();
        control
            .as_ref()
            .is_some_and(|control| control.queue.is_broken())
    }

    /// Takes in the replies that have come. Process context.
    pub(super) fn reap_control(&self) {
        let mut control = self.control.lock();
        let Some(control) = (*control).as_mut() else {
            return;
        };
        while let Some((element, written)) = control.queue.get_buf() {
            element.token().answer(element.reply(), written);
        }
    }
}
