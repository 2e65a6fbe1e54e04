// SPDX-License-Identifier: GPL-2.0

//! Runs the tests of those files of the guest module that need no kernel.

#![allow(dead_code)] // The module takes more of them than their tests do.

#[path = "../../../probes/any/args.rs"]
mod args;
#[path = "../../../guest/probe/choice.rs"]
mod choice;
#[path = "../../../guest/loader/image.rs"]
mod image;
#[path = "../../../guest/text.rs"]
mod text;
#[path = "../../../guest/loader/transfer.rs"]
mod transfer;
