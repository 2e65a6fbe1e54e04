// SPDX-License-Identifier: GPL-2.0

//! Modules, and what the kernel asks of them.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A `struct module`.
#[repr(transparent)]
pub(crate) struct Module(Opaque<bindings::module>);

impl Module {
    /// # Safety
    ///
    /// `module` is valid for all of `'a`, and its name does not change.
    pub(super) unsafe fn from_raw<'a>(module: *mut bindings::module) -> &'a Self {
        // SAFETY: `Module` is transparent, and the caller vouches for the pointer.
        unsafe { &*module.cast() }
    }

    /// Name, as in /proc/modules.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: The module is valid as long as `self`, and the name is terminated.
        unsafe { CStr::from_char_ptr((*self.0.get()).name.as_ptr()) }
    }

    /// Name of `module`.
    ///
    /// # Safety
    ///
    /// `module` is valid for all of `'a`.
    pub(crate) unsafe fn name_of<'a>(module: *const bindings::module) -> &'a CStr {
        // SAFETY: By the contract above; the name is terminated, and does not change.
        unsafe { CStr::from_char_ptr((&raw const (*module).name).cast()) }
    }

    /// Whether the kernel found a signature that it trusts. `false` where it doesn't check any.
    pub(crate) fn is_signed(&self) -> bool {
        // SAFETY: The module is valid as long as `self`.
        unsafe { bindings::vesper_helper_module_sig_ok(self.0.get()) }
    }
}

/// Checks a signature, a PKCS#7 message, of the bytes `signed`, as the kernel's module loader does.
/// Process context.
pub(crate) fn verify_signature(signed: &[u8], signature: &[u8]) -> Result {
    // SAFETY: Both are as long as is said.
    to_result(unsafe {
        bindings::vesper_helper_verify_module(
            signed.as_ptr().cast(),
            signed.len(),
            signature.as_ptr().cast(),
            signature.len(),
        )
    })
}

/// Parameter `load_policy`, `VIRTIO_VESPER_POLICY_*`.
pub(crate) fn load_policy() -> u32 {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_helper_load_policy() }
}

/// Version magic of this kernel: a module needs the same, or the kernel refuses it.
pub(crate) fn vermagic() -> &'static CStr {
    // SAFETY: The string is a constant.
    unsafe { CStr::from_char_ptr(bindings::vesper_helper_vermagic()) }
}

/// Release of this kernel, as `uname -r` has it.
pub(crate) fn release() -> &'static CStr {
    // SAFETY: The release of a kernel is terminated and does not change.
    unsafe { CStr::from_char_ptr(bindings::vesper_helper_release()) }
}
