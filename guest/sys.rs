// SPDX-License-Identifier: GPL-2.0

//! Wrappers of the C that the kernel crate does not have: the only place for `unsafe`.

pub(crate) mod abi;
pub(crate) mod boot_id;
pub(crate) mod completion;
pub(crate) mod module;
pub(crate) mod notifier;
pub(crate) mod page;
pub(crate) mod raw_spinlock;
pub(crate) mod virtio;
pub(crate) mod workqueue;
