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
pub(crate) const REPLY_TIMEOUT_S: u32 = 30;

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

    /// Puts a request of that kind on the queue.
    fn put(&mut self, kind: u32, generation: Option<u32>, element: KBox<Element<Asked>>) -> Result {
        if !self.greeted && kind != bindings::VIRTIO_VESPER_C_HELLO {
            return Err(ENODEV);
        }
        if generation.is_some_and(|generation| generation != self.generation) {
            return Err(ESTALE);
        }
        self.queue.add(element, &[]).map_err(|rejected| {
            match rejected.error {
                // Only requests that the host never answered can fill it.
                ENOSPC => EBUSY,
                e => e,
            }
        })?;
        self.queue.kick_now();
        self.greeted = kind != bindings::VIRTIO_VESPER_C_GOODBYE;
        Ok(())
    }
}

/// What a host is asked for that has done something when nobody waited for it any more.
#[derive(Clone, Copy)]
pub(crate) struct Undo {
    /// `VIRTIO_VESPER_C_*`.
    pub(crate) kind: u32,
    /// Makes the message of the value in the reply that came too late.
    pub(crate) message: fn(u32) -> bindings::virtio_vesper_buffer,
}

/// What somebody waits for.
#[pin_data]
struct Answer {
    kind: u32,
    id: u32,
    undo: Option<Undo>,
    #[pin]
    reply: Mutex<Reply>,
    #[pin]
    done: Completion,
}

struct Reply {
    given: Option<bindings::virtio_vesper_reply>,
    /// Nobody waits for it.
    abandoned: bool,
}

impl Answer {
    /// What a reply says to the request.
    fn value(&self, reply: &bindings::virtio_vesper_reply) -> Result<u32> {
        let (kind, id) = (reply.hdr.type_, reply.hdr.id);
        if u32::from(u16::from_le(kind)) != self.kind || u32::from_le(id) != self.id {
            return Err(EPROTO);
        }
        message::status(u32::from_le(reply.status))?;
        Ok(u32::from_le(reply.value))
    }
}

/// A request that is on the queue. The host takes it behind what was sent before.
pub(crate) struct Sent(Arc<Answer>);

/// The queue's end of an [`Answer`]: wakes who waits, also when the device went without a reply.
pub(super) struct Asked(Arc<Answer>);

impl Asked {
    /// Takes the reply in. `written` is what the device says it wrote of `bytes`. Returns what is to
    /// be undone, and the reply's value, if nobody waits for it any more.
    fn answer(&self, bytes: &[u8], written: usize) -> Option<(Undo, u32)> {
        let bytes = bytes.get(..written).unwrap_or(bytes);
        let given = message::read(bytes);
        let mut reply = self.0.reply.lock();
        if reply.abandoned {
            return Some((self.0.undo?, self.0.value(&given?).ok()?));
        }
        reply.given = given;
        None
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
        let (answer, element) = request((kind, flags), id, None, message, tail)?;
        self.ask(&answer, None, element)
    }

    /// The same as [`Comm::request`], of something that is to be undone if the host does it too
    /// late.
    pub(crate) fn request_or_undo<M: Message>(
        &self,
        kind: u32,
        message: M,
        undo: Undo,
    ) -> Result<u32> {
        let id = self.next_id.fetch_add(1, Relaxed);
        let (answer, element) = request((kind, 0), id, Some(undo), message, &[])?;
        self.ask(&answer, None, element)
    }

    /// Sends a request, and does not wait for what the host makes of it. Process context.
    pub(crate) fn send<M: Message>(&self, kind: u32, message: M) -> Result {
        let mut control = self.control.lock();
        self.send_on((*control).as_mut().ok_or(ENODEV)?, kind, message)
    }

    fn send_on<M: Message>(&self, control: &mut Control, kind: u32, message: M) -> Result {
        let id = self.next_id.fetch_add(1, Relaxed);
        let (answer, element) = request((kind, 0), id, None, message, &[])?;
        answer.reply.lock().abandoned = true;
        control.put(kind, None, element)
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
        let (answer, element) = request((kind, 0), id, None, result, &[])?;
        self.ask(&answer, Some(generation), element)?;
        Ok(())
    }

    /// Tells the host of a module without having been asked: see `struct virtio_vesper_result`.
    /// Does not wait for its answer. Process context.
    pub(crate) fn news(&self, news: bindings::virtio_vesper_result) -> Result<Sent> {
        let kind = bindings::VIRTIO_VESPER_C_RESULT;
        let (answer, element) = request((kind, 0), 0, None, news, &[])?;
        self.put(&answer, None, element)?;
        Ok(Sent(answer))
    }

    /// Waits for the host's answer, so many seconds at most. Errors as for [`Comm::request`].
    pub(crate) fn wait(&self, sent: &Sent, timeout_s: u32) -> Result {
        self.finish(&sent.0, timeout_s)?;
        Ok(())
    }

    fn ask(
        &self,
        answer: &Answer,
        generation: Option<u32>,
        element: KBox<Element<Asked>>,
    ) -> Result<u32> {
        self.put(answer, generation, element)?;
        self.finish(answer, REPLY_TIMEOUT_S)
    }

    fn put(
        &self,
        answer: &Answer,
        generation: Option<u32>,
        element: KBox<Element<Asked>>,
    ) -> Result {
        let mut control = self.control.lock();
        let control = (*control).as_mut().ok_or(ENODEV)?;
        control.put(answer.kind, generation, element)
    }

    fn finish(&self, answer: &Answer, timeout_s: u32) -> Result<u32> {
        let waited = self.await_answer(answer, timeout_s);

        let mut reply = answer.reply.lock();
        // It may have come at the last moment.
        if let Some(given) = reply.given.take() {
            return answer.value(&given);
        }
        reply.abandoned = true;
        waited?;
        Err(ENODEV)
    }

    fn await_answer(&self, answer: &Answer, timeout_s: u32) -> Result {
        for _ in 0..timeout_s {
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
            let late = element.token().answer(element.reply(), written);
            // Makes room, too.
            drop(element);
            let Some((undo, value)) = late else {
                continue;
            };
            match self.send_on(control, undo.kind, (undo.message)(value)) {
                // The host forgets all.
                Ok(()) | Err(ENODEV) => (),
                Err(e) => pr_warn!("what the host did too late stays done: {:?}\n", e),
            }
        }
    }
}

/// Makes a request: the answer to wait for, and what goes on the queue. Process context.
fn request<M: Message>(
    (kind, flags): (u32, u32),
    id: u32,
    undo: Option<Undo>,
    mut message: M,
    tail: &[u8],
) -> Result<(Arc<Answer>, KBox<Element<Asked>>)> {
    message.set_hdr(kind, flags, id, tail.len());

    let mut bytes = KVec::with_capacity(size_of::<M>().wrapping_add(tail.len()), GFP_KERNEL)?;
    bytes.extend_from_slice(message.as_bytes(), GFP_KERNEL)?;
    bytes.extend_from_slice(tail, GFP_KERNEL)?;
    let answer = Arc::pin_init(
        pin_init!(Answer {
            kind,
            id,
            undo,
            reply <- new_mutex!(Reply { given: None, abandoned: false }, "vesper_answer"),
            done <- Completion::new(),
        }),
        GFP_KERNEL,
    )?;
    let reply_len = size_of::<bindings::virtio_vesper_reply>();
    let element = Element::new(bytes, reply_len, Asked(answer.clone()))?;
    Ok((answer, element))
}
