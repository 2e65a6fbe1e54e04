// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: requests to block devices that fail or take long.
//!
//! A request is measured from when it is given to the driver (again, if the driver gave it back)
//! to when it is complete.

use kernel::{
    bindings::{
        blk_status_t,
        request, //
    },
    ffi::c_uint,
    prelude::*,
    sync::Arc, //
};

#[path = "../../include/vesper/probe.rs"]
#[macro_use]
mod vesper;
mod rq;
#[path = "../spans.rs"]
mod spans;

use rq::Request;
use spans::Spans;

module! {
    type: BlockIo,
    name: "blockio",
    authors: ["The VESPER developers"],
    description: "VESPER probe: requests to block devices that fail or take long",
    license: "GPL",
}

params! {
    device: str[32] = "", "only requests to this disk, as vda (empty: all)";
    min_us: u64 = 100_000, "slow: only requests that take so many microseconds";
    subbuf_size: u32 = 0, "bytes in a sub-buffer, a multiple of 4096 (0: 8192)";
    n_subbufs: u32 = 0, "sub-buffers for each CPU (0: 8)";
}

// What operators call it; "block" is taken as a module's name.
modinfo!("vesper_group=", "block");

filters!(pid, comm);

/// As a power of two, places for requests that are on their way, in eights.
const ON_THEIR_WAY: u32 = 9;

/// Whether the operator wants to hear of the disk.
fn on_device(rq: &Request<'_>) -> bool {
    let wanted = device().to_bytes();
    wanted.is_empty() || rq.disk().is_named(wanted)
}

labels! {
    /// What is to be done: `enum req_op` of `include/linux/blk_types.h`.
    struct Op(u8) = c"block_op" {
        c"read" = 0, c"write" = 1, c"flush" = 2, c"discard" = 3, c"secure_erase" = 5,
        c"zone_append" = 7, c"write_zeroes" = 9, c"zone_open" = 11, c"zone_close" = 13,
        c"zone_finish" = 15, c"zone_reset" = 17, c"zone_reset_all" = 19, c"driver_in" = 34,
        c"driver_out" = 35,
    }
}

labels! {
    /// What became of it: `BLK_STS_*` of `include/linux/blk_types.h`.
    struct Status(u8) = c"block_status" {
        c"ok" = 0, c"not_supported" = 1, c"timeout" = 2, c"no_space" = 3, c"transport" = 4,
        c"target" = 5, c"reservation_conflict" = 6, c"medium" = 7, c"protection" = 8,
        c"no_resource" = 9, c"io_error" = 10, c"requeue" = 11, c"again" = 12,
        c"no_device_resource" = 13, c"too_many_open_zones" = 14, c"too_many_active_zones" = 15,
        c"offline" = 16, c"duration_limit" = 17, c"invalid" = 19,
    }
}

events! {
    /// What this probe writes.
    struct Records;

    /// A request fails, or a part of it.
    struct Failed<'a> = c"block_error" {
        /// The disk's name.
        device: vesper::Text<'a>,
        /// Its number.
        major: u32,
        /// Number of its first minor device.
        minor: u32,
        /// What was to be done.
        op: Op,
        /// Where on the disk, in units of 512 bytes.
        sector: u64,
        /// With how much: all that was left to do.
        bytes: u32,
        /// How much of it failed.
        failed_bytes: u32,
        /// How.
        status: Status,
    }

    /// A request was complete only after a while.
    struct Slow<'a> = c"block_slow" {
        /// The disk's name.
        device: vesper::Text<'a>,
        /// Its number.
        major: u32,
        /// Number of its first minor device.
        minor: u32,
        /// What was to be done.
        op: Op,
        /// Where on the disk, in units of 512 bytes.
        sector: u64,
        /// With how much.
        bytes: u32,
        /// How long the driver had it.
        us: u64,
        /// What became of it.
        status: Status,
        /// Which thread gave it to the driver.
        issuer_pid: i32,
    }

    /// A request is given to the driver.
    struct Issue<'a> = c"block_issue" {
        /// The disk's name.
        device: vesper::Text<'a>,
        /// Its number.
        major: u32,
        /// Number of its first minor device.
        minor: u32,
        /// What is to be done.
        op: Op,
        /// Where on the disk, in units of 512 bytes.
        sector: u64,
        /// With how much.
        bytes: u32,
        /// Which thread gives it to the driver.
        pid: i32,
        /// Its name.
        comm: vesper::Comm,
    }

    /// A request is complete, or a part of it.
    struct Complete<'a> = c"block_complete" {
        /// The disk's name.
        device: vesper::Text<'a>,
        /// Its number.
        major: u32,
        /// Number of its first minor device.
        minor: u32,
        /// What was done.
        op: Op,
        /// Where on the disk, in units of 512 bytes.
        sector: u64,
        /// With how much.
        bytes: u32,
        /// What became of it.
        status: Status,
    }
}

struct Probe {
    channel: vesper::Channel<Records>,
    issued: Spans,
}

impl Probe {
    /// The kernel's own tracepoint for errors leaves out those of a disk that is gone.
    fn error(&self, raw: *mut request, status: blk_status_t, bytes: c_uint) {
        if status == 0 {
            return;
        }
        // SAFETY: The request is complete only when the tracepoint has run.
        let Some(rq) = (unsafe { Request::from_raw(raw) }).filter(on_device) else {
            return;
        };
        // A flush of the kernel's own, which has no data, fails those that wait for it.
        if rq.is_bare() || rq.is_command() || rq.is_quiet() && !rq.disk().is_dead() {
            return;
        }
        let disk = rq.disk();
        let record = Failed {
            device: disk.name(),
            major: disk.major(),
            minor: disk.minor(),
            op: Op(rq.op()),
            sector: rq.sector(),
            bytes: rq.bytes(),
            failed_bytes: bytes,
            status: Status(status),
        };
        self.channel.write(&record, true);
    }

    /// Notes that a request is on its way.
    fn slow_issue(&self, raw: *mut request) {
        // SAFETY: The request is on its way to the driver.
        let Some(rq) = (unsafe { Request::from_raw(raw) }).filter(on_device) else {
            return;
        };
        let Some(task) = vesper::Task::current() else {
            return;
        };
        if !wanted(task) {
            // The driver may have given it back, and another takes it there again.
            self.issued.end(rq.key());
            return;
        }
        self.issued.begin(rq.key(), task.pid() as u64);
    }

    fn slow_complete(&self, raw: *mut request, status: blk_status_t, bytes: c_uint) {
        // SAFETY: The request is complete only when the tracepoint has run.
        let Some(rq) = (unsafe { Request::from_raw(raw) }) else {
            return;
        };
        if bytes < rq.bytes() {
            // There is more to come.
            return;
        }
        let Some(span) = self.issued.end(rq.key()) else {
            return;
        };
        if span.us() < min_us() {
            return;
        }
        let disk = rq.disk();
        let record = Slow {
            device: disk.name(),
            major: disk.major(),
            minor: disk.minor(),
            op: Op(rq.op()),
            sector: rq.sector(),
            bytes: rq.bytes(),
            us: span.us(),
            status: Status(status),
            issuer_pid: span.note as i32,
        };
        self.channel.write(&record, false);
    }

    fn issue(&self, raw: *mut request) {
        // SAFETY: The request is on its way to the driver.
        let Some(rq) = (unsafe { Request::from_raw(raw) }).filter(on_device) else {
            return;
        };
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        let disk = rq.disk();
        let record = Issue {
            device: disk.name(),
            major: disk.major(),
            minor: disk.minor(),
            op: Op(rq.op()),
            sector: rq.sector(),
            bytes: rq.bytes(),
            pid: task.pid(),
            comm: task.comm(),
        };
        self.channel.write(&record, false);
    }

    fn complete(&self, raw: *mut request, status: blk_status_t, bytes: c_uint) {
        // SAFETY: The request is complete only when the tracepoint has run.
        let Some(rq) = (unsafe { Request::from_raw(raw) }).filter(on_device) else {
            return;
        };
        let disk = rq.disk();
        let record = Complete {
            device: disk.name(),
            major: disk.major(),
            minor: disk.minor(),
            op: Op(rq.op()),
            sector: rq.sector(),
            bytes,
            status: Status(status),
        };
        self.channel.write(&record, false);
    }
}

tracepoint! {
    // SAFETY: As in include/trace/events/block.h.
    unsafe fn every_end["block_rq_complete"](
        rq: *mut request,
        status: blk_status_t,
        bytes: c_uint,
    ) => Probe::error
    // SAFETY: As above.
    unsafe fn block_rq_issue(rq: *mut request) => Probe::slow_issue
    // SAFETY: As above.
    unsafe fn block_rq_complete(
        rq: *mut request,
        status: blk_status_t,
        bytes: c_uint,
    ) => Probe::slow_complete
    // SAFETY: As above.
    unsafe fn every_issue["block_rq_issue"](rq: *mut request) => Probe::issue
    // SAFETY: As above.
    unsafe fn every_complete["block_rq_complete"](
        rq: *mut request,
        status: blk_status_t,
        bytes: c_uint,
    ) => Probe::complete
}

points! {
    /// What this probe watches.
    struct Watched for Probe;

    /// A request fails.
    error = [every_end];
    /// A driver took longer than min_us for a request.
    slow = [block_rq_issue, block_rq_complete];
    /// Every request, as it is given to a driver.
    (off) issue = [every_issue];
    /// Every request, as it is complete.
    (off) complete = [every_complete];
}

struct BlockIo {
    _attachment: vesper::Attachment<Probe>,
}

impl kernel::Module for BlockIo {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let probe = Probe {
            channel: vesper::Channel::open(&vesper::Options {
                subbuf_size: subbuf_size(),
                n_subbufs: n_subbufs(),
                ..Default::default()
            })?,
            issued: Spans::new(ON_THEIR_WAY)?,
        };
        vesper::filter::check::<Watched>(filtered(), &[c"slow", c"issue"]);
        Ok(Self {
            _attachment: vesper::Attachment::new::<Watched>(Arc::new(probe, GFP_KERNEL)?)?,
        })
    }
}
