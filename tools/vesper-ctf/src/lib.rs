// SPDX-License-Identifier: GPL-2.0

//! Decoder of the Common Trace Format 1.8 as VESPER probes write it.
//!
//! The guest controls both the packets and the metadata text that describes
//! them. So everything here works on slices, bounds what it keeps, and answers
//! malformed input with an error that says where.
//!
//! [`tsdl`] turns metadata text into [`metadata::Metadata`]; [`stream`] cuts
//! what was read from one buffer into packets; [`decoder`] makes records of
//! them with the help of [`record`]; [`merge`] puts several buffers in order.
//! [`rewrite`] adds to metadata text what the guest does not know.

pub mod clock;
pub mod decoder;
pub mod merge;
pub mod metadata;
pub mod record;
pub mod rewrite;
pub mod stream;
pub mod tsdl;
#[cfg(feature = "writer")]
pub mod writer;
