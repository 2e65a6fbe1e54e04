// SPDX-License-Identifier: GPL-2.0

//! What the guest's administrator lets the host load: module parameter `load_policy`.

use super::image;
use crate::{
    bindings,
    later::EKEYREJECTED,
    sys::module, //
};
use kernel::prelude::*;

/// `load_policy`
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Any module the kernel takes.
    Any,
    /// Those with a signature that the kernel trusts, whether or not the kernel insists on it.
    Signed,
    /// None.
    None,
}

impl Policy {
    /// The parameter's value, which does not change.
    pub(crate) fn get() -> Self {
        match module::load_policy() {
            bindings::VIRTIO_VESPER_POLICY_ANY => Self::Any,
            bindings::VIRTIO_VESPER_POLICY_SIGNED => Self::Signed,
            _ => Self::None,
        }
    }

    /// `VIRTIO_VESPER_POLICY_*`
    pub(crate) fn to_abi(self) -> u32 {
        match self {
            Self::Any => bindings::VIRTIO_VESPER_POLICY_ANY,
            Self::Signed => bindings::VIRTIO_VESPER_POLICY_SIGNED,
            Self::None => bindings::VIRTIO_VESPER_POLICY_NONE,
        }
    }

    /// Says whether the policy admits a decompressed image.
    ///
    /// A kernel that does not insist on signatures would load the module with a mere taint, and it
    /// relocates an image, by numbers that it finds there, before anybody else is asked. So it must
    /// not get one that it would not trust.
    pub(super) fn admits(self, image: &[u8]) -> Result {
        match self {
            Self::Any => Ok(()),
            Self::Signed => {
                let (signed, signature) = image::signature(image).ok_or(EKEYREJECTED)?;
                module::verify_signature(signed, signature)
            }
            Self::None => Err(EPERM),
        }
    }
}
