// SPDX-License-Identifier: GPL-2.0

//! System calls without a safe wrapper elsewhere: the ioctls of /dev/vesper,
//! signals, and the time stamp counter. The only file of the tool that has `unsafe` in it.
//!
//! C header: `include/uapi/linux/vesper.h`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};
use nix::poll::{ppoll, PollFd};
use nix::sys::resource::{getrlimit, setrlimit, Resource};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::time::TimeSpec;
use nix::time::{clock_gettime, ClockId};
use vesper_abi::bindings::{
    vesper_buffer, vesper_domain, vesper_heartbeat, vesper_info, vesper_list, vesper_load,
    vesper_module, vesper_position, vesper_reap, vesper_share, vesper_shared, vesper_unload,
    IOCTL_BUFFERS_OF, IOCTL_DOMAINS, IOCTL_HEARTBEAT, IOCTL_INFO, IOCTL_LOAD, IOCTL_MODULES,
    IOCTL_POSITION, IOCTL_REAP, IOCTL_SHARE, IOCTL_SHARED, IOCTL_UNLOAD,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

mod raw {
    use super::*;

    nix::ioctl_read_bad!(info, IOCTL_INFO as c_ulong, vesper_info);
    nix::ioctl_readwrite_bad!(domains, IOCTL_DOMAINS as c_ulong, vesper_list);
    nix::ioctl_readwrite_bad!(modules, IOCTL_MODULES as c_ulong, vesper_list);
    nix::ioctl_readwrite_bad!(buffers_of, IOCTL_BUFFERS_OF as c_ulong, vesper_list);
    nix::ioctl_readwrite_bad!(load, IOCTL_LOAD as c_ulong, vesper_load);
    nix::ioctl_readwrite_bad!(unload, IOCTL_UNLOAD as c_ulong, vesper_unload);
    nix::ioctl_readwrite_bad!(reap, IOCTL_REAP as c_ulong, vesper_reap);
    nix::ioctl_readwrite_bad!(share, IOCTL_SHARE as c_ulong, vesper_share);
    nix::ioctl_readwrite_bad!(shared, IOCTL_SHARED as c_ulong, vesper_list);
    nix::ioctl_readwrite_bad!(heartbeat, IOCTL_HEARTBEAT as c_ulong, vesper_heartbeat);
    nix::ioctl_read_bad!(position, IOCTL_POSITION as c_ulong, vesper_position);
}

/// An entry that one of the listing calls gives out.
pub trait Entry: FromZeros + FromBytes + IntoBytes + Clone {
    /// Runs the call.
    ///
    /// # Safety
    ///
    /// `list` names an array of `capacity` entries of this type that is live
    /// and not otherwise borrowed.
    #[doc(hidden)]
    unsafe fn call(fd: c_int, list: &mut vesper_list) -> nix::Result<c_int>;
}

macro_rules! entry {
    ($ty:ident, $call:ident) => {
        impl Entry for $ty {
            unsafe fn call(fd: c_int, list: &mut vesper_list) -> nix::Result<c_int> {
                // SAFETY: the number belongs to this struct, and the caller
                // vouches for the array that it points to.
                unsafe { raw::$call(fd, list) }
            }
        }
    };
}

entry!(vesper_domain, domains);
entry!(vesper_module, modules);
entry!(vesper_buffer, buffers_of);
entry!(vesper_shared, shared);

/// VESPER_IOC_INFO.
pub fn info(device: &File) -> nix::Result<vesper_info> {
    let mut info = vesper_info::new_zeroed();
    // SAFETY: the number belongs to this struct, which holds no pointers.
    unsafe { raw::info(device.as_raw_fd(), &mut info) }?;
    Ok(info)
}

/// One of the listing calls: fills as much of `entries` as there is, and says
/// how many there are.
pub fn list<T: Entry>(
    device: &File,
    domain: &[u8; vesper_abi::name::NAME_LEN],
    entries: &mut [T],
) -> nix::Result<usize> {
    let mut list = vesper_list::new_zeroed();
    list.capacity = u32::try_from(entries.len()).map_err(|_| Errno::EINVAL)?;
    list.entry_size = size_of::<T>() as u32;
    list.entries = entries.as_mut_ptr() as u64;
    list.domain = *domain;
    // SAFETY: address, capacity and entry size are those of `entries`, which is
    // borrowed for the time of the call; its type takes any bytes.
    unsafe { T::call(device.as_raw_fd(), &mut list) }?;
    Ok(list.count as usize)
}

/// VESPER_IOC_LOAD, with addresses and lengths of image and parameters put in.
pub fn load(
    device: &File,
    request: &mut vesper_load,
    image: &[u8],
    params: &[u8],
) -> nix::Result<()> {
    request.image = image.as_ptr() as u64;
    request.image_len = u32::try_from(image.len()).map_err(|_| Errno::EFBIG)?;
    request.params = params.as_ptr() as u64;
    request.params_len = u32::try_from(params.len()).map_err(|_| Errno::E2BIG)?;
    // SAFETY: the number belongs to this struct, and the two addresses in it
    // are those of slices that live longer than the call, which only reads.
    unsafe { raw::load(device.as_raw_fd(), request) }?;
    Ok(())
}

/// VESPER_IOC_UNLOAD.
pub fn unload(device: &File, request: &mut vesper_unload) -> nix::Result<()> {
    // SAFETY: the number belongs to this struct, which holds no pointers.
    unsafe { raw::unload(device.as_raw_fd(), request) }?;
    Ok(())
}

/// VESPER_IOC_REAP.
pub fn reap(device: &File, request: &mut vesper_reap) -> nix::Result<()> {
    // SAFETY: the number belongs to this struct, which holds no pointers.
    unsafe { raw::reap(device.as_raw_fd(), request) }?;
    Ok(())
}

/// VESPER_IOC_SHARE.
pub fn share(device: &File, request: &mut vesper_share) -> nix::Result<()> {
    // SAFETY: the number belongs to this struct, which holds no pointers.
    unsafe { raw::share(device.as_raw_fd(), request) }?;
    Ok(())
}

/// VESPER_IOC_HEARTBEAT.
pub fn heartbeat(device: &File, request: &mut vesper_heartbeat) -> nix::Result<()> {
    // SAFETY: the number belongs to this struct, which holds no pointers.
    unsafe { raw::heartbeat(device.as_raw_fd(), request) }?;
    Ok(())
}

/// VESPER_IOC_POSITION, on a relay file.
pub fn position(relay: &impl AsFd) -> nix::Result<vesper_position> {
    let mut position = vesper_position::new_zeroed();
    let fd = relay.as_fd().as_raw_fd();
    // SAFETY: the number belongs to this struct, which holds no pointers.
    unsafe { raw::position(fd, &mut position) }?;
    Ok(position)
}

/// The time stamp counter of the CPU that this runs on. What comes before in the
/// program is done when it is read, and what comes behind has not begun.
pub fn cycles() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};

    // SAFETY: every processor of this architecture has both instructions, and no
    // memory is touched. Linux lets user programs read the counter.
    #[allow(unused_unsafe)] // Later compilers know the first two by themselves.
    unsafe {
        _mm_lfence();
        let cycles = _rdtsc();
        _mm_lfence();
        cycles
    }
}

/// The monotonic clock, in nanoseconds; 0 if there is none, which can't be.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| {
        (now.tv_sec() as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(now.tv_nsec() as u64)
    })
}

/// The wall clock: nanoseconds since the epoch.
pub fn wall_clock_ns() -> i128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    match now {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

/// Files that may be open, if that many are allowed at all. Of programs that are started
/// from here some go through all that there could be.
const MANY_FILES: u64 = 1 << 19;

/// Lets many files be open: each CPU of each module has one. What can't be had is seen when
/// it is wanted.
pub fn allow_many_files() {
    if let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, now.max(most.min(MANY_FILES)), most);
    }
}

/// Ctrl-C and what asks a service to end.
const INTERRUPTS: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

/// Blocks Ctrl-C and SIGTERM but in a [`wait`] with the mask that this gives: one that
/// comes before it begins to wait is not missed.
pub fn block_interrupts() -> nix::Result<SigSet> {
    let mut open = SigSet::thread_get_mask()?;
    let mut set = SigSet::empty();
    for signal in INTERRUPTS {
        set.add(signal);
        open.remove(signal);
    }
    set.thread_block()?;
    Ok(open)
}

/// Starts a program with no signal blocked: what [`block_interrupts`] keeps back it would
/// inherit, and SIGTERM would not end it. (Something to be done in the child would have the
/// process copied.)
pub fn start(command: &mut Command) -> io::Result<Child> {
    let before = SigSet::thread_get_mask()?;
    SigSet::empty().thread_set_mask()?;
    let child = command.spawn();
    before.thread_set_mask()?;
    if interrupted() {
        // It may have come to this thread just now, and is to wake who waits for it.
        // SAFETY: Takes no pointers.
        unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
    }
    child
}

/// Waits until a file is as it is asked for, the time is over, or one of the signals that
/// `open` lets through has come, which is no error. After that it waits no more.
pub fn wait(fds: &mut [PollFd<'_>], time: Option<Duration>, open: &SigSet) -> nix::Result<()> {
    // None is let through any more: a second one would end the process.
    if interrupted() {
        return Ok(());
    }
    let polled = ppoll(fds, time.map(TimeSpec::from_duration), Some(*open));
    // It takes no signal if a file is ready at once, as one always may be.
    if is_interrupt_pending()? {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    match polled {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether one of them is kept back by [`block_interrupts`].
fn is_interrupt_pending() -> nix::Result<bool> {
    let mut set = *SigSet::empty().as_ref();
    // SAFETY: the call writes to nothing but this set.
    Errno::result(unsafe { libc::sigpending(&mut set) })?;
    // SAFETY: all of it was initialised before the call, which has put a set there.
    let pending = unsafe { SigSet::from_sigset_t_unchecked(set) };
    Ok(INTERRUPTS.iter().any(|&signal| pending.contains(signal)))
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_interrupt(_signal: c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on Ctrl-C and SIGTERM make waiting calls return, and are remembered.
///
/// A second one ends the process, should it not come to look at the first.
pub fn catch_interrupts() -> nix::Result<()> {
    // Without SA_RESTART: an ioctl or a poll that waits has to come back.
    let action = SigAction::new(
        SigHandler::Handler(on_interrupt),
        SaFlags::SA_RESETHAND,
        SigSet::empty(),
    );
    for signal in INTERRUPTS {
        // SAFETY: the handler does nothing but store to an atomic, which is
        // allowed in a signal handler.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Whether Ctrl-C or SIGTERM came since [`catch_interrupts`].
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
