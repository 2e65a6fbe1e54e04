// SPDX-License-Identifier: GPL-2.0

//! Runs the tests of the host module's message codec, which needs no kernel.

#![allow(dead_code)] // The module takes more of it than its tests do.
#![allow(clippy::identity_op)] // A mask is written as one.

use vesper_abi::bindings;

#[path = "../../../common/abi.rs"]
mod abi;
#[path = "../../../host/message.rs"]
mod message;
