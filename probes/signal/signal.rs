// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: signals, as they are sent.
//!
//! Shows who sent which signal to whom, what became of it, and the sender's kernel call stack.

use kernel::{
    bindings::{
        kernel_siginfo,
        task_struct, //
    },
    ffi::c_int,
    prelude::*,
    sync::Arc, //
};

#[path = "../../include/vesper/probe.rs"]
#[macro_use]
mod vesper;

module! {
    type: Signal,
    name: "signal",
    authors: ["The VESPER developers"],
    description: "VESPER probe: signals, as they are sent",
    license: "GPL",
}

params! {
    sig: i32 = 0, "only this signal (0: all)";
    pid: i32 = 0, "only signals to this process (0: all)";
    comm: str[16] = "", "only signals to tasks of this name (empty: all)";
    stack: u32 = 16, "entries of the call stack, at most 64";
    urgent: bool = true, "tell the host of each record at once";
    subbuf_size: u32 = 0, "bytes in a sub-buffer, a multiple of 4096 (0: 8192)";
    n_subbufs: u32 = 0, "sub-buffers for each CPU (0: 8)";
}

labels! {
    /// Number of a signal.
    struct Number(i32) = c"signal" {
        c"SIGHUP" = 1, c"SIGINT" = 2, c"SIGQUIT" = 3, c"SIGILL" = 4, c"SIGTRAP" = 5,
        c"SIGABRT" = 6, c"SIGBUS" = 7, c"SIGFPE" = 8, c"SIGKILL" = 9, c"SIGUSR1" = 10,
        c"SIGSEGV" = 11, c"SIGUSR2" = 12, c"SIGPIPE" = 13, c"SIGALRM" = 14, c"SIGTERM" = 15,
        c"SIGSTKFLT" = 16, c"SIGCHLD" = 17, c"SIGCONT" = 18, c"SIGSTOP" = 19, c"SIGTSTP" = 20,
        c"SIGTTIN" = 21, c"SIGTTOU" = 22, c"SIGURG" = 23, c"SIGXCPU" = 24, c"SIGXFSZ" = 25,
        c"SIGVTALRM" = 26, c"SIGPROF" = 27, c"SIGWINCH" = 28, c"SIGIO" = 29, c"SIGPWR" = 30,
        c"SIGSYS" = 31,
    }
}

labels! {
    /// What became of it: `TRACE_SIGNAL_*` of `include/trace/events/signal.h`.
    struct Outcome(i32) = c"signal_result" {
        c"delivered" = 0, c"ignored" = 1, c"already_pending" = 2, c"overflow_fail" = 3,
        c"lose_info" = 4,
    }
}

labels! {
    /// Why it was sent, as far as the code does not depend on the signal.
    struct Code(i32) = c"signal_code" {
        c"SI_USER" = 0, c"SI_KERNEL" = 0x80, c"SI_QUEUE" = -1, c"SI_TIMER" = -2,
        c"SI_MESGQ" = -3, c"SI_ASYNCIO" = -4, c"SI_SIGIO" = -5, c"SI_TKILL" = -6,
    }
}

labels! {
    /// To whom.
    struct Scope(u8) = c"signal_scope" { c"thread" = 0, c"process" = 1 }
}

events! {
    /// What this probe writes.
    struct Records;

    /// A signal is sent.
    struct Generate = c"signal_generate" {
        /// Who sends it: in an interrupt, who was interrupted.
        sender_pid: i32,
        /// Its process.
        sender_tgid: i32,
        /// Its process, as its own pid namespace has it.
        sender_ns_pid: i32,
        /// Its name.
        sender_comm: vesper::Comm,
        /// Who is to get it.
        target_pid: i32,
        /// Its process.
        target_tgid: i32,
        /// Its process, as its own pid namespace has it.
        target_ns_pid: i32,
        /// Its name.
        target_comm: vesper::Comm,
        /// Which signal.
        sig: Number,
        /// `si_code`.
        code: Code,
        /// `si_errno`.
        errno: i32,
        /// To the thread or its process.
        scope: Scope,
        /// What became of it.
        result: Outcome,
        /// The sender's call stack.
        stack: vesper::Stack,
    }
}

/// `si_code` values of senders who give no information.
const SI_USER: i32 = 0;
const SI_KERNEL: i32 = 0x80;

/// Code and errno of `info`, which is a small number where a sender gives no information.
fn reason(info: *const kernel_siginfo) -> (i32, i32) {
    match info.addr() {
        0 => (SI_USER, 0),
        1 => (SI_KERNEL, 0),
        // SAFETY: What is not one of the two above points to information that the sender holds as
        // long as the tracepoint runs.
        _ => unsafe {
            let info = &(*info).__bindgen_anon_1;
            (info.si_code, info.si_errno)
        },
    }
}

struct Probe {
    channel: vesper::Channel<Records>,
}

impl Probe {
    /// Interrupts are off and the target's signal lock is held.
    fn generate(
        &self,
        number: c_int,
        info: *const kernel_siginfo,
        target: *mut task_struct,
        group: c_int,
        result: c_int,
    ) {
        // SAFETY: The target is held by the sender as long as the tracepoint runs.
        let target = unsafe { vesper::Task::from_raw(target) };
        let (Some(target), Some(sender)) = (target, vesper::Task::current()) else {
            return;
        };
        let name = target.comm();
        if (sig() != 0 && sig() != number)
            || !vesper::filter::pid(pid(), target)
            || !vesper::filter::comm(comm(), target)
        {
            return;
        }
        let (code, errno) = reason(info);
        let record = Generate {
            sender_pid: sender.pid(),
            sender_tgid: sender.tgid(),
            sender_ns_pid: sender.ns_tgid(),
            sender_comm: sender.comm(),
            target_pid: target.pid(),
            target_tgid: target.tgid(),
            target_ns_pid: target.ns_tgid(),
            target_comm: name,
            sig: Number(number),
            code: Code(code),
            errno,
            scope: Scope((group != 0).into()),
            result: Outcome(result),
            stack: vesper::Stack::save(stack() as usize),
        };
        self.channel.write(&record, urgent());
    }
}

tracepoint! {
    // SAFETY: As in include/trace/events/signal.h.
    unsafe fn signal_generate(
        sig: c_int,
        info: *const kernel_siginfo,
        task: *mut task_struct,
        group: c_int,
        result: c_int,
    ) => Probe::generate
}

points! {
    /// What this probe watches.
    struct Watched for Probe;

    /// A signal is sent.
    generate = [signal_generate];
}

struct Signal {
    _attachment: vesper::Attachment<Probe>,
}

impl kernel::Module for Signal {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let channel = vesper::Channel::open(&vesper::Options {
            subbuf_size: subbuf_size(),
            n_subbufs: n_subbufs(),
            ..Default::default()
        })?;
        Ok(Self {
            _attachment: vesper::Attachment::new::<Watched>(Arc::new(
                Probe { channel },
                GFP_KERNEL,
            )?)?,
        })
    }
}
