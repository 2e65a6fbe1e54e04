// SPDX-License-Identifier: GPL-2.0

//! Wrappers of the C that the kernel crate does not have: the only place for `unsafe`.

pub(crate) mod page;
