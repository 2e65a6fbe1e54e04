// SPDX-License-Identifier: GPL-2.0

//! Action layer of the loader (paper A1 to A4, C1 to C3): requests of operators on their way into
//! a guest, and what is known of its modules.
//!
//! All of it lies on a domain's desk, under that lock. One transfer is under way at a time; what
//! has been sent waits for its result beside the others.

use crate::{
    abi::NAME_LEN,
    bindings::VESPER_MAX_MESSAGE,
    message::{
        self,
        Outcome, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

mod modules;
mod shares;

pub(crate) use modules::Known;
use modules::Modules;
pub(crate) use shares::Share;
use shares::Shares;

/// Least room in a posted buffer, in bytes.
const MIN_BUFFER: u32 = 512;
/// Most buffers that a guest can have posted.
const MAX_CREDITS: u32 = 65536;
/// Bytes of the longest head of a message.
const MAX_HEAD: usize = message::SHARE_LEN;

const _: () = assert!(MAX_HEAD >= message::UNLOAD_LEN && MAX_HEAD >= message::DATA_HEAD);
const _: () = assert!(MAX_HEAD >= message::LOAD_LEN);
const _: () = assert!(MAX_HEAD < MIN_BUFFER as usize);

/// A module image, then its parameter string.
pub(crate) struct Image {
    /// Both, one after the other.
    pub(crate) bytes: KVVec<u8>,
    /// Bytes of the image alone.
    pub(crate) image_len: u32,
    /// Bytes of the parameter string.
    pub(crate) params_len: u32,
}

/// How far a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of it has left.
    Waiting,
    /// The announcement has left, and so many bytes.
    Sending(usize),
    /// All has left, or the rest will not.
    Sent,
    /// The answer is there.
    Done,
    /// The guest went away.
    Gone,
}

/// What is asked for.
enum Want {
    /// An image, gone as soon as it is sent.
    Load(Option<Arc<Image>>),
    Unload,
    Share(KBox<Share>),
}

struct Request {
    id: u32,
    /// Zeros for what concerns none.
    module: [u8; NAME_LEN],
    want: Want,
    stage: Stage,
    /// Nobody waits for it any more.
    orphan: bool,
    /// Where the answer goes: it needs no memory when it comes.
    answer: KBox<Outcome>,
}

impl Request {
    /// Says whether its module is to be unloaded, if it is about one.
    fn is_unload(&self) -> Option<bool> {
        match self.want {
            Want::Load(_) => Some(false),
            Want::Unload => Some(true),
            Want::Share(_) => None,
        }
    }

    /// The image is not needed any more.
    fn forget_image(&mut self) {
        if let Want::Load(image) = &mut self.want {
            *image = None;
        }
    }
}

/// What became of a request.
pub(crate) enum Answer {
    /// Nothing yet.
    Pending,
    /// The guest said so.
    Outcome(KBox<Outcome>),
    /// The guest went away.
    Gone,
}

/// Requests and modules of a domain.
pub(crate) struct Loader {
    requests: KVec<Request>,
    modules: Modules,
    cancels: KVec<u32>,
    shares: Shares,
    max_requests: usize,
    next_id: u32,
    credits: u32,
    size: u32,
    strays: u64,
    /// A reader has made room in a buffer that was full, and the guest has not been told.
    flush: bool,
    /// That was the last message: what operators wait for goes next.
    flushed: bool,
    /// How often a driver went away, or was not listened to any more.
    gone: u64,
    /// The request of which the first message has been taken out, and may have reached the VMM.
    leaving: Option<u32>,
}

/// One message for the guest: a head, and for a part of an image its bytes.
pub(crate) struct Piece {
    kind: Kind,
    id: u32,
    /// How often a driver had gone away when it was taken out.
    gone: u64,
    head: [u8; MAX_HEAD],
    head_len: usize,
    body: Option<(Arc<Image>, usize, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cancel,
    Flush,
    Announce,
    Data,
    Unload,
    Share,
}

impl Piece {
    fn new(kind: Kind, id: u32, bytes: &[u8]) -> Self {
        let mut head = [0; MAX_HEAD];
        let head_len = bytes.len().min(MAX_HEAD);
        head[..head_len].copy_from_slice(&bytes[..head_len]);
        Self {
            kind,
            id,
            gone: 0,
            head,
            head_len,
            body: None,
        }
    }

    /// Says whether it is the first of a request.
    fn is_first(&self) -> bool {
        matches!(self.kind, Kind::Announce | Kind::Unload | Kind::Share)
    }

    /// First part of the message.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    /// The rest of the message.
    pub(crate) fn body(&self) -> &[u8] {
        match &self.body {
            Some((image, from, to)) => image.bytes.get(*from..*to).unwrap_or(&[]),
            None => &[],
        }
    }
}

impl Loader {
    /// Nothing asked, nothing known; at most `max_requests` at a time.
    pub(crate) fn new(max_requests: usize) -> Self {
        Self {
            requests: KVec::new(),
            modules: Modules::new(),
            cancels: KVec::new(),
            shares: Shares::new(),
            max_requests,
            next_id: 1,
            credits: 0,
            size: 0,
            strays: 0,
            flush: false,
            flushed: false,
            gone: 0,
            leaving: None,
        }
    }

    /// How often a driver went away, or was not listened to any more: what was begun for one is not
    /// for the next.
    pub(crate) fn gone(&self) -> u64 {
        self.gone
    }

    /// The guest has posted `count` more buffers of `size` bytes. `EINVAL`.
    pub(crate) fn post(&mut self, count: u32, size: u32) -> Result {
        if !(MIN_BUFFER..=VESPER_MAX_MESSAGE).contains(&size) {
            return Err(EINVAL);
        }
        let credits = self.credits.checked_add(count).ok_or(EINVAL)?;
        if credits > MAX_CREDITS {
            return Err(EINVAL);
        }
        // The smaller of two sizes fits either.
        self.size = match self.credits {
            0 => size,
            _ => self.size.min(size),
        };
        self.credits = credits;
        Ok(())
    }

    /// Has the guest told that there is room in a buffer that was full. Returns whether that is
    /// news to be given out.
    pub(crate) fn flush(&mut self) -> bool {
        !core::mem::replace(&mut self.flush, true)
    }

    /// Asks for `image` to be loaded as `module`. `EBUSY`: too many requests; `EEXIST`.
    pub(crate) fn load(
        &mut self,
        module: &[u8; NAME_LEN],
        image: Arc<Image>,
        answer: KBox<Outcome>,
    ) -> Result<u32> {
        let room = self.modules.reserve(module)?;
        let image_len = image.image_len;
        let id = self.enqueue(module, Want::Load(Some(image)), answer)?;
        self.modules.loading(room, module, image_len, id)?;
        Ok(id)
    }

    /// Asks for `module` to be unloaded. `ENOENT`: not loaded this way; `EBUSY`: too many
    /// requests, or one under way on it.
    pub(crate) fn unload(&mut self, module: &[u8; NAME_LEN], answer: KBox<Outcome>) -> Result<u32> {
        self.modules.may_unload(module)?;
        let id = self.enqueue(module, Want::Unload, answer)?;
        self.modules.unloading(module, id);
        Ok(id)
    }

    /// Asks for channels to be shown, or to be shown no more. `EBUSY`: too many requests, or
    /// patterns.
    pub(crate) fn share(&mut self, share: KBox<Share>, answer: KBox<Outcome>) -> Result<u32> {
        if !share.stop {
            self.shares.reserve()?;
        }
        self.enqueue(&[0; NAME_LEN], Want::Share(share), answer)
    }

    fn enqueue(
        &mut self,
        module: &[u8; NAME_LEN],
        want: Want,
        answer: KBox<Outcome>,
    ) -> Result<u32> {
        if self.requests.len() >= self.max_requests {
            return Err(EBUSY);
        }
        // A cancellation must not need memory.
        self.cancels.reserve(self.max_requests, GFP_KERNEL)?;
        let id = self.next_id;
        self.requests.push(
            Request {
                id,
                module: *module,
                want,
                stage: Stage::Waiting,
                orphan: false,
                answer,
            },
            GFP_KERNEL,
        )?;
        self.next_id = id.wrapping_add(1).max(1);
        Ok(id)
    }

    /// Says whether there is a message that may be given out.
    pub(crate) fn ready(&self) -> bool {
        self.credits != 0 && (self.flush || !self.cancels.is_empty() || self.has_more())
    }

    /// Says whether there is a request of which something is to be given out.
    fn has_more(&self) -> bool {
        let has_more = |r: &Request| matches!(r.stage, Stage::Waiting | Stage::Sending(_));
        self.requests.iter().any(has_more)
    }

    /// Takes the next message out. It counts as given out only after [`Loader::sent`];
    /// [`Loader::unsent`] if it could not be.
    pub(crate) fn take_piece(&mut self) -> Option<Piece> {
        let mut piece = self.next_piece()?;
        piece.gone = self.gone;
        self.leaving = piece.is_first().then_some(piece.id);
        Some(piece)
    }

    fn next_piece(&self) -> Option<Piece> {
        if self.credits == 0 {
            return None;
        }
        if let Some(&id) = self.cancels.first() {
            return Some(Piece::new(Kind::Cancel, id, &message::cancel(id)));
        }
        if self.flush && !(self.flushed && self.has_more()) {
            return Some(Piece::new(Kind::Flush, 0, &message::flush()));
        }
        let sending = |r: &&Request| matches!(r.stage, Stage::Sending(_));
        let waiting = |r: &&Request| r.stage == Stage::Waiting;
        let request = self
            .requests
            .iter()
            .find(sending)
            .or_else(|| self.requests.iter().find(waiting))?;
        let id = request.id;
        let image = match &request.want {
            Want::Load(image) => image.as_ref()?,
            Want::Unload => {
                let head = message::unload(id, &request.module);
                return Some(Piece::new(Kind::Unload, id, &head));
            }
            Want::Share(share) => {
                let head = message::share(id, &share.pattern, share.stop);
                return Some(Piece::new(Kind::Share, id, &head));
            }
        };
        let Stage::Sending(from) = request.stage else {
            let head = message::load(id, &request.module, image.image_len, image.params_len);
            return Some(Piece::new(Kind::Announce, id, &head));
        };
        let room = (self.size as usize).saturating_sub(message::DATA_HEAD);
        let to = from.saturating_add(room).min(image.bytes.len());
        let len = to.saturating_sub(from);
        let head = message::data(id, from as u32, len as u32);
        let mut piece = Piece::new(Kind::Data, id, &head);
        piece.body = Some((image.clone(), from, to));
        Some(piece)
    }

    /// The message has reached the VMM. If that was the last of a request, returns its module and
    /// whether that is to be unloaded.
    pub(crate) fn sent(&mut self, piece: &Piece) -> Option<([u8; NAME_LEN], bool)> {
        self.leaving = None;
        // Its driver went away meanwhile: the credits are those of the next.
        if piece.gone != self.gone {
            return None;
        }
        self.credits = self.credits.saturating_sub(1);
        self.flushed = piece.kind == Kind::Flush;
        if self.flushed {
            self.flush = false;
            return None;
        }
        if piece.kind == Kind::Cancel {
            self.cancels.retain(|&mut id| id != piece.id);
            return None;
        }
        let request = self.requests.iter_mut().find(|r| r.id == piece.id)?;
        let before = request.stage;
        request.stage = match (request.stage, piece.kind) {
            (Stage::Waiting, Kind::Announce) => Stage::Sending(0),
            (Stage::Waiting, Kind::Unload | Kind::Share) => Stage::Sent,
            (Stage::Sending(_), Kind::Data) => match (&request.want, &piece.body) {
                (Want::Load(Some(image)), Some((_, _, to))) if *to < image.bytes.len() => {
                    Stage::Sending(*to)
                }
                _ => Stage::Sent,
            },
            // Withdrawn or answered meanwhile.
            (stage, _) => stage,
        };
        if request.stage != Stage::Sent {
            return None;
        }
        request.forget_image();
        let unload = request.is_unload()?;
        (before != Stage::Sent).then_some((request.module, unload))
    }

    /// The message has not reached the VMM.
    pub(crate) fn unsent(&mut self, piece: &Piece) {
        self.leaving = None;
        let Some(at) = self.requests.iter().position(|r| r.id == piece.id) else {
            return;
        };
        // Abandoned meanwhile, in case that it had.
        if piece.is_first() && self.requests[at].orphan {
            self.cancels.retain(|&mut id| id != piece.id);
            self.withdraw(at);
        }
    }

    /// Forgets a request of which nothing has left.
    fn withdraw(&mut self, at: usize) {
        if let Ok(request) = self.requests.remove(at) {
            let unload = request.is_unload() == Some(true);
            self.modules.withdrawn(request.id, unload);
        }
    }

    /// The guest's answer to request `id`. Returns the module and whether it was to be unloaded, if
    /// anybody had asked for one of the two.
    pub(crate) fn result(&mut self, id: u32, outcome: &Outcome) -> Option<([u8; NAME_LEN], bool)> {
        if id == 0 {
            self.modules.news(outcome);
            return None;
        }
        let Some(at) = self
            .requests
            .iter()
            .position(|r| r.id == id && matches!(r.stage, Stage::Sending(_) | Stage::Sent))
        else {
            self.strays = self.strays.wrapping_add(1);
            return None;
        };
        let request = &mut self.requests[at];
        request.stage = Stage::Done;
        request.forget_image();
        *request.answer = *outcome;
        if let Want::Share(share) = &request.want {
            self.shares.learn(share, outcome);
        }
        let (module, unload, orphan) = (request.module, request.is_unload(), request.orphan);
        // An answer that has crossed our cancellation leaves nothing to cancel.
        self.cancels.retain(|&mut other| other != id);
        if let Some(unload) = unload {
            self.modules.learn(id, unload, outcome);
        }
        if orphan {
            let _ = self.requests.remove(at);
        }
        Some((module, unload?))
    }

    /// What became of request `id`. One that is over is forgotten.
    pub(crate) fn answer(&mut self, id: u32) -> Answer {
        let Some(at) = self.requests.iter().position(|r| r.id == id) else {
            return Answer::Gone;
        };
        match self.requests[at].stage {
            Stage::Done => match self.requests.remove(at) {
                Ok(request) => Answer::Outcome(request.answer),
                Err(_) => Answer::Gone,
            },
            Stage::Gone => {
                let _ = self.requests.remove(at);
                Answer::Gone
            }
            _ => Answer::Pending,
        }
    }

    /// Nobody waits for request `id` any more. One that has not begun is withdrawn; of a load that
    /// has, the guest is asked to forget what it has not begun itself.
    pub(crate) fn abandon(&mut self, id: u32) {
        let Some(at) = self.requests.iter().position(|r| r.id == id) else {
            return;
        };
        let leaving = self.leaving == Some(id);
        let request = &mut self.requests[at];
        match request.stage {
            Stage::Waiting if !leaving => self.withdraw(at),
            Stage::Waiting | Stage::Sending(_) | Stage::Sent => {
                request.orphan = true;
                request.stage = Stage::Sent;
                request.forget_image();
                if matches!(request.want, Want::Load(_)) {
                    // There is room: reserved when the request was queued.
                    let _ = self.cancels.push_within_capacity(id);
                }
            }
            Stage::Done | Stage::Gone => {
                let _ = self.requests.remove(at);
            }
        }
    }

    /// The guest, or its driver, went away: nothing sent will be answered, nothing is loaded.
    pub(crate) fn guest_gone(&mut self) {
        self.modules.clear();
        self.shares.clear();
        self.cut_off();
    }

    /// The guest is not listened to any more: nothing sent will be answered.
    pub(crate) fn cut_off(&mut self) {
        self.gone = self.gone.wrapping_add(1);
        self.credits = 0;
        self.flush = false;
        self.cancels.clear();
        self.requests.retain(|r| !r.orphan);
        for request in self.requests.iter_mut() {
            if request.stage != Stage::Done {
                request.stage = Stage::Gone;
                request.forget_image();
            }
        }
    }

    /// The patterns of channels that the guest shows.
    pub(crate) fn shares(&self) -> &[[u8; message::PATTERN_LEN]] {
        self.shares.list()
    }

    /// The modules that are known.
    pub(crate) fn modules(&self) -> &[Known] {
        self.modules.list()
    }
}
