// SPDX-License-Identifier: GPL-2.0

//! What is read out of module images, good and bad ones.

use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use vesper_cli::image::{fits, Image, ImageError};

mod module_file;

const MODINFO: &[u8] = b"license=GPL\0depends=vesper_guest\0name=my_probe\0vermagic=7.3.4 SMP \0";

fn xz(plain: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

#[test]
fn name_and_vermagic_plain_and_compressed() {
    let plain = module_file::elf(Some(MODINFO));
    for bytes in [plain.clone(), xz(&plain)] {
        let image = Image::parse(bytes.clone()).unwrap();
        assert_eq!(image.name.as_deref(), Some("my_probe"));
        assert_eq!(image.vermagic, b"7.3.4 SMP");
        assert_eq!(image.bytes, bytes, "sent as it is");
        assert_eq!(
            image.module_name(Path::new("/x/other.ko")).unwrap(),
            "my_probe"
        );
    }
}

#[test]
fn the_file_names_a_module_without_a_name() {
    for modinfo in [&b"license=GPL\0"[..], b"name=../../etc\0", b""] {
        let image = Image::parse(module_file::elf(Some(modinfo))).unwrap();
        let name = |path: &str| image.module_name(Path::new(path));
        assert_eq!(name("/x/my-probe.ko.xz").unwrap(), "my_probe");
        assert_eq!(name("signal.ko").unwrap(), "signal");
        assert!(matches!(name("/x/.ko"), Err(ImageError::NoName)));
        assert!(matches!(name("/"), Err(ImageError::NoName)));
        assert!(image.vermagic.is_empty());
    }
}

#[test]
fn what_no_guest_takes_is_not_sent() {
    let parse = |bytes: &[u8]| Image::parse(bytes.to_vec()).unwrap_err();
    assert!(matches!(parse(b""), ImageError::Empty));
    assert!(matches!(
        parse(b"\x1f\x8b\x08"),
        ImageError::Compression("gzip")
    ));
    assert!(matches!(
        parse(b"\x28\xb5\x2f\xfd.."),
        ImageError::Compression("zstd")
    ));
    let mut other = module_file::elf(Some(MODINFO));
    other[18] = 40; // e_machine: 32-bit ARM
    other[19] = 0;
    assert!(matches!(
        parse(&other),
        ImageError::Machine { built: 40, .. }
    ));
    let large = vec![0; (64 << 20) + 1];
    assert!(matches!(Image::parse(large), Err(ImageError::TooLarge)));
}

#[test]
fn the_guest_judges_what_is_damaged() {
    let plain = module_file::elf(Some(MODINFO));
    let compressed = xz(&plain);
    for bytes in [
        b"#!/bin/sh\n",
        &plain[..30],
        &plain[..plain.len() / 2],
        &compressed[..compressed.len() / 2],
        &module_file::elf(None)[..],
    ] {
        let image = Image::parse(bytes.to_vec()).unwrap();
        assert_eq!(image.bytes, bytes);
        assert_eq!((image.name, image.vermagic), (None, Vec::new()));
    }
}

#[test]
fn a_bomb_of_zeros_is_refused() {
    let bomb = xz(&vec![0; 129 << 20]);
    assert!(bomb.len() < 1 << 20);
    assert!(matches!(Image::parse(bomb), Err(ImageError::TooLarge)));
}

#[test]
fn vermagic_is_compared_whole() {
    let full = b"7.3.4 SMP preempt mod_unload";
    assert!(fits(full, full, b"7.3.4"));
    assert!(fits(full, b"7.3.4 SMP preempt mod_unload ", b""));
    assert!(!fits(b"7.3.4 SMP mod_unload", full, b"7.3.4"));
    assert!(!fits(b"7.3.5 SMP preempt mod_unload", full, b"7.3.4"));
    assert!(fits(full, b"", b"7.3.4"));
    assert!(!fits(full, b"", b"7.3.40"));
    assert!(fits(b"", full, b"7.3.4"));
    assert!(fits(full, b"", b""));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Image::parse(bytes);
    }

    #[test]
    fn never_panics_on_a_damaged_one(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        compressed: bool,
    ) {
        let plain = module_file::elf(Some(MODINFO));
        let mut bytes = if compressed { xz(&plain) } else { plain };
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = Image::parse(bytes);
    }
}
