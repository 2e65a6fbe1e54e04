// SPDX-License-Identifier: GPL-2.0

//! Sentences for the operator: what went wrong in the guest, and what to do.

use super::image;
use crate::{
    later::{
        EBADMSG,
        EKEYREJECTED,
        ENODATA,
        ENOKEY,
        ENOPKG,
        EOPNOTSUPP, //
    },
    sys::module, //
};
use core::fmt::Write as _;
use kernel::{
    fmt,
    prelude::*, //
};

/// Bytes of a sentence, its terminator included.
const LEN: usize = crate::bindings::VIRTIO_VESPER_TEXT_LEN as usize;

/// A sentence in the field of a message, cut where that ends.
pub(crate) struct Text {
    bytes: [u8; LEN],
    len: usize,
}

impl Text {
    /// No sentence.
    pub(crate) const fn none() -> Self {
        Self {
            bytes: [0; LEN],
            len: 0,
        }
    }

    /// Prints one.
    pub(crate) fn new(args: fmt::Arguments<'_>) -> Self {
        let mut text = Self::none();
        // Never fails.
        let _ = text.write_fmt(args);
        text
    }

    /// The field, NUL-terminated.
    pub(crate) fn field(&self) -> [u8; LEN] {
        self.bytes
    }

    /// Without the terminator.
    pub(crate) fn as_str(&self) -> &str {
        printable(&self.bytes[..self.len])
    }
}

impl core::fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for &byte in s.as_bytes() {
            if self.len >= LEN - 1 {
                break;
            }
            // What comes out of an image must not play with a terminal.
            self.bytes[self.len] = if matches!(byte, b' '..=b'~') {
                byte
            } else {
                b'?'
            };
            self.len = self.len.wrapping_add(1);
        }
        Ok(())
    }
}

fn printable(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or("?")
}

/// Why the kernel did not take `image`.
pub(super) fn load(error: Error, image: &[u8]) -> Text {
    let info = |key: &[u8]| image::modinfo(image, key).map(printable).unwrap_or("?");
    match error {
        ENOEXEC if !image::is_module(image) => {
            Text::new(fmt!("this is not a kernel module for x86-64"))
        }
        ENOEXEC if image::modinfo(image, b"vermagic").is_none() => {
            Text::new(fmt!("the image is damaged: it does not say for which kernel it is"))
        }
        ENOEXEC if !same_kernel(image) => Text::new(fmt!(
            "built for kernel '{}', but the guest runs '{}': build it for that",
            info(b"vermagic").trim_end(),
            printable(module::vermagic().to_bytes()).trim_end(),
        )),
        ENOENT => Text::new(fmt!(
            "it needs a symbol that the guest does not have (it depends on modules '{}'); the guest's kernel log names it",
            info(b"depends"),
        )),
        EEXIST => Text::new(fmt!(
            "the guest has a module {} already: unload that first",
            info(b"name"),
        )),
        EKEYREJECTED | ENOKEY | EBADMSG | ENOPKG | ENODATA => Text::new(fmt!(
            "the guest's kernel rejects its signature, or wants one and finds none of a key that it trusts"
        )),
        EPERM => Text::new(fmt!(
            "the guest's kernel takes no such module: it is locked down, kernel.modules_disabled is set, or LoadPin wants a file"
        )),
        EACCES => Text::new(fmt!(
            "a security module of the guest refuses it: IMA appraisal wants a file with a signature"
        )),
        ENOMEM => Text::new(fmt!("the guest has not enough memory for it")),
        EINVAL => Text::new(fmt!(
            "a parameter or the image is invalid; the guest's kernel log says which"
        )),
        e => Text::new(fmt!(
            "the guest's kernel or the module's own init function refused with {:?}; the guest's kernel log may say why",
            e,
        )),
    }
}

/// What the probe itself has to say, with an end that shows if there is more.
pub(super) fn said(remarks: &[u8]) -> Text {
    let mut text = Text::new(fmt!("{}", printable(remarks)));
    if remarks.len() > text.len {
        let end = text.bytes.len().saturating_sub(1 + MORE.len());
        for (to, from) in text.bytes[end..].iter_mut().zip(MORE) {
            *to = *from;
        }
    }
    text
}

/// End of a sentence that was cut.
const MORE: &[u8] = b"...";

/// A remark on a load that succeeded.
pub(super) fn loaded(image: &[u8], params: &[u8]) -> Text {
    match image::undeclared(image, params) {
        Some(name) => Text::new(fmt!(
            "the module declares no parameter '{}': the kernel ignores it",
            printable(name),
        )),
        None => Text::none(),
    }
}

fn same_kernel(image: &[u8]) -> bool {
    image::modinfo(image, b"vermagic") == Some(module::vermagic().to_bytes())
}

/// `load_policy=signed` is not met.
pub(super) fn unsigned() -> Text {
    Text::new(fmt!(
        "the guest takes signed modules only, and this one has no signature of a key that it trusts"
    ))
}

/// Why a compressed image can't be used.
pub(super) fn decompress(error: Error) -> Text {
    match error {
        EOPNOTSUPP => Text::new(fmt!(
            "the guest's kernel can't decompress this kind of xz: use 'xz --check=crc32 --lzma2=dict=1MiB', or none"
        )),
        EFBIG => Text::new(fmt!("the image is too large when it is decompressed")),
        ENOMEM => Text::new(fmt!("the guest has not enough memory to decompress it")),
        _ => Text::new(fmt!("the compressed image is damaged")),
    }
}

/// Why the host did not take a channel of the module: the kernel's answer is only that its init
/// function failed.
pub(super) fn share(error: Error) -> Text {
    match error {
        ENOMEM => Text::new(fmt!(
            "its trace buffers could not be shared: QEMU's limit on locked memory (RLIMIT_MEMLOCK) is too small for them"
        )),
        EOPNOTSUPP => Text::new(fmt!(
            "its trace buffers can't be shared: the guest's DMA is bounced, or its memory is a file that can't be pinned"
        )),
        ENOSPC => Text::new(fmt!(
            "its trace buffers do not fit: fewer or smaller ones, or unload other probes"
        )),
        EEXIST => Text::new(fmt!(
            "it opened a channel of a name that another of its channels has, or a second one with metadata of its own: the host's directory of a module has room for one"
        )),
        EINVAL => Text::new(fmt!(
            "the host refuses the shape of its trace buffers; in overwrite mode two sub-buffers are the least"
        )),
        e => Text::new(fmt!("its trace buffers could not be shared with the host: {:?}", e)),
    }
}

/// Why a module can't be unloaded.
pub(super) fn unload(error: Error) -> Text {
    match error {
        // `EWOULDBLOCK`
        EAGAIN => Text::new(fmt!("it is in use in the guest: lsmod there says by whom")),
        EBUSY => Text::new(fmt!(
            "it is still in its init or exit function, or it has no exit function"
        )),
        ENOENT => Text::new(fmt!("it is gone from the guest already")),
        EPERM => Text::new(fmt!("the guest's kernel has kernel.modules_disabled set")),
        e => Text::new(fmt!("the guest's kernel refused with {:?}", e)),
    }
}
