// SPDX-License-Identifier: GPL-2.0

//! Thin safe wrappers over what the kernel crate does not have: `unsafe` lives here.

pub(crate) mod host;
pub(crate) mod kick;
pub(crate) mod virtio;
pub(crate) mod vring;
pub(crate) mod workqueue;
