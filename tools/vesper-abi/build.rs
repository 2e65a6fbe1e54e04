// SPDX-License-Identifier: GPL-2.0

//! Generates Rust types and constants from the two uapi headers, so that no
//! struct of either ABI is typed twice.

use std::env;
use std::path::PathBuf;

use bindgen::callbacks::{DeriveInfo, ImplementsTrait, ParseCallbacks};

/// What is read: the headers, and each ioctl number as an enumerator, because
/// bindgen does not evaluate macros that contain `sizeof`.
const WRAPPER: &str = r#"
#include <linux/vesper.h>
#include <linux/virtio_vesper.h>

enum vesper_ioctl {
	IOCTL_INFO = VESPER_IOC_INFO,
	IOCTL_DOMAINS = VESPER_IOC_DOMAINS,
	IOCTL_MODULES = VESPER_IOC_MODULES,
	IOCTL_BUFFERS_OF = VESPER_IOC_BUFFERS_OF,
	IOCTL_LOAD = VESPER_IOC_LOAD,
	IOCTL_UNLOAD = VESPER_IOC_UNLOAD,
	IOCTL_REAP = VESPER_IOC_REAP,
	IOCTL_SHARE = VESPER_IOC_SHARE,
	IOCTL_SHARED = VESPER_IOC_SHARED,
	IOCTL_HEARTBEAT = VESPER_IOC_HEARTBEAT,
	IOCTL_POSITION = VESPER_IOC_POSITION,
	IOCTL_CONSUME = VESPER_IOC_CONSUME,
};
"#;

/// Structs that end in a flexible array; no trait that speaks about all of
/// their bytes can be derived for them.
const OPEN_ENDED: [&str; 2] = ["virtio_vesper_metadata", "virtio_vesper_data"];

/// Derives the traits that let safe code turn bytes into these structs.
#[derive(Debug)]
struct Derives;

impl ParseCallbacks for Derives {
    fn add_derives(&self, info: &DeriveInfo<'_>) -> Vec<String> {
        let ours = info.name.starts_with("vesper_") || info.name.starts_with("virtio_vesper_");
        if !ours || info.name == "vesper_ioctl" || OPEN_ENDED.contains(&info.name) {
            return Vec::new();
        }
        ["FromBytes", "IntoBytes", "Immutable", "KnownLayout"]
            .iter()
            .map(|name| format!("::zerocopy::{name}"))
            .collect()
    }

    fn blocklisted_type_implements_trait(
        &self,
        _name: &str,
        _derive: bindgen::callbacks::DeriveTrait,
    ) -> Option<ImplementsTrait> {
        // Only the `__le` types are blocklisted; endian.rs derives all there is.
        Some(ImplementsTrait::Yes)
    }
}

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let include = manifest.join("../../include/uapi");
    for header in ["linux/vesper.h", "linux/virtio_vesper.h"] {
        println!("cargo::rerun-if-changed={}", include.join(header).display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let bindings = bindgen::Builder::default()
        .header_contents("vesper_wrapper.h", WRAPPER)
        .clang_arg("-I")
        .clang_arg(include.to_str().expect("a path in UTF-8"))
        .allowlist_item("(VIRTIO_)?VESPER_.*")
        .allowlist_type("(virtio_)?vesper_.*")
        .blocklist_type("__le(16|32|64)")
        .raw_line("use crate::endian::{Le16 as __le16, Le32 as __le32, Le64 as __le64};")
        .constified_enum("vesper_ioctl")
        .prepend_enum_name(false)
        .derive_copy(true)
        .derive_debug(true)
        .derive_default(false)
        .layout_tests(true)
        .generate_comments(true)
        .use_core()
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_unsafe_ops(true)
        .parse_callbacks(Box::new(Derives))
        .generate()
        .expect("bindgen reads the uapi headers");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    bindings
        .write_to_file(out.join("bindings.rs"))
        .expect("OUT_DIR is writable");
}
