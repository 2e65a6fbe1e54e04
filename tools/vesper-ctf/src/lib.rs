// SPDX-License-Identifier: GPL-2.0

//! Decoder of the Common Trace Format 1.8 as VESPER probes write it.
