// SPDX-License-Identifier: GPL-2.0

//! Thin safe wrappers over what the kernel crate does not have: `unsafe` lives here.

pub(crate) mod account;
pub(crate) mod callback;
pub(crate) mod completion;
pub(crate) mod debugfs;
pub(crate) mod index;
pub(crate) mod inode;
pub(crate) mod mm_watch;
pub(crate) mod mutex;
pub(crate) mod node;
pub(crate) mod number_file;
pub(crate) mod pages;
pub(crate) mod pid;
pub(crate) mod relay;
pub(crate) mod relay_file;
pub(crate) mod rwsem;
pub(crate) mod text_file;
pub(crate) mod thread;
pub(crate) mod time;
pub(crate) mod trace;
pub(crate) mod workqueue;
