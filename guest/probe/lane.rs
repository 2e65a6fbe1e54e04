// SPDX-License-Identifier: GPL-2.0

//! The way of a record on one CPU, from the probe to the host.
//!
//! A record is written with interrupts off by the CPU it belongs to ([`Owned`]). Whatever else it
//! needs (the timer that bounds its waiting, the message to the host, the name of a symbol) is
//! asked for with a flag and done by an irq_work on the same CPU, for a probe may sit anywhere, in
//! the scheduler and in the timer code too.

use super::{
    outlet::Outlet,
    writer::{
        Refused,
        Switch,
        Writer, //
    },
};
use crate::{
    clock,
    sys::{
        cpu::{
            self,
            Access,
            HotplugLock,
            IrqOff,
            Owned, //
        },
        deferred::{
            Deferred,
            Handler, //
        },
        relay::Room,
        work::Work, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
};

/// Most that the waiting time grows to, in switch times, while the host has a full lap to read.
const MAX_WAIT: u64 = 32;

/// Most urgent records of hard interrupts that have the host told at once in a tick of the timer:
/// what tells it is one itself, and may come by the very place that is probed. Others are told of
/// behind [`URGENT_RETRY_NS`].
const MAX_HURRIES: u32 = 16;

/// First waiting time, in nanoseconds, of an urgent record that found the host so.
const URGENT_RETRY_NS: u64 = 5_000_000;

/// The machine panics. Looked at for each record, written once.
static SILENCED: Atomic<bool> = Atomic::new(false);

/// Has every lane refuse records from here on, for good: the host is about to be told that it has
/// them all. The kernel goes on taking interrupts after a panic, and what they recorded would be
/// lost without being counted.
pub(crate) fn silence() {
    SILENCED.store(true, Relaxed);
}

/// What the guest itself counts, apart from what stands in the index page.
#[derive(Default)]
pub(crate) struct Counts {
    /// Records written.
    pub(crate) written: Count,
    /// Records dropped, for whatever reason.
    pub(crate) lost: Count,
    /// Of those: because another record was being written on the CPU.
    pub(crate) nested: Count,
    /// Of those: because they fit in no sub-buffer, or their fields in no record.
    pub(crate) too_big: Count,
    /// Sub-buffers closed.
    pub(crate) switched: Count,
}

/// A counter that any context of its CPU may count up.
pub(crate) struct Count(Atomic<u64>);

impl Default for Count {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Count {
    #[inline]
    fn up(&self) {
        self.0.add(1u64, Relaxed);
    }

    /// How many there were.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One CPU's part of a channel.
pub(crate) struct Lane {
    cpu: u32,
    /// `None` until the CPU first comes up.
    writer: Owned<Option<Writer>>,
    outlet: Arc<Work<Outlet>>,
    pub(crate) counts: Counts,
    /// What the irq_work is asked to do.
    want_timer: Atomic<bool>,
    want_work: Atomic<bool>,
    want_notify: Atomic<bool>,
    urgent: Atomic<bool>,
    /// The timer is set, or asked for.
    armed: Atomic<bool>,
    /// The same for one of the shorter time that urgent records want.
    hurried: Atomic<bool>,
    /// The tick in which urgent records of interrupts last came, and how many did.
    hurry_tick: Atomic<usize>,
    hurries: Atomic<u32>,
    /// The time it was set to, in nanoseconds.
    wait_ns: Atomic<u64>,
    /// It has expired, and the host had a full lap to read.
    held_up: Atomic<bool>,
    /// It has expired on another CPU, as this one was going.
    astray: Atomic<bool>,
}

/// Access to the writer of a lane.
pub(crate) type Writing<'a> = Access<'a, Option<Writer>>;

impl Lane {
    /// The lane of `cpu`, with the writer of its buffer if there is one yet.
    pub(crate) fn new(cpu: u32, outlet: Arc<Work<Outlet>>, writer: Option<Writer>) -> Self {
        Self {
            cpu,
            writer: Owned::new(cpu, writer),
            outlet,
            counts: Counts::default(),
            want_timer: Atomic::new(false),
            want_work: Atomic::new(false),
            want_notify: Atomic::new(false),
            urgent: Atomic::new(false),
            armed: Atomic::new(false),
            hurried: Atomic::new(false),
            hurry_tick: Atomic::new(0),
            hurries: Atomic::new(0),
            wait_ns: Atomic::new(0),
            held_up: Atomic::new(false),
            astray: Atomic::new(false),
        }
    }

    /// Installs the writer, while the CPU is still offline.
    pub(crate) fn install(&self, lock: &HotplugLock, writer: Writer) -> Result {
        let mut access = self.writer.enter_offline(lock).ok_or(EBUSY)?;
        *access = Some(writer);
        Ok(())
    }

    /// Counts a record that was dropped. Any context, also on top of a record being written.
    #[cold]
    fn lose(&self, why: Option<&Count>) {
        self.counts.lost.up();
        if let Some(count) = why {
            count.up();
        }
        self.publish_lost();
    }

    /// Puts the count of dropped records into the index page.
    fn publish_lost(&self) {
        let Some(buffer) = self.outlet.store.get(self.cpu) else {
            return;
        };
        // A context on top of this one may count and publish between the two steps; it must not be
        // written over with less. There is no more than a handful of levels.
        for _ in 0..8 {
            let lost = self.counts.lost.get();
            buffer.index.lost(lost);
            if self.counts.lost.get() == lost {
                break;
            }
        }
    }

    /// Says why a switch is made or not.
    fn switch(&self, writer: &mut Writer, how: Switch) -> bool {
        let done = writer.switch(how, self.counts.lost.get());
        if done {
            self.counts.switched.up();
        }
        done
    }

    fn notify(&self, produced: u64, urgent: bool) {
        self.outlet.notify(self.cpu, produced, urgent);
    }

    /// Closes the open sub-buffer on the lane's own CPU and tells the host. Hard interrupt.
    pub(crate) fn flush_here(&self, how: Switch) -> bool {
        let Some(mut access) = self.writer.enter(IrqOff::new()) else {
            return false;
        };
        let Some(writer) = access.as_mut() else {
            return true;
        };
        let done = self.switch(writer, how);
        let (waiting, produced) = (writer.waiting(), writer.produced());
        drop(access);
        if done {
            if self.is_held_up() {
                self.move_on();
            }
            self.notify(produced, self.urgent.xchg(false, Relaxed));
        }
        !waiting
    }

    /// Says whether records wait longer than they should, as the host had a full lap to read.
    pub(crate) fn is_held_up(&self) -> bool {
        self.held_up.load(Relaxed)
    }

    /// The host has made room: publishes what was held up. On the lane's own CPU, in a hard
    /// interrupt.
    pub(crate) fn catch_up(&self) {
        if !self.is_held_up() {
            return;
        }
        // First: a probe may be hit on the way to the host.
        self.move_on();
        if !self.flush_here(Switch::IfFree) {
            self.held_up.store(true, Relaxed);
            self.armed.store(true, Relaxed);
        }
    }

    /// What comes next waits its own time, and not the rest of a long one: the timer is set anew.
    fn move_on(&self) {
        self.held_up.store(false, Relaxed);
        self.hurried.store(false, Relaxed);
        self.armed.store(false, Relaxed);
    }

    /// What [`Lane::flush_here`] does, for a CPU that is offline. Process context.
    pub(crate) fn flush_offline(&self, lock: &HotplugLock) {
        let Some(mut access) = self.writer.enter_offline(lock) else {
            return;
        };
        let Some(writer) = access.as_mut() else {
            return;
        };
        let done = self.switch(writer, Switch::Always);
        let produced = writer.produced();
        drop(access);
        self.held_up.store(false, Relaxed);
        // The CPU may have gone before it could tell of what it had closed.
        if self.want_notify.xchg(false, Relaxed) || done {
            self.notify(produced, false);
        }
    }

    /// Says whether the timer has expired on another CPU, and this one is back.
    pub(crate) fn is_astray(&self, lock: &HotplugLock) -> bool {
        self.astray.load(Relaxed) && lock.online(self.cpu)
    }

    /// Sets the timer anew if it has expired on another CPU, and this one is back. On the lane's
    /// CPU, with interrupts off.
    pub(crate) fn come_back(this: &Deferred<Self>) {
        if this.astray.xchg(false, Relaxed) {
            this.armed.store(true, Relaxed);
            this.want_timer.store(true, Relaxed);
            this.kick();
        }
    }

    /// Notes addresses whose names the host needs.
    #[inline]
    pub(crate) fn note_symbols(this: &Deferred<Self>, addresses: impl Iterator<Item = u64>) {
        let mut new = false;
        for address in addresses {
            new |= this.outlet.store.symbols.note(address);
        }
        if new {
            this.want_work.store(true, Relaxed);
            this.kick();
        }
    }

    /// Begins a record of at most `len` bytes on this, the lane's CPU. Any context.
    ///
    /// `None` counts it as lost.
    #[inline]
    pub(crate) fn begin(
        this: &Deferred<Self>,
        irq: IrqOff,
        len: usize,
    ) -> Option<(Writing<'_>, Room, u64)> {
        let Some(mut access) = this.writer.enter(irq) else {
            // A kprobe may still be hit on a CPU that is on its way out: what it leaves behind
            // would be nobody's.
            this.lose(cpu::online(this.cpu).then_some(&this.counts.nested));
            return None;
        };
        let Some(writer) = access.as_mut().filter(|_| !SILENCED.load(Relaxed)) else {
            this.lose(None);
            return None;
        };
        let before = writer.produced();
        let reserved = writer.reserve(len, this.counts.lost.get());
        if writer.produced() != before {
            this.counts.switched.up();
            this.want_notify.store(true, Relaxed);
            if this.is_held_up() {
                this.move_on();
            }
            // Comes through when interrupts are on again: behind the record.
            this.kick();
        }
        match reserved {
            Ok(room) => {
                let time = writer.stamp(clock::now());
                Some((access, room, time))
            }
            Err(why) => {
                drop(access);
                this.lose((why == Refused::TooBig).then_some(&this.counts.too_big));
                None
            }
        }
    }

    /// Takes up a record that was set aside.
    ///
    /// # Safety
    ///
    /// As for [`Owned::resume`].
    #[inline]
    pub(crate) unsafe fn resume(&self, flags: usize) -> Writing<'_> {
        // SAFETY: The caller's promise.
        unsafe { self.writer.resume(flags) }
    }

    /// Whether an urgent record that has been written has the host told at once. On the lane's CPU,
    /// with interrupts off and the writer held.
    fn may_hurry(&self) -> bool {
        let Some(tick) = clock::interrupt_tick() else {
            return true;
        };
        if self.hurry_tick.load(Relaxed) != tick {
            self.hurry_tick.store(tick, Relaxed);
            self.hurries.store(0, Relaxed);
        }
        let hurries = self.hurries.load(Relaxed);
        if hurries < MAX_HURRIES {
            self.hurries.store(hurries.wrapping_add(1), Relaxed);
            return true;
        }
        // The timer tells of this one, and of those that follow until it has expired.
        if self.hurried.xchg(true, Relaxed) {
            return false;
        }
        self.armed.store(true, Relaxed);
        self.want_timer.store(true, Relaxed);
        true
    }

    /// Ends the record with the `len` bytes that were written; `None` if they were not enough.
    #[inline]
    pub(crate) fn commit(
        this: &Deferred<Self>,
        mut access: Writing<'_>,
        len: Option<usize>,
        time: u64,
        urgent: bool,
    ) {
        let mut kick = false;
        match (len, access.as_mut()) {
            (Some(len), Some(writer)) => {
                writer.commit(len, time);
                this.counts.written.up();
                if urgent {
                    this.urgent.store(true, Relaxed);
                    if this.switch(writer, Switch::IfFree) {
                        this.want_notify.store(true, Relaxed);
                        if this.is_held_up() {
                            this.move_on();
                        }
                    } else if !this.hurried.xchg(true, Relaxed) {
                        kick = true;
                        this.want_timer.store(true, Relaxed);
                    }
                    kick |= this.may_hurry();
                }
                if writer.waiting() && !this.armed.load(Relaxed) {
                    kick = true;
                    this.armed.store(true, Relaxed);
                    this.want_timer.store(true, Relaxed);
                }
            }
            _ => this.lose(Some(&this.counts.too_big)),
        }
        if kick {
            this.kick();
        }
        drop(access);
    }
}

impl Handler for Lane {
    fn kicked(this: &Deferred<Self>) {
        if this.want_notify.xchg(false, Relaxed) {
            let urgent = this.urgent.xchg(false, Relaxed);
            // A hint only: what is true stands in the index page.
            this.notify(this.counts.switched.get(), urgent);
        }
        if this.want_work.xchg(false, Relaxed) {
            this.outlet.queue();
        }
        if this.want_timer.xchg(false, Relaxed) {
            let ns = if this.hurried.load(Relaxed) {
                this.outlet.switch_ns.min(URGENT_RETRY_NS)
            } else {
                this.outlet.switch_ns
            };
            this.wait_ns.store(ns, Relaxed);
            this.start_timer(ns);
        }
    }

    fn expired(this: &Deferred<Self>) -> Option<u64> {
        this.armed.store(false, Relaxed);
        this.hurried.store(false, Relaxed);
        let irq = IrqOff::new();
        if irq.cpu() != this.cpu {
            // The CPU went offline and its timers with it to another: only process context may
            // look at the buffer now, or send word to the CPU, should it be back.
            this.astray.store(true, Relaxed);
            this.outlet.queue();
            return None;
        }
        drop(irq);
        if this.want_notify.xchg(false, Relaxed) {
            let urgent = this.urgent.xchg(false, Relaxed);
            this.notify(this.counts.switched.get(), urgent);
        }
        // Before the look for room, so that either this finds it or who is told of it finds this.
        // Pairs with the barrier in `Channel::catch_up`.
        this.held_up.xchg(true, Full);
        if this.flush_here(Switch::IfFree) {
            this.held_up.store(false, Relaxed);
            return None;
        }
        // The host has a lap to read. Ask again, ever more rarely: an idle CPU is not to be woken
        // ten times a second for a reader who never comes. One who comes has the host say so.
        let most = this.outlet.switch_ns.saturating_mul(MAX_WAIT);
        let ns = this.wait_ns.load(Relaxed).saturating_mul(2).min(most);
        this.wait_ns.store(ns, Relaxed);
        this.armed.store(true, Relaxed);
        Some(ns)
    }
}
