// SPDX-License-Identifier: GPL-2.0

//! Entry of the `vesper` command-line tool.
fn main() {}
