// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: the life of processes, and what ends it.

use kernel::{
    bindings::{
        k_sigaction,
        kernel_siginfo,
        linux_binprm,
        pid_t,
        task_struct, //
    },
    ffi::c_int,
    prelude::*,
    sync::Arc, //
};

#[path = "../../include/vesper/probe.rs"]
#[macro_use]
mod vesper;
mod fields;

module! {
    type: Process,
    name: "process",
    authors: ["The VESPER developers"],
    description: "VESPER probe: the life of processes, and what ends it",
    license: "GPL",
}

params! {
    threads: bool = false, "threads, too, not processes only: as they begin and end";
    failed: bool = false, "of those that end, only the ones that failed or were killed";
    stack: u32 = 16, "entries of the call stack at an oops, at most 64";
    subbuf_size: u32 = 0, "bytes in a sub-buffer, a multiple of 4096 (0: 8192)";
    n_subbufs: u32 = 0, "sub-buffers for each CPU (0: 8)";
}

filters!(pid, comm);

labels! {
    /// Number of a signal; 0 where there was none.
    struct Signal(i32) = c"signal" {
        c"none" = 0, c"SIGHUP" = 1, c"SIGINT" = 2, c"SIGQUIT" = 3, c"SIGILL" = 4, c"SIGTRAP" = 5,
        c"SIGABRT" = 6, c"SIGBUS" = 7, c"SIGFPE" = 8, c"SIGKILL" = 9, c"SIGUSR1" = 10,
        c"SIGSEGV" = 11, c"SIGUSR2" = 12, c"SIGPIPE" = 13, c"SIGALRM" = 14, c"SIGTERM" = 15,
        c"SIGSTKFLT" = 16, c"SIGXCPU" = 24, c"SIGXFSZ" = 25, c"SIGVTALRM" = 26, c"SIGPROF" = 27,
        c"SIGIO" = 29, c"SIGPWR" = 30, c"SIGSYS" = 31,
    }
}

labels! {
    /// An answer.
    struct Truth(u8) = c"truth" { c"no" = 0, c"yes" = 1 }
}

events! {
    /// What this probe writes.
    struct Records;

    /// A process or thread begins.
    struct Fork = c"fork" {
        /// Who begins it: its process.
        parent: i32,
        /// The name of that.
        parent_comm: vesper::Comm,
        /// The new thread.
        pid: i32,
        /// Its process: the same if it is a process of its own.
        tgid: i32,
        /// Its process, as its own pid namespace has it.
        ns_tgid: i32,
    }

    /// A process begins another program.
    struct Exec<'a> = c"exec" {
        /// Its id.
        pid: i32,
        /// The thread that did it, which has the process's id from now on.
        old_pid: i32,
        /// Its new name.
        comm: vesper::Comm,
        /// The program's file.
        file: vesper::Text<'a>,
    }

    /// A process or thread ends.
    struct Exit = c"exit" {
        /// The thread.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its process, as its own pid namespace has it.
        ns_tgid: i32,
        /// Its name; of the last thread, its process's.
        comm: vesper::Comm,
        /// What it returned; of the last thread, what its process did.
        code: u8,
        /// What killed it.
        signal: Signal,
        /// Whether memory was dumped.
        dumped: Truth,
        /// Whether it was the last thread of its process.
        last: Truth,
    }

    /// A process faults and is killed for it.
    struct Fault = c"fault" {
        /// The thread.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// As what it is reported.
        signal: Signal,
        /// Kind of fault, as of sigaction(2), si_code.
        code: i32,
        /// The address that it used.
        address: vesper::Hex,
        /// Where it was.
        ip: vesper::Hex,
    }

    /// The memory of a process is dumped.
    struct Coredump = c"coredump" {
        /// The thread.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// What killed it.
        signal: Signal,
    }

    /// The kernel itself faults in a task, and ends that.
    struct Oops = c"oops" {
        /// The thread.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// The call stack, from the exception's handling on.
        stack: vesper::Names,
    }
}

/// Where the signal's number is in what `wait(2)` gives, and whether memory was dumped.
const SIGNAL: c_int = 0x7f;
const DUMPED: c_int = 0x80;

/// Signals that an exception in user space can cause.
const FAULTS: [c_int; 6] = [4, 5, 7, 8, 11, 31];

struct Probe {
    channel: vesper::Channel<Records>,
}

impl Probe {
    fn fork(&self, parent: *mut task_struct, child: *mut task_struct) {
        // SAFETY: Both are held as long as the tracepoint runs.
        let tasks = unsafe {
            (
                vesper::Task::from_raw(parent),
                vesper::Task::from_raw(child), //
            )
        };
        let (Some(parent), Some(child)) = tasks else {
            return;
        };
        let process = parent.leader();
        if !(wanted(parent) || wanted(process)) || (!threads() && child.pid() != child.tgid()) {
            return;
        }
        let record = Fork {
            parent: parent.tgid(),
            parent_comm: process.comm(),
            pid: child.pid(),
            tgid: child.tgid(),
            ns_tgid: child.ns_tgid(),
        };
        self.channel.write(&record, false);
    }

    fn exec(&self, task: *mut task_struct, old_pid: pid_t, bprm: *mut linux_binprm) {
        // SAFETY: It is the task that calls the tracepoint, and what it executes.
        let (task, file) = unsafe { (vesper::Task::from_raw(task), fields::exec_file(bprm)) };
        let Some(task) = task.filter(|&task| wanted(task)) else {
            return;
        };
        let record = Exec {
            pid: task.pid(),
            old_pid,
            comm: task.comm(),
            file: vesper::Text(file.to_bytes()),
        };
        self.channel.write(&record, false);
    }

    fn exit(&self, task: *mut task_struct, last: bool) {
        // SAFETY: It is the task that calls the tracepoint.
        let (ending, status) = unsafe {
            (
                vesper::Task::from_raw(task),
                fields::exit_status(task, last), //
            )
        };
        let Some(ending) = ending else {
            return;
        };
        // Threads have names of their own, and any of them may be the last.
        let named = match last {
            true => ending.leader(),
            false => ending,
        };
        if !(wanted(ending) || wanted(named)) {
            return;
        }
        if (!threads() && !last) || (failed() && status == 0) {
            return;
        }
        let record = Exit {
            pid: ending.pid(),
            tgid: ending.tgid(),
            ns_tgid: ending.ns_tgid(),
            comm: named.comm(),
            code: (status >> 8) as u8,
            signal: Signal(status & SIGNAL),
            dumped: Truth((status & DUMPED != 0).into()),
            last: Truth(last.into()),
        };
        // Whoever waits for a service to be killed is told at once.
        self.channel.write(&record, status & SIGNAL != 0);
    }

    /// The signal lock is held. The task is the one that is to get the signal.
    fn deliver(&self, number: c_int, info: *const kernel_siginfo, action: *const k_sigaction) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        // A small number stands for signals that say nothing of themselves: no faults.
        if !FAULTS.contains(&number) || info.addr() <= 1 {
            return;
        }
        // SAFETY: Both are there as long as the tracepoint runs, as that passes no small numbers.
        let (code, default) = unsafe {
            (
                (*info).__bindgen_anon_1.si_code,
                (*action).sa.sa_handler.is_none(),
            )
        };
        // What other processes send has a code of zero or less; SI_KERNEL comes with a fault, too.
        if code <= 0 || !default {
            return;
        }
        let record = Fault {
            pid: task.pid(),
            tgid: task.tgid(),
            comm: task.comm(),
            signal: Signal(number),
            code,
            // SAFETY: An exception caused it, as its number and code say.
            address: vesper::Hex(unsafe { fields::fault_address(info) } as u64),
            ip: vesper::Hex(fields::user_ip() as u64),
        };
        self.channel.write(&record, true);
    }

    fn coredump(&self, number: c_int) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        let record = Coredump {
            pid: task.pid(),
            tgid: task.tgid(),
            comm: task.comm(),
            signal: Signal(number),
        };
        self.channel.write(&record, true);
    }

    /// Any context, with whatever locks held the kernel had when it faulted.
    fn oops(&self, regs: &mut vesper::Regs) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        let record = Oops {
            pid: task.pid(),
            tgid: task.tgid(),
            comm: task.comm(),
            stack: vesper::Stack::of_call(regs.caller(), stack() as usize).into(),
        };
        self.channel.write(&record, true);
    }
}

tracepoint! {
    // SAFETY: As in include/trace/events/sched.h.
    unsafe fn sched_process_fork(
        parent: *mut task_struct,
        child: *mut task_struct,
    ) => Probe::fork

    // SAFETY: As in include/trace/events/sched.h.
    unsafe fn sched_process_exec(
        task: *mut task_struct,
        old_pid: pid_t,
        bprm: *mut linux_binprm,
    ) => Probe::exec

    // SAFETY: As in include/trace/events/sched.h.
    unsafe fn sched_process_exit(task: *mut task_struct, group_dead: bool) => Probe::exit

    // SAFETY: As in include/trace/events/signal.h.
    unsafe fn signal_deliver(
        sig: c_int,
        info: *const kernel_siginfo,
        action: *const k_sigaction,
    ) => Probe::deliver

    // SAFETY: As in include/trace/events/coredump.h.
    unsafe fn coredump(sig: c_int) => Probe::coredump
}

kprobe! {
    fn oops_enter => Probe::oops
}

points! {
    /// What this probe can watch.
    struct Watched for Probe;

    /// A process begins another.
    fork = [sched_process_fork];
    /// A process begins another program.
    exec = [sched_process_exec];
    /// A process ends, with what it returned or was killed by.
    exit = [sched_process_exit];
    /// A process faults and is killed for it.
    fault = [signal_deliver];
    /// The memory of a process is dumped.
    coredump = [coredump];
    /// The kernel itself faults in a task.
    oops = [oops_enter];
}

struct Process {
    _attachment: vesper::Attachment<Probe>,
}

impl kernel::Module for Process {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let channel = vesper::Channel::open(&vesper::Options {
            subbuf_size: subbuf_size(),
            n_subbufs: n_subbufs(),
            ..Default::default()
        })?;
        let probe = Arc::new(Probe { channel }, GFP_KERNEL)?;
        Ok(Self {
            _attachment: vesper::Attachment::new::<Watched>(probe)?,
        })
    }
}
