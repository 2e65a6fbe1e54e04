// SPDX-License-Identifier: GPL-2.0

//! The id of this boot, which tells the host a rebooted guest from one that only lost its driver.

use crate::{
    bindings,
    text, //
};
use kernel::{
    prelude::*,
    sync::SetOnce, //
};

static BOOT_ID: SetOnce<[u8; 16]> = SetOnce::new();

/// Finds the id out. To be called in the context of a process that can see /proc, as module init
/// is: the kernel exports the id by no other way. Without it, one is made up.
pub(crate) fn init() {
    let mut buffer = [0; text::UUID_LEN];
    // SAFETY: `buffer` has that many bytes.
    let read = unsafe { bindings::vesper_helper_boot_id(buffer.as_mut_ptr().cast(), buffer.len()) };
    let id = match text::uuid(&buffer) {
        Some(id) if read == buffer.len() as isize => id,
        _ => {
            pr_info!("no /proc/sys/kernel/random/boot_id: this boot gets an id of our own\n");
            let mut id = [0; 16];
            // SAFETY: An uuid has 16 bytes.
            unsafe { bindings::generate_random_uuid(id.as_mut_ptr()) };
            id
        }
    };
    BOOT_ID.populate(id);
}

/// The id, in the order of bytes in which it is printed; zeros before [`init`].
pub(crate) fn get() -> [u8; 16] {
    BOOT_ID.copy().unwrap_or([0; 16])
}
