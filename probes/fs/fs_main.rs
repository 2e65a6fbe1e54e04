// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: file systems that find errors, and that become read-only.

use kernel::{
    bindings::{
        fs_context,
        inode,
        super_block, //
    },
    ffi::{
        c_char,
        c_uint,
        c_ulong, //
    },
    prelude::*,
    sync::Arc, //
};

#[path = "../../include/vesper/probe.rs"]
#[macro_use]
mod vesper;
mod fields;

use fields::Volume;

module! {
    type: Fs,
    name: "fs",
    authors: ["The VESPER developers"],
    description: "VESPER probe: file systems that find errors, and that become read-only",
    license: "GPL",
}

params! {
    stack: u32 = 16, "entries of the call stack, at most 64";
    subbuf_size: u32 = 0, "bytes in a sub-buffer, a multiple of 4096 (0: 8192)";
    n_subbufs: u32 = 0, "sub-buffers for each CPU (0: 8)";
}

filters!(pid, comm);

labels! {
    /// Where the error is: `enum fserror_type` of `include/linux/fserror.h`.
    struct Where(u32) = c"fs_error" {
        c"buffered_read" = fields::bindings::fserror_type_FSERR_BUFFERED_READ,
        c"buffered_write" = fields::bindings::fserror_type_FSERR_BUFFERED_WRITE,
        c"direct_read" = fields::bindings::fserror_type_FSERR_DIRECTIO_READ,
        c"direct_write" = fields::bindings::fserror_type_FSERR_DIRECTIO_WRITE,
        c"data_lost" = fields::bindings::fserror_type_FSERR_DATA_LOST,
        c"metadata" = fields::bindings::fserror_type_FSERR_METADATA,
    }
}

labels! {
    /// Why a file system becomes read-only.
    struct Cause(u32) = c"read_only_cause" { c"operator" = 0, c"error" = 1 }
}

events! {
    /// What this probe writes.
    struct Records;

    /// A file system reports an error.
    struct Failed<'a> = c"fs_error" {
        /// What kind of file system.
        fs: vesper::Text<'a>,
        /// Which: mostly the name of its block device.
        volume: vesper::Text<'a>,
        /// Its device number.
        major: u32,
        /// Its device number.
        minor: u32,
        /// Where the error is.
        place: Where,
        /// Which: a negative errno.
        error: i32,
        /// The file's inode, 0 if it is not about one.
        inode: u64,
        /// Where in the file.
        pos: i64,
        /// How much of it.
        len: u64,
        /// Who was at it, or whoever runs.
        pid: i32,
        /// Its name.
        comm: vesper::Comm,
        /// The call stack.
        stack: vesper::Stack,
    }

    /// Ext4 finds an error: where in its code.
    struct Ext4<'a> = c"ext4_error" {
        /// Which: mostly the name of its block device.
        volume: vesper::Text<'a>,
        /// Its device number.
        major: u32,
        /// Its device number.
        minor: u32,
        /// Function that found it.
        function: vesper::Text<'a>,
        /// Line of the source.
        line: u32,
        /// Who was at it, or whoever runs.
        pid: i32,
        /// Its name.
        comm: vesper::Comm,
    }

    /// An ext4 is shut down, by an operator.
    struct Shutdown<'a> = c"ext4_shutdown" {
        /// Which: mostly the name of its block device.
        volume: vesper::Text<'a>,
        /// Its device number.
        major: u32,
        /// Its device number.
        minor: u32,
        /// How.
        flags: vesper::Hex,
        /// Who does it.
        pid: i32,
        /// Its name.
        comm: vesper::Comm,
    }

    /// A file system is about to become read-only.
    struct ReadOnly<'a> = c"remount_read_only" {
        /// What kind of file system.
        fs: vesper::Text<'a>,
        /// Which: mostly the name of its block device.
        volume: vesper::Text<'a>,
        /// Its device number.
        major: u32,
        /// Its device number.
        minor: u32,
        /// Whether even if files are open for writing.
        forced: u8,
        /// Who wants it.
        cause: Cause,
        /// Who does it.
        pid: i32,
        /// Its name.
        comm: vesper::Comm,
    }
}

struct Probe {
    channel: vesper::Channel<Records>,
}

impl Probe {
    /// Any context but NMI.
    fn error(&self, regs: &mut vesper::Regs) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        // SAFETY: The first two arguments of `fserror_report()`, which is being entered: a file
        // system that is mounted, and one of its inodes or none.
        let (volume, inode) = unsafe {
            (
                Volume::read(regs.arg(0) as *const super_block),
                fields::inode_number(regs.arg(1) as *const inode),
            )
        };
        let record = Failed {
            fs: volume.kind(),
            volume: volume.name(),
            major: volume.major,
            minor: volume.minor,
            place: Where(regs.arg(2) as u32),
            error: regs.arg(5) as i32,
            inode,
            pos: regs.arg(3) as i64,
            len: regs.arg(4) as u64,
            pid: task.pid(),
            comm: task.comm(),
            stack: vesper::Stack::of_call(regs.caller(), stack() as usize),
        };
        self.channel.write(&record, true);
    }

    /// Any context but NMI.
    fn ext4_error(&self, sb: *mut super_block, function: *const c_char, line: c_uint) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        // SAFETY: A file system that is mounted, and a string of ext4's.
        let (volume, function) = unsafe { (Volume::read(sb), CStr::from_char_ptr(function)) };
        let record = Ext4 {
            volume: volume.name(),
            major: volume.major,
            minor: volume.minor,
            function: vesper::Text(function.to_bytes()),
            line,
            pid: task.pid(),
            comm: task.comm(),
        };
        self.channel.write(&record, true);
    }

    /// Process context.
    fn ext4_shutdown(&self, sb: *mut super_block, flags: c_ulong) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        // SAFETY: A file system that is mounted.
        let volume = unsafe { Volume::read(sb) };
        let record = Shutdown {
            volume: volume.name(),
            major: volume.major,
            minor: volume.minor,
            flags: vesper::Hex(flags as u64),
            pid: task.pid(),
            comm: task.comm(),
        };
        self.channel.write(&record, true);
    }

    /// Process context.
    fn reconfigure(&self, regs: &mut vesper::Regs) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        // SAFETY: The only argument of `reconfigure_super()`, which is being entered.
        let readonly = unsafe { fields::goes_readonly(regs.arg(0) as *const fs_context) };
        let Some((volume, forced)) = readonly else {
            return;
        };
        self.read_only(task, &volume, forced, Cause(0));
    }

    /// A message of ext4's: any context but NMI.
    fn ext4_message(&self, regs: &mut vesper::Regs) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        // The function that handles errors has one message only, and that where it stops writes:
        // the flag that it sets is ext4's own, of which no header tells.
        if !fields::is_within(regs.caller(), c"ext4_handle_error") {
            return;
        }
        // SAFETY: The first argument of `__ext4_msg()`, which is being entered: a file system that
        // is mounted, or being mounted.
        let volume = unsafe { Volume::read(regs.arg(0) as *const super_block) };
        self.read_only(task, &volume, true, Cause(1));
    }

    fn read_only(&self, task: vesper::Task<'_>, volume: &Volume, forced: bool, cause: Cause) {
        let record = ReadOnly {
            fs: volume.kind(),
            volume: volume.name(),
            major: volume.major,
            minor: volume.minor,
            forced: forced.into(),
            cause,
            pid: task.pid(),
            comm: task.comm(),
        };
        self.channel.write(&record, true);
    }
}

tracepoint! {
    // SAFETY: As in include/trace/events/ext4.h.
    unsafe fn ext4_error["ext4:ext4_error"](
        sb: *mut super_block,
        function: *const c_char,
        line: c_uint,
    ) => Probe::ext4_error
    // SAFETY: As above.
    unsafe fn ext4_shutdown["ext4:ext4_shutdown"](
        sb: *mut super_block,
        flags: c_ulong,
    ) => Probe::ext4_shutdown
}

fprobe! { fn fserror_report => Probe::error }
kprobe! { fn reports["fserror_report"] => Probe::error }
fprobe! { fn reconfigure_super => Probe::reconfigure }
kprobe! { fn reconfigures["reconfigure_super"] => Probe::reconfigure }
fprobe! { fn ext4_msg["ext4:__ext4_msg"] => Probe::ext4_message }

points! {
    /// What this probe watches.
    struct Watched for Probe;

    /// A file system reports an error, in its metadata or in a file.
    error = [fserror_report | reports];
    /// Ext4 finds an error: where in its code.
    ext4_error = [ext4_error];
    /// An ext4 is shut down.
    ext4_shutdown = [ext4_shutdown];
    /// A file system is remounted read-only.
    read_only = [reconfigure_super | reconfigures];
    /// Ext4 becomes read-only by itself, for an error.
    ext4_read_only = [ext4_msg];
}

struct Fs {
    _attachment: vesper::Attachment<Probe>,
}

impl kernel::Module for Fs {
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
