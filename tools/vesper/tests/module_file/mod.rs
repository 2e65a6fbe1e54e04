// SPDX-License-Identifier: GPL-2.0

//! Object files that look like kernel modules, made for the test.

use object::write::{Object, StandardSegment};
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

/// A relocatable object for this machine, with this .modinfo if any.
pub fn elf(modinfo: Option<&[u8]>) -> Vec<u8> {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => Architecture::Aarch64,
        _ => Architecture::X86_64,
    };
    let mut object = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
    if let Some(modinfo) = modinfo {
        let segment = object.segment_name(StandardSegment::Data).to_vec();
        let section = object.add_section(segment, b".modinfo".to_vec(), SectionKind::ReadOnlyData);
        object.append_section_data(section, modinfo, 1);
    }
    object.write().expect("an object that can be written")
}
