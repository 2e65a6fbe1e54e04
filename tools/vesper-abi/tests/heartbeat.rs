// SPDX-License-Identifier: GPL-2.0

//! Runs the tests of what the host module makes of a heartbeat, which needs no kernel.

#![allow(dead_code)] // The module takes more of it than its tests do.

use vesper_abi::bindings;

#[path = "../../../host/heartbeat/judge.rs"]
mod judge;
