// SPDX-License-Identifier: GPL-2.0

//! Fence around the bindings that bindgen made for this module.

#![allow(
    clippy::all,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

pub(crate) use kernel::bindings::*;

include!("bindings_generated.rs");

// SAFETY: It has no size, so there is nothing that could be wrong.
unsafe impl<T> pin_init::Zeroable for __IncompleteArrayField<T> {}
