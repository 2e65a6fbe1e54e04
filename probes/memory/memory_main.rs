// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: memory that is short, and what becomes of it.
//!
//! Shows who runs out of memory and who is killed for it, how long tasks have to wait for memory,
//! and which allocations fail.

use kernel::{
    bindings::{
        gfp_t,
        mem_cgroup,
        task_struct, //
    },
    ffi::{
        c_int,
        c_ulong, //
    },
    prelude::*,
    sync::Arc, //
};

#[path = "../../include/vesper/probe.rs"]
#[macro_use]
mod vesper;
mod fields;
#[path = "../spans.rs"]
mod spans;

use fields::oom_control;
use spans::Spans;

module! {
    type: Memory,
    name: "memory",
    authors: ["The VESPER developers"],
    description: "VESPER probe: memory that is short, and what becomes of it",
    license: "GPL",
}

params! {
    min_us: u64 = 10_000, "only waits of so many microseconds";
    nowarn: bool = false, "also failures of allocations that may fail";
    stack: u32 = 16, "entries of the call stack, at most 64";
    subbuf_size: u32 = 0, "bytes in a sub-buffer, a multiple of 4096 (0: 8192)";
    n_subbufs: u32 = 0, "sub-buffers for each CPU (0: 8)";
}

filters!(pid, comm);

/// Bytes of the message to a failure.
const MESSAGE_LEN: usize = 96;

/// As a power of two, places for tasks that wait, in eights.
const WAITING: u32 = 7;

labels! {
    /// What limits the allocation that cannot be had: `enum oom_constraint`.
    struct Constraint(u32) = c"oom_constraint" {
        c"none" = 0, c"cpuset" = 1, c"memory_policy" = 2, c"memory_cgroup" = 3,
    }
}

labels! {
    /// Why a task reclaims memory itself.
    struct Reclaimer(u8) = c"reclaim_for" { c"machine" = 0, c"memory_cgroup" = 1 }
}

events! {
    /// What this probe writes.
    struct Records;

    /// Memory is out, and somebody is to be killed for it, unless one who was before has yet to go.
    struct Oom<'a> = c"out_of_memory" {
        /// Who asked for it.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its process, as its own pid namespace has it.
        ns_pid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// What limits it.
        constraint: Constraint,
        /// It wanted two to the power of this pages; -1: an operator asked for it by sysrq.
        order: i32,
        /// And how: `GFP_*`.
        gfp: vesper::Hex,
        /// Memory of the machine.
        total_kb: u64,
        /// And how much of it is free.
        free_kb: u64,
        /// The memory cgroup whose limit it is.
        cgroup: vesper::Text<'a>,
        /// The call stack.
        stack: vesper::Stack,
    }

    /// A task was chosen, and is being killed.
    struct Victim<'a> = c"oom_victim" {
        /// Which.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its process, as its own pid namespace has it.
        ns_pid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// Its user.
        uid: u32,
        /// Address space.
        total_vm_kb: u64,
        /// Memory of its own.
        anon_kb: u64,
        /// Pages of files.
        file_kb: u64,
        /// Memory that it shares.
        shmem_kb: u64,
        /// Memory that was swapped out.
        swap_kb: u64,
        /// What it takes to map all that.
        pgtables_kb: u64,
        /// How the kernel weighs it: 667 is a task that has nothing, 1333 one that has all.
        oom_score: i32,
        /// What was added to that, in thousandths of the machine's memory.
        oom_score_adj: i32,
        /// The memory cgroup it is in.
        cgroup: vesper::Text<'a>,
    }

    /// A task had to reclaim memory itself before it got some.
    struct Reclaim = c"reclaim_stall" {
        /// Which.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// How long.
        us: u64,
        /// Whose memory was short.
        short_of: Reclaimer,
        /// It wanted two to the power of this pages.
        order: i32,
        /// And how: `GFP_*`.
        gfp: vesper::Hex,
        /// Pages it reclaimed.
        reclaimed: u64,
        /// The call stack.
        stack: vesper::Stack,
    }

    /// A task waited for memory, for whatever reason: what the kernel accounts as pressure.
    struct Pressure = c"memory_stall" {
        /// Which.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// How long.
        us: u64,
        /// The call stack.
        stack: vesper::Stack,
    }

    /// An allocation fails.
    struct Failure<'a> = c"allocation_failure" {
        /// Whose.
        pid: i32,
        /// Its process.
        tgid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// It wanted two to the power of this pages; -1: it was not for pages.
        order: i32,
        /// And how: `GFP_*`.
        gfp: vesper::Hex,
        /// What the kernel says to it, before numbers are put in.
        message: vesper::Text<'a>,
        /// The call stack.
        stack: vesper::Stack,
    }
}

struct Probe {
    channel: vesper::Channel<Records>,
    reclaims: Spans,
    stalls: Spans,
}

impl Probe {
    /// Process context.
    fn out_of_memory(&self, regs: &mut vesper::Regs) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        let control = regs.arg(0) as *const oom_control;
        // SAFETY: The only argument of `out_of_memory()`, which is being entered.
        if !unsafe { fields::Oom::kills(control) } {
            return;
        }
        // SAFETY: As above.
        let oom = unsafe { fields::Oom::read(control) };
        let record = Oom {
            pid: task.pid(),
            tgid: task.tgid(),
            ns_pid: task.ns_tgid(),
            comm: task.comm(),
            constraint: Constraint(oom.constraint),
            order: oom.order,
            gfp: vesper::Hex(oom.gfp.into()),
            total_kb: oom.total_kb,
            free_kb: oom.free_kb,
            cgroup: vesper::Text(&oom.cgroup),
            stack: call_stack(regs),
        };
        self.channel.write(&record, true);
    }

    /// Process context, with the task's lock held unless it is the running one.
    fn mark_victim(&self, task: *mut task_struct, uid: u32) {
        // SAFETY: The task is held by the OOM killer as long as the tracepoint runs.
        let Some(victim) = (unsafe { vesper::Task::from_raw(task) }) else {
            return;
        };
        if !wanted(victim) {
            return;
        }
        // SAFETY: A victim has memory, and keeps it while its lock is held or it is here.
        let has = unsafe { fields::Victim::read(task) };
        let record = Victim {
            pid: victim.pid(),
            tgid: victim.tgid(),
            ns_pid: victim.ns_tgid(),
            comm: victim.comm(),
            uid,
            total_vm_kb: has.total_vm_kb,
            anon_kb: has.anon_kb,
            file_kb: has.file_kb,
            shmem_kb: has.shmem_kb,
            swap_kb: has.swap_kb,
            pgtables_kb: has.pgtables_kb,
            oom_score: has.oom_score,
            oom_score_adj: has.oom_score_adj,
            cgroup: vesper::Text(&has.cgroup),
        };
        self.channel.write(&record, true);
    }

    /// Process context; order and flags are what is to be said at the end.
    fn reclaim_begin(&self, gfp: gfp_t, order: c_int, short_of: Reclaimer) {
        if let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) {
            let note = u64::from(gfp) | u64::from(order as u32) << 32;
            self.reclaims
                .begin(task.key() | usize::from(short_of.0), note);
        }
    }

    fn reclaim_end(&self, reclaimed: u64, short_of: Reclaimer) {
        let Some(task) = vesper::Task::current() else {
            return;
        };
        let Some(span) = self.reclaims.end(task.key() | usize::from(short_of.0)) else {
            return;
        };
        if span.us() < min_us() {
            return;
        }
        let record = Reclaim {
            pid: task.pid(),
            tgid: task.tgid(),
            comm: task.comm(),
            us: span.us(),
            short_of,
            order: (span.note >> 32) as i32,
            gfp: vesper::Hex(span.note & u64::from(u32::MAX)),
            reclaimed,
            stack: vesper::Stack::save(stack() as usize),
        };
        self.channel.write(&record, false);
    }

    fn machine_begin(&self, gfp: gfp_t, order: c_int, _group: *mut mem_cgroup) {
        self.reclaim_begin(gfp, order, Reclaimer(0));
    }

    fn machine_end(&self, reclaimed: c_ulong, _group: *mut mem_cgroup) {
        self.reclaim_end(reclaimed as u64, Reclaimer(0));
    }

    fn group_begin(&self, gfp: gfp_t, order: c_int, _group: *mut mem_cgroup) {
        self.reclaim_begin(gfp, order, Reclaimer(1));
    }

    fn group_end(&self, reclaimed: c_ulong, _group: *mut mem_cgroup) {
        self.reclaim_end(reclaimed as u64, Reclaimer(1));
    }

    /// Process context. A stall within a stall is part of it.
    fn stall_begin(&self, _regs: &mut vesper::Regs) {
        if fields::in_stall() {
            return;
        }
        if let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) {
            self.stalls.begin(task.key(), 0);
        }
    }

    /// Process context. What the argument points to says whether the stall is within another; it
    /// is not set if pressure is not accounted at all.
    fn stall_end(&self, regs: &mut vesper::Regs) {
        if !fields::in_stall() {
            return;
        }
        let flags = regs.arg(0) as *const c_ulong;
        // SAFETY: The only argument of `psi_memstall_leave()`: a variable of its caller.
        if unsafe { flags.read() } != 0 {
            return;
        }
        let Some(task) = vesper::Task::current() else {
            return;
        };
        let Some(span) = self.stalls.end(task.key()) else {
            return;
        };
        if span.us() < min_us() {
            return;
        }
        let record = Pressure {
            pid: task.pid(),
            tgid: task.tgid(),
            comm: task.comm(),
            us: span.us(),
            stack: call_stack(regs),
        };
        self.channel.write(&record, false);
    }

    /// Any context.
    fn failure(&self, regs: &mut vesper::Regs) {
        let gfp = regs.arg(0) as u32;
        if fields::tries_again(gfp) || fields::no_warning(gfp) && !nowarn() {
            return;
        }
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        let mut message = [0; MESSAGE_LEN];
        vesper::read_string(&mut message, regs.arg(2));
        // The callers whose first number is the order.
        let for_pages: [&[u8]; 2] = [b"page allocation failure", b"vmemmap alloc failure"];
        let order = match for_pages.iter().any(|text| message.starts_with(text)) {
            true => regs.arg(3) as i32,
            false => -1,
        };
        let record = Failure {
            pid: task.pid(),
            tgid: task.tgid(),
            comm: task.comm(),
            order,
            gfp: vesper::Hex(gfp.into()),
            message: vesper::Text(&message),
            stack: call_stack(regs),
        };
        self.channel.write(&record, false);
    }
}

/// The call stack of a call, as deep as the operator wants it.
fn call_stack(regs: &vesper::Regs) -> vesper::Stack {
    vesper::Stack::of_call(regs.caller(), stack() as usize)
}

tracepoint! {
    // SAFETY: As in include/trace/events/oom.h.
    unsafe fn mark_victim(task: *mut task_struct, uid: u32) => Probe::mark_victim
    // SAFETY: As in include/trace/events/vmscan.h.
    unsafe fn mm_vmscan_direct_reclaim_begin(
        gfp: gfp_t,
        order: c_int,
        group: *mut mem_cgroup,
    ) => Probe::machine_begin
    // SAFETY: As above.
    unsafe fn mm_vmscan_direct_reclaim_end(
        reclaimed: c_ulong,
        group: *mut mem_cgroup,
    ) => Probe::machine_end
    // SAFETY: As above.
    unsafe fn mm_vmscan_memcg_reclaim_begin(
        gfp: gfp_t,
        order: c_int,
        group: *mut mem_cgroup,
    ) => Probe::group_begin
    // SAFETY: As above.
    unsafe fn mm_vmscan_memcg_reclaim_end(
        reclaimed: c_ulong,
        group: *mut mem_cgroup,
    ) => Probe::group_end
}

fprobe! { fn out_of_memory => Probe::out_of_memory }
kprobe! { fn out_of_memory_begins["out_of_memory"] => Probe::out_of_memory }
fprobe! { fn psi_memstall_enter => Probe::stall_begin }
fprobe! { fn psi_memstall_leave => Probe::stall_end }
kprobe! {
    fn stall_enters["psi_memstall_enter"] => Probe::stall_begin
    fn stall_leaves["psi_memstall_leave"] => Probe::stall_end
}
fprobe! { fn warn_alloc => Probe::failure }
kprobe! { fn warns["warn_alloc"] => Probe::failure }

points! {
    /// What this probe watches.
    struct Watched for Probe;

    /// Memory is out: who asked for how much, and whose limit it is.
    oom = [out_of_memory | out_of_memory_begins];
    /// Who is killed for it, and what it has.
    victim = [mark_victim];
    /// A task had to reclaim memory itself for longer than min_us.
    reclaim = [mm_vmscan_direct_reclaim_begin, mm_vmscan_direct_reclaim_end];
    /// The same within the limit of a memory cgroup.
    group_reclaim = [mm_vmscan_memcg_reclaim_begin, mm_vmscan_memcg_reclaim_end];
    /// An allocation fails.
    failure = [warn_alloc | warns];
    /// A task waited for memory for longer than min_us, for whatever reason.
    pressure = [psi_memstall_enter | stall_enters, psi_memstall_leave | stall_leaves];
}

struct Memory {
    _attachment: vesper::Attachment<Probe>,
}

impl kernel::Module for Memory {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let probe = Probe {
            channel: vesper::Channel::open(&vesper::Options {
                subbuf_size: subbuf_size(),
                n_subbufs: n_subbufs(),
                ..Default::default()
            })?,
            reclaims: Spans::new(WAITING)?,
            stalls: Spans::new(WAITING)?,
        };
        Ok(Self {
            _attachment: vesper::Attachment::new::<Watched>(Arc::new(probe, GFP_KERNEL)?)?,
        })
    }
}
