// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: the end of a kernel, and what announces it.
//!
//! Each record carries the kernel's last words: what it wrote to its log until then. They are text
//! for people, and the source of nothing else in the record. A call stack is names at once, for
//! behind the record nothing may come.

use kernel::{
    bindings::{
        __va_list_tag,
        TAINT_SOFTLOCKUP, //
    },
    ffi::{
        c_char,
        c_ulong,
        c_void, //
    },
    prelude::*,
    str::CStr,
    sync::Arc,
};

#[path = "../../include/vesper/probe.rs"]
#[macro_use]
mod vesper;
mod fields;
#[path = "../notifier.rs"]
mod notifier;
#[path = "../recent.rs"]
mod recent;

use fields::{
    Oops,
    Words, //
};
use notifier::{
    Notified,
    Notifier, //
};
use recent::Recent;

module! {
    type: Panic,
    name: "panic",
    authors: ["The VESPER developers"],
    description: "VESPER probe: the end of a kernel, and what announces it",
    license: "GPL",
}

params! {
    words: u32 = 4000, "bytes of the kernel's last words, at most 6000";
    stack: u32 = 16, "entries of the call stack, at most 64";
    subbuf_size: u32 = 0, "bytes in a sub-buffer, a multiple of 4096 (0: 8192)";
    n_subbufs: u32 = 0, "sub-buffers for each CPU (0: 8)";
}

/// Most bytes of last words: with the rest of the record they fit in a sub-buffer of the size
/// that one has if nobody says otherwise.
const MAX_WORDS: u32 = 6000;

/// That size.
const SUBBUF_SIZE: u32 = 8192;

/// Bytes of a panic's message, which are more than the kernel itself takes.
const MESSAGE_LEN: usize = 256;

events! {
    /// What this probe writes.
    struct Records;

    /// The kernel panics.
    struct Panicked<'a> = c"panic" {
        /// Who runs.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// Why.
        message: vesper::Text<'a>,
        /// The call stack.
        stack: vesper::Names,
        /// What the kernel wrote to its log before.
        last_words: vesper::Text<'a>,
    }

    /// The kernel met something that it cannot go on from; if it does not panic, the task ends.
    struct Oopsed<'a> = c"oops" {
        /// Who runs.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// What.
        what: vesper::Text<'a>,
        /// Error code of the exception.
        error: vesper::Hex,
        /// Number of the exception.
        trap: i32,
        /// Where in the kernel.
        ip: vesper::Names,
        /// The call stack, from the exception's handling on.
        stack: vesper::Names,
        /// What the kernel wrote to its log: registers, stack, modules.
        last_words: vesper::Text<'a>,
    }

    /// A CPU runs kernel code and has let no task run for a while.
    struct Lockup<'a> = c"soft_lockup" {
        /// Who is at it.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// The call stack, from the timer that noticed it.
        stack: vesper::Names,
        /// What the kernel wrote to its log about it.
        last_words: vesper::Text<'a>,
    }

    /// A CPU holds up RCU.
    struct RcuStall<'a> = c"rcu_stall" {
        /// Which kind of RCU.
        rcu: vesper::Text<'a>,
        /// Whether the CPU noticed itself (SelfDetected) or another did.
        how: vesper::Text<'a>,
        /// Who runs on the CPU that noticed.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// The call stack of the CPU that noticed.
        stack: vesper::Names,
        /// What the kernel wrote to its log before.
        last_words: vesper::Text<'a>,
    }
}

/// A lock-up that goes on is told again after this: the kernel reports it much more often, and if
/// nobody reads, room is to be left for a panic.
const AGAIN_NS: u64 = 60_000_000_000;

/// Tasks whose lock-up is remembered.
const LOCKED_UP: usize = 16;

/// Bits of a task's address that are the same for all.
const KEY_SHIFT: u32 = 6;

struct Probe {
    channel: vesper::Channel<Records>,
    dying: Notifier<Probe>,
    /// Apart, for a panic often comes of one of the others.
    panic_words: Words,
    words: Words,
    /// By the task's address.
    locked_up: Recent,
}

impl Probe {
    /// Any context, NMI included; other CPUs still run.
    fn panic(&self, regs: &mut vesper::Regs) {
        let Some(task) = vesper::Task::current() else {
            return;
        };
        let mut message = [0; MESSAGE_LEN];
        // SAFETY: The arguments of `vpanic()`, which is being entered: a format, and what it asks
        // for.
        let len = unsafe {
            fields::format(
                &mut message,
                regs.arg(0) as *const c_char,
                regs.arg(1) as *mut __va_list_tag,
            )
        };
        let message = message.get(..len).unwrap_or(&[]);
        self.panic_words.with(|words| {
            let record = Panicked {
                pid: task.pid(),
                tgid: task.tgid(),
                comm: task.comm(),
                message: vesper::Text(message),
                stack: stack_of(regs),
                last_words: vesper::Text(words),
            };
            self.channel.write(&record, true);
        });
    }

    /// As `panic`: the kernel is tainted for many reasons, a soft lock-up is one.
    fn tainted(&self, regs: &mut vesper::Regs) {
        if regs.arg(0) as u32 != TAINT_SOFTLOCKUP {
            return;
        }
        let Some(task) = vesper::Task::current() else {
            return;
        };
        // Not by its number, which the idle tasks of all CPUs share.
        let key = (task.key() >> KEY_SHIFT) as u64;
        if !self.locked_up.is_news(key) {
            return;
        }
        let is_told = self.words.with(|words| {
            let record = Lockup {
                pid: task.pid(),
                tgid: task.tgid(),
                comm: task.comm(),
                stack: stack_of(regs),
                last_words: vesper::Text(words),
            };
            self.channel.write(&record, true)
        });
        if !is_told {
            self.locked_up.forget(key);
        }
    }

    /// Interrupts are off, or this is one.
    fn rcu_stall(&self, rcu: *const c_char, how: *const c_char) {
        let Some(task) = vesper::Task::current() else {
            return;
        };
        // SAFETY: Strings of the kernel's, which are there for ever.
        let (rcu, how) = unsafe { (CStr::from_char_ptr(rcu), CStr::from_char_ptr(how)) };
        self.words.with(|words| {
            let record = RcuStall {
                rcu: vesper::Text(rcu.to_bytes()),
                how: vesper::Text(how.to_bytes()),
                pid: task.pid(),
                tgid: task.tgid(),
                comm: task.comm(),
                stack: call_stack(),
                last_words: vesper::Text(words),
            };
            self.channel.write(&record, true);
        });
    }
}

impl Probe {
    fn watch_oopses(&self) -> Result {
        // SAFETY: The function puts a block on the die chain. The probe stays where it is while it
        // is attached, and what has begun is ended before.
        unsafe {
            self.dying
                .begin(self, fields::bindings::register_die_notifier)
        }
    }

    fn unwatch_oopses(&self) {
        // SAFETY: Of the same chain, which waits for all that are being told.
        unsafe { self.dying.end(fields::bindings::unregister_die_notifier) };
    }
}

impl Notified for Probe {
    /// The die chain: any context, NMI included.
    fn notified(&self, event: c_ulong, info: *mut c_void) {
        // SAFETY: In a call of that chain.
        let Some(oops) = (unsafe { Oops::read(event, info) }) else {
            return;
        };
        let Some(task) = vesper::Task::current() else {
            return;
        };
        self.words.with(|words| {
            let record = Oopsed {
                pid: task.pid(),
                tgid: task.tgid(),
                comm: task.comm(),
                what: vesper::Text(oops.what()),
                error: vesper::Hex(oops.error),
                trap: oops.trap,
                ip: vesper::Names::one(oops.ip as usize),
                stack: call_stack(),
                last_words: vesper::Text(words),
            };
            self.channel.write(&record, true);
        });
    }
}

/// This CPU's call stack, as deep as the operator wants it.
fn call_stack() -> vesper::Names {
    vesper::Stack::save(stack() as usize).into()
}

/// That of a call.
fn stack_of(regs: &vesper::Regs) -> vesper::Names {
    vesper::Stack::of_call(regs.caller(), stack() as usize).into()
}

tracepoint! {
    // SAFETY: As in include/trace/events/rcu.h.
    unsafe fn rcu_stall_warning(rcu: *const c_char, how: *const c_char) => Probe::rcu_stall
}

// A kprobe before an fprobe: it needs less of a kernel that is in a bad way.
kprobe! {
    fn vpanic => Probe::panic
    fn add_taint => Probe::tainted
}
source! { fn oopses => Probe::watch_oopses, Probe::unwatch_oopses }

points! {
    /// What this probe watches.
    struct Watched for Probe;

    /// The kernel panics.
    panic = [vpanic];
    /// The kernel met an exception that it cannot go on from.
    oops = [oopses];
    /// A CPU does not get out of the kernel.
    lockup = [add_taint];
    /// A CPU holds up RCU.
    rcu_stall = [rcu_stall_warning];
}

struct Panic {
    _attachment: vesper::Attachment<Probe>,
}

impl kernel::Module for Panic {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let size = match subbuf_size() {
            0 => SUBBUF_SIZE,
            size => size,
        };
        // What is left for them beside the rest of the record.
        let most = size.saturating_sub(SUBBUF_SIZE - MAX_WORDS).min(MAX_WORDS);
        let words = words().min(most) as usize;
        let probe = Probe {
            channel: vesper::Channel::open(&vesper::Options {
                subbuf_size: subbuf_size(),
                n_subbufs: n_subbufs(),
                ..Default::default()
            })?,
            dying: Notifier::new(),
            panic_words: Words::new(words)?,
            words: Words::new(words)?,
            locked_up: Recent::new(LOCKED_UP, AGAIN_NS)?,
        };
        Ok(Self {
            _attachment: vesper::Attachment::new::<Watched>(Arc::new(probe, GFP_KERNEL)?)?,
        })
    }
}
