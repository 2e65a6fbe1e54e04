// SPDX-License-Identifier: GPL-2.0

//! The two ABIs of VESPER, generated from their headers, with checked parsing.
//!
//! All of it is pure logic on slices: what comes from a guest is copied, then
//! checked, then used, and nothing here panics on what it is given.

pub mod bindings;
pub mod endian;
pub mod escape;
pub mod index;
pub mod name;
pub mod packet;
