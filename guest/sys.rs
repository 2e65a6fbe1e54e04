// SPDX-License-Identifier: GPL-2.0

//! Wrappers of the C that the kernel crate does not have: the only place for `unsafe`.

pub(crate) mod abi;
pub(crate) mod beat;
pub(crate) mod boot_id;
pub(crate) mod completion;
pub(crate) mod cpu;
pub(crate) mod deferred;
pub(crate) mod function;
pub(crate) mod hotplug;
pub(crate) mod index;
pub(crate) mod kprobe;
pub(crate) mod kthread;
pub(crate) mod memory;
pub(crate) mod module;
pub(crate) mod module_tracepoint;
pub(crate) mod notifier;
pub(crate) mod page;
pub(crate) mod raw_spinlock;
pub(crate) mod relay;
pub(crate) mod relays;
pub(crate) mod symbol;
pub(crate) mod syscall;
pub(crate) mod table;
pub(crate) mod trace;
pub(crate) mod tracepoint;
pub(crate) mod virtio;
pub(crate) mod work;
pub(crate) mod workqueue;
pub(crate) mod xz;
