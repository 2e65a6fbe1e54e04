// SPDX-License-Identifier: GPL-2.0

//! What a guest says and lends, on its way to the listener and the loader.

use super::Domain;
use crate::{
    abi::{
        self,
        Versions, //
    },
    bindings,
    files::Name,
    later::{
        ENOTCONN,
        EPROTO,
        EPROTONOSUPPORT, //
    },
    listener::{
        Limits,
        Listener,
        Loan,
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
        pages::Borrowed,
        time::warn_limited,
        trace::{
            self,
            BufferEvent, //
        }, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Says whether a guest can show channels of others.
pub(super) fn shares(hello: &Hello) -> bool {
    hello.features & 1 << bindings::VIRTIO_VESPER_F_SHARE != 0
}

/// How a message from the guest was taken.
pub(crate) enum Taken {
    /// Understood; this is the answer.
    Reply([u8; REPLY_LEN]),
    /// Understood; there is nothing to answer.
    Silent,
}

impl Domain {
    /// Passes on a message from the guest. `EPROTO`: the guest broke the protocol.
    pub(crate) fn message(self: &Arc<Self>, queue: u32, bytes: &[u8]) -> Result<Taken> {
        if self.info.lock().state == bindings::VESPER_DOMAIN_BROKEN {
            return Err(EPROTO);
        }
        let head = message::head(bytes).map_err(|fault| self.fault(fault))?;
        match queue {
            bindings::VIRTIO_VESPER_VQ_CONTROL => {
                let (result, value) = match message::control(&head, bytes) {
                    Ok(message) => {
                        // The directory shows those.
                        let is_listed = !matches!(message, Control::Metadata { .. });
                        let result = self.control(head.id, message);
                        // A guest that asks for what is not there wakes nobody by that.
                        let is_nothing = matches!(result, Err((err, _)) if err == ENOENT);
                        if is_listed && !is_nothing {
                            self.changed();
                        }
                        match result {
                            Ok(value) => (Ok(()), value),
                            Err((err, value)) => (Err(err), value),
                        }
                    }
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
                            let result = buffer.sync();
                            buffer.trace(BufferEvent::Switch);
                            result?;
                        }
                    }
                    Ok(Notify::Panic) => self.last_words(),
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
                let result = control.open(self, limits, &open);
                self.step(c"A5", &open.module, &result);
                return result.map_err(|err| (err, 0));
            }
            Control::Metadata {
                channel,
                section,
                text,
            } => control.metadata(channel, section, text),
            Control::Share(target) => control.share(self, target),
            Control::Unshare(target, again) => control.unshare(
                self,
                target,
                match again {
                    true => Why::Again,
                    false => Why::Unshare,
                },
            ),
            Control::Close(target) => control.close(self, target),
            Control::Result(outcome) => {
                drop(control);
                let asked = self.desk.lock().loader.result(id, &outcome);
                if let Some((module, unload)) = asked {
                    let step = if unload { c"C8" } else { c"A4" };
                    // The guest may say what it likes.
                    let status = i32::try_from(outcome.status).map_or(i32::MIN, |s| -s);
                    trace::step(step, &self.name, &module, status);
                }
                self.desk.operators.notify_all();
                Ok(())
            }
            Control::Goodbye => {
                let result = control.close_all(self, Why::Leave);
                control.greeted = false;
                self.guest_gone();
                drop(control);
                self.desk.lock().loader.guest_gone();
                self.desk.operators.notify_all();
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
                warn_limited!(
                    self.brake,
                    "{}: the {} modules are older\n",
                    Name(&self.name),
                    side
                );
                self.info.lock().refused_abi = hello.abi_version;
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
        control.shares = shares(hello);
        let mut info = self.info.lock();
        info.state = bindings::VESPER_DOMAIN_READY;
        info.refused_abi = 0;
        info.powerdowns = 0;
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

    /// Passes on an element of the lend queue, see `struct vesper_lend`, of so many `pages`, which
    /// `take` takes: it is told whether they will be written to.
    pub(crate) fn lend(
        self: &Arc<Self>,
        cookie: u64,
        bytes: &[u8],
        pages: usize,
        take: impl FnOnce(bool) -> Result<Borrowed>,
    ) -> Result {
        if self.info.lock().state == bindings::VESPER_DOMAIN_BROKEN {
            return Err(EPROTO);
        }
        let head = message::head(bytes).map_err(|fault| self.fault(fault))?;
        if head.kind == bindings::VIRTIO_VESPER_D_BEAT {
            let nr_pages = message::beat(&head, bytes).map_err(|fault| self.fault(fault))?;
            if pages != nr_pages as usize {
                return Err(EINVAL);
            }
            return self.lend_beat(cookie, pages, take);
        }
        let fragment = message::fragment(&head, bytes).map_err(|fault| self.fault(fault))?;
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
        let loan = Loan::new(&self.quota, &self.desk, cookie, pages, || take(index))?;
        let mut control = self.control.lock();
        // The device may have been reset meanwhile.
        if control.closed || !control.greeted || !loan.is_current(&self.desk) {
            return Err(ENOTCONN);
        }
        control.lend(&fragment, loan)?;
        let (channel, buffer) = (fragment.channel, fragment.buffer);
        trace::lend(
            &self.name,
            channel,
            buffer,
            fragment.first,
            fragment.nr_pages,
        );
        Ok(())
    }

    /// The pages of the heartbeat.
    fn lend_beat(
        self: &Arc<Self>,
        cookie: u64,
        pages: usize,
        take: impl FnOnce(bool) -> Result<Borrowed>,
    ) -> Result {
        if !self.control.lock().greeted {
            return Err(self.fault(Fault::Broken("pages lent before hello")));
        }
        let loan = Loan::new(&self.beat_quota, &self.desk, cookie, pages, || take(true))?;
        let control = self.control.lock();
        if control.closed || !control.greeted || !loan.is_current(&self.desk) {
            return Err(ENOTCONN);
        }
        self.heartbeat.begin(loan, control.nr_cpus)?;
        drop(control);
        self.host.bell().ring();
        Ok(())
    }

    /// Looks at every index page.
    pub(super) fn sync_all(&self) {
        let mut at = 0;
        loop {
            let Some(buffer) = self.control.lock().nth(at) else {
                return;
            };
            let _ = buffer.sync();
            at = at.wrapping_add(1);
        }
    }
}
