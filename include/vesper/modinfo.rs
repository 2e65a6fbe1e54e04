// SPDX-License-Identifier: GPL-2.0

//! What an image says about itself: strings in `.modinfo`, which `vesper probes` reads.

/// Bytes of a string made of `parts`, its terminator included.
#[doc(hidden)]
pub(crate) const fn len(parts: &[&[u8]]) -> usize {
    let mut len = 1;
    let mut i = 0;
    while i < parts.len() {
        len += parts[i].len();
        i += 1;
    }
    len
}

/// Puts `parts` one behind the other.
#[doc(hidden)]
pub(crate) const fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let (mut i, mut at) = (0, 0);
    while i < parts.len() {
        let part = parts[i];
        let mut j = 0;
        while j < part.len() {
            bytes[at] = part[j];
            at += 1;
            j += 1;
        }
        i += 1;
    }
    bytes
}

/// What a part of such a string may be.
#[doc(hidden)]
pub(crate) struct Part<T>(pub(crate) T);

impl Part<&'static str> {
    #[doc(hidden)]
    pub(crate) const fn bytes(self) -> &'static [u8] {
        self.0.as_bytes()
    }
}

impl Part<&'static [u8]> {
    #[doc(hidden)]
    pub(crate) const fn bytes(self) -> &'static [u8] {
        self.0
    }
}

/// Puts a string, made of constant parts, into `.modinfo`: `modinfo!("vesper_group=", "block")`. At
/// the top level of a module, or in a function.
macro_rules! modinfo {
    ($($part:expr),+ $(,)?) => {
        const _: () = {
            use $crate::vesper::modinfo;

            const PARTS: &[&[u8]] = &[$( modinfo::Part($part).bytes() ),+];

            #[link_section = ".modinfo"]
            #[used(compiler)]
            static INFO: [u8; modinfo::len(PARTS)] = modinfo::join(PARTS);
        };
    };
}
