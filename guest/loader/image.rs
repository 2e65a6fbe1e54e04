// SPDX-License-Identifier: GPL-2.0

//! What a module image says of itself. The image comes from outside: every number in it is checked.
//!
//! `core` only, so that `cargo test` covers it.

/// First bytes of an xz stream.
const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";

/// Last bytes of a signed image.
const SIGNATURE_MARKER: &[u8] = b"~Module signature appended~\n";

/// Bytes of `struct module_signature`, which stands before the marker.
const SIGNATURE_INFO_LEN: usize = 12;

/// `id_type` of a signature in a PKCS#7 message.
const SIGNATURE_TYPE_PKCS7: u8 = 2;

/// Most sections of an image; the kernel's own limit is that of the field, 65535.
const MAX_SECTIONS: usize = 65535;

/// Whether the image is compressed with xz.
pub(crate) fn is_xz(image: &[u8]) -> bool {
    image.starts_with(XZ_MAGIC)
}

/// Whether this may be a module for x86-64: a little-endian, relocatable ELF file for it.
pub(crate) fn is_module(image: &[u8]) -> bool {
    image.starts_with(b"\x7fELF\x02\x01\x01") && u16_at(image, 16) == Some(1) && machine_ok(image)
}

fn machine_ok(image: &[u8]) -> bool {
    u16_at(image, 18) == Some(62)
}

/// Splits a signed image into what is signed and the signature, a PKCS#7 message.
pub(crate) fn signature(image: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = image.strip_suffix(SIGNATURE_MARKER)?;
    let (rest, info) = rest.split_at(rest.len().checked_sub(SIGNATURE_INFO_LEN)?);
    // All else must be zero, as `mod_check_sig()` wants it.
    let &[0, 0, SIGNATURE_TYPE_PKCS7, 0, 0, 0, 0, 0, a, b, c, d] = info else {
        return None;
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    Some(rest.split_at(rest.len().checked_sub(len)?))
}

/// The value of `key` in section .modinfo: `vermagic`, `name`, `depends`.
pub(crate) fn modinfo<'a>(image: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    modinfos(image, key).next()
}

/// All values of `key` in section .modinfo.
fn modinfos<'a, 'k>(
    image: &'a [u8],
    key: &'k [u8],
) -> impl Iterator<Item = &'a [u8]> + use<'a, 'k> {
    section(image, b".modinfo")
        .unwrap_or(&[])
        .split(|&c| c == 0)
        .filter_map(move |entry| entry.strip_prefix(key)?.strip_prefix(b"="))
}

/// The first parameter in the string `params` that the image does not declare: the kernel ignores
/// such.
pub(crate) fn undeclared<'a>(image: &[u8], params: &'a [u8]) -> Option<&'a [u8]> {
    let mut quoted = false;
    params
        .split(|&c| {
            // As `next_arg()` of the kernel.
            quoted ^= c == b'"';
            !quoted && c.is_ascii_whitespace()
        })
        .map(|word| word.strip_prefix(b"\"").unwrap_or(word))
        .filter_map(|word| word.split(|&c| c == b'=').next())
        .take_while(|&name| name != b"--")
        .find(|name| !name.is_empty() && !declares(image, name))
}

fn declares(image: &[u8], name: &[u8]) -> bool {
    // Every module has these.
    if name == b"async_probe" || name == b"dyndbg" {
        return true;
    }
    let dash = |c: u8| if c == b'-' { b'_' } else { c };
    let same = |declared: &[u8]| {
        let declared = declared.split(|&c| c == b':').next().unwrap_or(&[]);
        declared.len() == name.len() && declared.iter().zip(name).all(|(&a, &b)| dash(a) == dash(b))
    };
    [&b"parmtype"[..], b"parm"]
        .iter()
        .any(|key| modinfos(image, key).any(same))
}

/// The contents of the section of this name.
fn section<'a>(image: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if !image.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let headers = usize_at(image, 40)?;
    let header_size = usize::from(u16_at(image, 58)?);
    let count = usize::from(u16_at(image, 60)?).min(MAX_SECTIONS);
    let names = usize::from(u16_at(image, 62)?);
    let header = |index: usize| -> Option<&'a [u8]> {
        let at = headers.checked_add(index.checked_mul(header_size)?)?;
        image.get(at..)?.get(..64)
    };
    let contents = |header: &[u8]| -> Option<&'a [u8]> {
        let (at, len) = (usize_at(header, 24)?, usize_at(header, 32)?);
        image.get(at..)?.get(..len)
    };
    let names = contents(header(names)?)?;
    (0..count)
        .map_while(header)
        .find(|header| {
            u32_at(header, 0)
                .and_then(|at| names.get(at as usize..)?.strip_prefix(name)?.first())
                .is_some_and(|&end| end == 0)
        })
        .and_then(contents)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.get(..N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes_at(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes_at(bytes, at)?))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(bytes_at(bytes, at)?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A relocatable ELF file with .modinfo and .shstrtab.
    fn elf(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut image = vec![0; 64];
        image[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        image[16] = 1;
        image[18] = 62;
        let modinfo_at = image.len();
        image.extend_from_slice(modinfo);
        let names_at = image.len();
        image.extend_from_slice(names);
        let headers_at = image.len() as u64;
        image[40..48].copy_from_slice(&headers_at.to_le_bytes());
        image[58] = 64;
        image[60] = 3;
        image[62] = 2;
        let mut section = |name: u32, at: usize, len: usize| {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(len as u64).to_le_bytes());
            image.extend_from_slice(&header);
        };
        section(0, 0, 0);
        section(1, modinfo_at, modinfo.len());
        section(10, names_at, names.len());
        image
    }

    #[test]
    fn finds_modinfo() {
        let image = elf(b"license=GPL\0vermagic=7.3.4 SMP\0name=signal\0depends=\0");
        assert!(is_module(&image));
        assert_eq!(modinfo(&image, b"vermagic"), Some(&b"7.3.4 SMP"[..]));
        assert_eq!(modinfo(&image, b"name"), Some(&b"signal"[..]));
        assert_eq!(modinfo(&image, b"depends"), Some(&b""[..]));
        assert_eq!(modinfo(&image, b"nam"), None);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_harmless() {
        let image = elf(b"vermagic=7.3.4 SMP\0name=signal\0");
        for len in 0..image.len() {
            let _ = modinfo(&image[..len], b"name");
            let _ = is_module(&image[..len]);
        }
        for at in 0..image.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut image = image.clone();
                image[at] ^= flip;
                let _ = modinfo(&image, b"name");
            }
        }
    }

    #[test]
    fn finds_a_parameter_that_is_not_declared() {
        let image = elf(b"parmtype=sig:int\0parm=comm_name:who\0name=signal\0");
        for known in [
            &b""[..],
            b"sig=10",
            b" sig=10  comm-name=x ",
            b"comm_name=\"a b=c\" sig=1",
            b"\"comm_name=a b\" sig",
            b"async_probe dyndbg=+p",
            b"sig=1 -- what=ever",
        ] {
            assert_eq!(undeclared(&image, known), None, "{known:?}");
        }
        assert_eq!(undeclared(&image, b"sig=1 sgi=2"), Some(&b"sgi"[..]));
        assert_eq!(undeclared(&image, b"si=1"), Some(&b"si"[..]));
        assert_eq!(undeclared(&image, b"comm_name=\"a\" b"), Some(&b"b"[..]));
        assert_eq!(undeclared(b"no image", b"b"), Some(&b"b"[..]));
    }

    #[test]
    fn splits_a_signature_off() {
        let mut image = b"contents".to_vec();
        image.extend_from_slice(b"pkcs7");
        image.extend_from_slice(&[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        image.extend_from_slice(SIGNATURE_MARKER);
        assert_eq!(signature(&image), Some((&b"contents"[..], &b"pkcs7"[..])));
        let info = image.len() - SIGNATURE_MARKER.len() - SIGNATURE_INFO_LEN;
        for (at, bad) in [(0, 1), (2, 1), (5, 1), (8, 0xff), (11, 14)] {
            let mut image = image.clone();
            image[info + at] = bad;
            assert_eq!(signature(&image), None, "byte {at}");
        }
        for len in 0..image.len() {
            assert_eq!(signature(&image[..len]), None);
        }
    }

    #[test]
    fn tells_compressed_from_plain() {
        assert!(is_xz(b"\xfd7zXZ\0\0\x04"));
        assert!(!is_xz(b"\xfd7zX"));
        assert!(!is_module(b""));
        assert!(!is_module(b"\x7fELF\x01\x01\x01"));
    }
}
