// SPDX-License-Identifier: GPL-2.0

//! Module images: what they say about themselves, read before they are sent.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader};
use object::Endianness;
use thiserror::Error;
use vesper_abi::bindings::VIRTIO_VESPER_MAX_IMAGE;
use vesper_abi::escape::Escaped;
use vesper_abi::name::check_name;

use crate::error;

/// What a compressed image may grow to; kernel modules are far from it.
const MAX_UNPACKED: u64 = 128 << 20;

/// Why an image is not sent.
#[derive(Debug, Error)]
pub enum ImageError {
    /// Larger than the device takes.
    #[error("the image has more than {} MiB", VIRTIO_VESPER_MAX_IMAGE >> 20)]
    TooLarge,
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// A compression that the guest's loader does not read.
    #[error("the image is compressed with {0}, which is not supported")]
    Compression(&'static str),
    /// For another machine.
    #[error("the module is built for {}, guests here run {}", machine_name(*.built), machine_name(*.runs))]
    Machine {
        /// ELF machine of the image.
        built: u16,
        /// ELF machine of this host.
        runs: u16,
    },
    /// Nothing that could be the module's name.
    #[error("neither the image nor its file has a name that can be used")]
    NoName,
}

impl ImageError {
    /// What the operator can do about it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Compression(_) => Some("uncompress it first, or compress it with xz".into()),
            Self::NoName => Some("give one with --name".into()),
            Self::Machine { .. } => Some("build it for the guest's kernel".into()),
            Self::TooLarge => Some("`strip --strip-debug` makes it smaller".into()),
            Self::Empty => Some("build it again, or copy it whole".into()),
        }
    }
}

/// A module image, and what was found in it.
///
/// Of a file that is no module, or a damaged one, nothing is found; it is for
/// the guest's kernel to say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file as it is.
    pub bytes: Vec<u8>,
    /// The module's name for itself.
    pub name: Option<String>,
    /// The kernel it is built for; empty if it does not say.
    pub vermagic: Vec<u8>,
    /// Its .modinfo section, empty if there is none.
    modinfo: Vec<u8>,
}

impl Image {
    /// Reads an image and checks what can be checked here.
    pub fn read(path: &Path) -> error::Result<Self> {
        let failed = |error| error::Error::File {
            path: path.to_owned(),
            error,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        // One byte more than allowed tells too large from just right.
        file.take(u64::from(VIRTIO_VESPER_MAX_IMAGE) + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Self::parse(bytes).map_err(|error| error::Error::Image {
            path: path.to_owned(),
            error,
        })
    }

    /// Looks into an image.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ImageError> {
        if bytes.len() > VIRTIO_VESPER_MAX_IMAGE as usize {
            return Err(ImageError::TooLarge);
        }
        let modinfo = match bytes.as_slice() {
            [] => return Err(ImageError::Empty),
            [0x1f, 0x8b, ..] => return Err(ImageError::Compression("gzip")),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(ImageError::Compression("zstd")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => match unpack(&bytes)? {
                Some(plain) => modinfo(&plain)?,
                None => Vec::new(),
            },
            plain => modinfo(plain)?,
        };
        let value = |key: &str| {
            let mut entries = modinfo.split(|&b| b == 0);
            entries.find_map(|entry| entry.strip_prefix(key.as_bytes()))
        };
        let name = value("name=").and_then(|name| check_name(name).ok());
        Ok(Self {
            name: name.map(str::to_owned),
            vermagic: value("vermagic=").unwrap_or_default().trim_ascii().to_vec(),
            modinfo,
            bytes,
        })
    }

    /// What it says under a key, as often as it does; fit for a terminal.
    pub fn infos(&self, key: &str) -> impl Iterator<Item = String> + use<'_> {
        let key = format!("{key}=");
        self.modinfo.split(|&b| b == 0).filter_map(move |entry| {
            let value = entry.strip_prefix(key.as_bytes())?;
            Some(Escaped(value).to_string())
        })
    }

    /// The name for the module: its own, or the file's as `insmod` has it.
    pub fn module_name(&self, path: &Path) -> Result<String, ImageError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let file = path.file_name().and_then(|name| name.to_str());
        let stem = file.map(|name| name.strip_suffix(".xz").unwrap_or(name));
        let stem = stem.map(|name| name.strip_suffix(".ko").unwrap_or(name));
        let name = stem.unwrap_or_default().replace('-', "_");
        check_name(name.as_bytes()).map_err(|_| ImageError::NoName)?;
        Ok(name)
    }
}

/// The image without its compression; nothing if that is broken.
fn unpack(bytes: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
    let mut plain = Vec::new();
    let reader = lzma_rust2::XzReader::new(bytes, true);
    let read = reader.take(MAX_UNPACKED + 1).read_to_end(&mut plain);
    if plain.len() as u64 > MAX_UNPACKED {
        return Err(ImageError::TooLarge);
    }
    Ok(read.ok().map(|_| plain))
}

/// The .modinfo section: strings of the form key=value with NULs between them.
fn modinfo(plain: &[u8]) -> Result<Vec<u8>, ImageError> {
    let Ok(header) = FileHeader64::<Endianness>::parse(plain) else {
        return Ok(Vec::new());
    };
    let Ok(endian) = header.endian() else {
        return Ok(Vec::new());
    };
    let (built, runs) = (header.e_machine(endian), host_machine());
    if built != runs {
        return Err(ImageError::Machine { built, runs });
    }
    let section = header.sections(endian, plain).ok().and_then(|sections| {
        let (_, section) = sections.section_by_name(endian, b".modinfo")?;
        section.data(endian, plain).ok()
    });
    Ok(section.unwrap_or_default().to_vec())
}

/// The machine of this host, and so of guests under KVM.
fn host_machine() -> u16 {
    match std::env::consts::ARCH {
        "aarch64" => elf::EM_AARCH64,
        "riscv64" => elf::EM_RISCV,
        "s390x" => elf::EM_S390,
        _ => elf::EM_X86_64,
    }
}

fn machine_name(machine: u16) -> String {
    match machine {
        elf::EM_386 => "i386".into(),
        elf::EM_X86_64 => "x86-64".into(),
        elf::EM_AARCH64 => "arm64".into(),
        elf::EM_ARM => "arm".into(),
        elf::EM_RISCV => "riscv".into(),
        elf::EM_S390 => "s390".into(),
        elf::EM_PPC64 => "ppc64".into(),
        other => format!("machine {other}"),
    }
}

/// Whether an image with this vermagic loads into a kernel with that one.
///
/// An image or a guest that says nothing is let through: the guest's kernel
/// decides. A guest that says only its release is compared by the first word.
pub fn fits(built: &[u8], vermagic: &[u8], release: &[u8]) -> bool {
    let (built, vermagic) = (built.trim_ascii(), vermagic.trim_ascii());
    if built.is_empty() || (vermagic.is_empty() && release.is_empty()) {
        return true;
    }
    if vermagic.is_empty() {
        return built.split(|&b| b == b' ').next() == Some(release);
    }
    built == vermagic
}
