// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: tasks that do not get to run, or do not stop running.

use core::ptr::addr_of;
use kernel::{
    bindings::{
        task_struct,
        TAINT_SOFTLOCKUP, //
    },
    ffi::c_uint,
    prelude::*,
    sync::Arc, //
};

#[path = "../../include/vesper/probe.rs"]
#[macro_use]
mod vesper;

module! {
    type: Sched,
    name: "sched",
    authors: ["The VESPER developers"],
    description: "VESPER probe: tasks that do not get to run, or do not stop running",
    license: "GPL",
}

params! {
    min_us: u64 = 50_000, "delay: only waits of so many microseconds";
    stack: u32 = 16, "entries of the call stack, at most 64";
    subbuf_size: u32 = 0, "bytes in a sub-buffer, a multiple of 4096 (0: 8192)";
    n_subbufs: u32 = 0, "sub-buffers for each CPU (0: 8)";
}

filters!(pid, comm);

/// Fence around the bindings that bindgen made.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]
mod bindings {
    include!("bindings_generated.rs");
}

labels! {
    /// What a task is after it ran: bits of `__state` in `include/linux/sched.h`.
    struct State(u32) = c"task_state" {
        c"runnable" = 0, c"sleeping" = 1, c"uninterruptible" = 2, c"traced" = 8, c"parked" = 0x40,
        c"dead" = 0x80, c"killable" = 0x102, c"stopped" = 0x104, c"waking" = 0x200, c"idle" = 0x402,
        c"frozen" = 0x8000,
    }
}

/// `TASK_FREEZABLE` and `__TASK_FREEZABLE_UNSAFE`: the task may be frozen as it sleeps, which says
/// nothing of how it does.
const FREEZABLE: c_uint = 0x6000;

events! {
    /// What this probe writes.
    struct Records;

    /// A task gets to run after it could have for a while.
    struct Delay = c"run_queue_delay" {
        /// Which.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// How long it waited in this CPU's queue.
        us: u64,
        /// Who ran before it.
        before_pid: i32,
        /// Its name.
        before_comm: vesper::Comm,
    }

    /// A task has been in an uninterruptible sleep for longer than the kernel takes for sound.
    struct Hung = c"hung_task" {
        /// Which.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its process, as its own pid namespace has it.
        ns_pid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// Where it sleeps.
        stack: vesper::Stack,
    }

    /// A CPU runs kernel code and has let no task run for a while.
    struct Lockup = c"soft_lockup" {
        /// Which task is at it.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// The call stack, from the timer that noticed it.
        stack: vesper::Names,
    }

    /// A CPU goes over from one task to another.
    struct Switch = c"switch" {
        /// Who ran.
        prev_pid: i32,
        /// Its name.
        prev_comm: vesper::Comm,
        /// What it is then.
        prev_state: State,
        /// Whether it would have gone on.
        preempted: u8,
        /// Who runs now.
        next_pid: i32,
        /// Its name.
        next_comm: vesper::Comm,
    }
}

struct Probe {
    channel: vesper::Channel<Records>,
}

impl Probe {
    /// Interrupts are off and the run queue's lock is held.
    fn delay(
        &self,
        _preempt: bool,
        prev: *mut task_struct,
        next: *mut task_struct,
        _prev_state: c_uint,
    ) {
        // SAFETY: The scheduler's own task, whose fields of this kind change with the lock held
        // only.
        let queued = unsafe { addr_of!((*next).sched_info.last_queued).read() };
        if queued == 0 {
            // The idle task is never queued.
            return;
        }
        // SAFETY: No requirements; on the queue's own clock.
        let us = unsafe { bindings::local_clock() }.saturating_sub(queued) / 1000;
        if us < min_us() {
            return;
        }
        // SAFETY: Both tasks are there while one CPU goes over from one to the other.
        let tasks = unsafe { (vesper::Task::from_raw(prev), vesper::Task::from_raw(next)) };
        let (Some(before), Some(task)) = tasks else {
            return;
        };
        if !wanted(task) {
            return;
        }
        let record = Delay {
            pid: task.pid(),
            tgid: task.tgid(),
            comm: task.comm(),
            us,
            before_pid: before.pid(),
            before_comm: before.comm(),
        };
        self.channel.write(&record, false);
    }

    /// As for `delay`.
    fn switch(
        &self,
        preempt: bool,
        prev: *mut task_struct,
        next: *mut task_struct,
        prev_state: c_uint,
    ) {
        // SAFETY: As in `delay`.
        let tasks = unsafe { (vesper::Task::from_raw(prev), vesper::Task::from_raw(next)) };
        let (Some(prev), Some(next)) = tasks else {
            return;
        };
        if !wanted(prev) && !wanted(next) {
            return;
        }
        let record = Switch {
            prev_pid: prev.pid(),
            prev_comm: prev.comm(),
            prev_state: State(prev_state & !FREEZABLE),
            preempted: preempt.into(),
            next_pid: next.pid(),
            next_comm: next.comm(),
        };
        self.channel.write(&record, false);
    }

    /// Process context: the kernel's thread that looks for such tasks.
    fn hung(&self, task: *mut task_struct) {
        // SAFETY: The thread holds the task.
        let Some(hung) = (unsafe { vesper::Task::from_raw(task) }).filter(|&task| wanted(task))
        else {
            return;
        };
        let record = Hung {
            pid: hung.pid(),
            tgid: hung.tgid(),
            ns_pid: hung.ns_tgid(),
            comm: hung.comm(),
            stack: vesper::Stack::of(hung, stack() as usize),
        };
        self.channel.write(&record, true);
    }

    /// Hard interrupt, of the CPU's own watchdog, when it has said what it has to say. The kernel
    /// is tainted for many reasons.
    fn tainted(&self, regs: &mut vesper::Regs) {
        if regs.arg(0) as u32 != TAINT_SOFTLOCKUP {
            return;
        }
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        let record = Lockup {
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
    unsafe fn sched_switch(
        preempt: bool,
        prev: *mut task_struct,
        next: *mut task_struct,
        prev_state: c_uint,
    ) => Probe::delay
    // SAFETY: As above.
    unsafe fn every_switch["sched_switch"](
        preempt: bool,
        prev: *mut task_struct,
        next: *mut task_struct,
        prev_state: c_uint,
    ) => Probe::switch
    // SAFETY: As above.
    unsafe fn sched_process_hang(task: *mut task_struct) => Probe::hung
}

fprobe! { fn add_taint => Probe::tainted }
kprobe! { fn taints["add_taint"] => Probe::tainted }

points! {
    /// What this probe watches.
    struct Watched for Probe;

    /// A task that could have run had to wait for longer than min_us.
    delay = [sched_switch];
    /// A task hangs: it sleeps and nothing can wake it, for as long as the kernel lets it.
    hung = [sched_process_hang];
    /// A CPU does not get out of the kernel.
    lockup = [add_taint | taints];
    /// Every switch from a task to the next.
    (off) switch = [every_switch];
}

struct Sched {
    _attachment: vesper::Attachment<Probe>,
}

impl kernel::Module for Sched {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let probe = Probe {
            channel: vesper::Channel::open(&vesper::Options {
                subbuf_size: subbuf_size(),
                n_subbufs: n_subbufs(),
                ..Default::default()
            })?,
        };
        Ok(Self {
            _attachment: vesper::Attachment::new::<Watched>(Arc::new(probe, GFP_KERNEL)?)?,
        })
    }
}
