// SPDX-License-Identifier: GPL-2.0

//! Ctrl-C and SIGTERM: a file of its own, as what they are caught by is the whole process's.

use std::fs::File;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{raise, Signal};
use vesper_cli::sys;

#[test]
fn one_is_seen_where_a_file_is_always_ready_and_a_second_one_ends_nothing() {
    sys::catch_interrupts().unwrap();
    let open = sys::block_interrupts().unwrap();
    let file = File::open("/dev/zero").unwrap();
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    sys::wait(&mut fds, None, &open).unwrap();
    assert!(!sys::interrupted());
    for _ in 0..2 {
        raise(Signal::SIGTERM).unwrap();
        sys::wait(&mut fds, None, &open).unwrap();
        assert!(sys::interrupted());
    }
}
