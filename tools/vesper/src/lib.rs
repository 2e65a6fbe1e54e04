// SPDX-License-Identifier: GPL-2.0

//! The `vesper` command-line tool.
