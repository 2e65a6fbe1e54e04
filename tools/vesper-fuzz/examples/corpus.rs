// SPDX-License-Identifier: GPL-2.0

//! Writes the files that the corpus began with: what is right, of each kind.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use vesper_abi::bindings::*;
use vesper_abi::message::{build, Head};
use vesper_ctf::writer::{signal_event, signal_metadata, PacketWriter};
use zerocopy::IntoBytes;

#[path = "../../vesper/tests/module_file/mod.rs"]
mod module_file;

fn put(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join(name), bytes).expect("a file");
}

/// A message of words and a name or two, for each queue of both parsers.
fn message(queue: u8, name: &str, kind: u32, body: &[u8]) {
    let head = Head {
        kind: kind as u16,
        flags: 0,
        id: 7,
    };
    let mut bytes = vec![queue];
    bytes.extend(build(head, body, &[]));
    put("message", name, &bytes);
    // The host does not hear its own loader.
    if queue < 3 {
        put("host", name, &bytes);
    }
}

fn field<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

fn words(words: &[u32]) -> Vec<u8> {
    words.as_bytes().to_vec()
}

fn messages() {
    let mut hello = words(&[VIRTIO_VESPER_ABI_VERSION, 4]);
    hello.extend([1; 16]);
    hello.extend([1_000_000u64, 42, 43].as_bytes());
    hello.extend(words(&[0; 6]));
    hello.extend(field::<128>("7.3.4"));
    hello.extend(field::<128>("7.3.4 SMP"));
    message(0, "hello", VIRTIO_VESPER_C_HELLO, &hello);

    let mut open = words(&[2, 4096, 8, 4]);
    open.extend([2; 16]);
    open.extend(words(&[0; 4]));
    open.extend(field::<64>("signal"));
    open.extend(field::<64>("cpu"));
    message(0, "open", VIRTIO_VESPER_C_OPEN, &open);

    let mut metadata = words(&[1, 2]);
    metadata.extend(b"/* CTF 1.8 */");
    message(0, "metadata", VIRTIO_VESPER_C_METADATA, &metadata);
    for (name, kind) in [
        ("share", VIRTIO_VESPER_C_SHARE),
        ("unshare", VIRTIO_VESPER_C_UNSHARE),
        ("close", VIRTIO_VESPER_C_CLOSE),
    ] {
        message(0, name, kind, &words(&[1, u32::MAX, 0, 0]));
    }
    let mut result = words(&[2, 2, 0, 0]);
    result.extend(field::<64>("signal"));
    result.extend(field::<256>("unknown symbol"));
    message(0, "result", VIRTIO_VESPER_C_RESULT, &result);
    message(0, "goodbye", VIRTIO_VESPER_C_GOODBYE, &[]);
    message(1, "index", VIRTIO_VESPER_N_INDEX, &words(&[1, 0, 9, 0]));
    message(1, "panic", VIRTIO_VESPER_N_PANIC, &[]);
    message(
        2,
        "fragment",
        VIRTIO_VESPER_D_FRAGMENT,
        &words(&[1, 0, 0, 8]),
    );
    message(
        2,
        "index-page",
        VIRTIO_VESPER_D_FRAGMENT,
        &words(&[1, 0, u32::MAX, 1]),
    );

    let mut load = words(&[1000, 10, 0, 0]);
    load.extend(field::<64>("signal"));
    message(3, "load", VIRTIO_VESPER_L_LOAD, &load);
    let mut data = words(&[0, 0]);
    data.extend(b"\x7fELF");
    message(3, "data", VIRTIO_VESPER_L_DATA, &data);
    message(3, "unload", VIRTIO_VESPER_L_UNLOAD, &field::<64>("signal"));
    message(3, "cancel", VIRTIO_VESPER_L_CANCEL, &[]);
    message(3, "flush", VIRTIO_VESPER_L_FLUSH, &[]);
}

fn traces() {
    let text = signal_metadata(&[("f+0x1/0x2", 77), ("g", 99)]);
    put("tsdl", "signal", &text);
    let mut writer = PacketWriter::new(1);
    let mut packet = |time: u64| {
        writer.packet(&[
            signal_event(time, 1, "abc", 15, &[77, 2, 3]),
            signal_event(time + 1, -1, "", 99, &[]),
        ])
    };
    let first = packet(10);
    put("packet", "head", &first);
    put("packet", "name", field::<64>("signal"));
    let mut stream = vec![200];
    stream.extend(first);
    for time in 2..6 {
        stream.extend(packet(time * 10));
    }
    put("stream", "five-packets", &stream);
    let mut gaps = PacketWriter::new(0);
    let mut bytes = vec![7];
    bytes.extend(gaps.packet(&[signal_event(1, 1, "x", 1, &[])]));
    gaps.skip(3);
    gaps.discard(5);
    bytes.extend(gaps.packet(&[signal_event(2, 1, "y", 1, &[1])]));
    put("stream", "gaps", &bytes);
    let mut trace = text.into_bytes();
    trace.push(0);
    trace.extend(&stream[1..]);
    put("trace", "signal", &trace);
}

fn images() {
    let modinfo = b"license=GPL\0depends=\0name=signal\0vermagic=7.3.4 SMP \0";
    let plain = module_file::elf(Some(modinfo));
    put("image", "module", &plain);
    put("image", "no-modinfo", module_file::elf(None));
    let mut options = lzma_rust2::XzOptions::with_preset(6);
    options.set_check_sum_type(lzma_rust2::CheckType::Crc32);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).expect("an encoder");
    writer
        .write_all(&plain)
        .expect("an image that can be packed");
    put("image", "module.xz", writer.finish().expect("an image"));
    put("image", "gzip", b"\x1f\x8b\x08");
    put("image", "zstd", b"\x28\xb5\x2f\xfd");
}

/// What the guest's own parser gets: parameters, a zero, an image.
fn modules() {
    let modinfo = b"license=GPL\0parmtype=sig:int\0parm=comm_name:who\0depends=\0name=signal\0\
        vermagic=7.3.4 SMP \0";
    let plain = module_file::elf(Some(modinfo));
    let mut signed = plain.clone();
    signed.extend(b"pkcs7");
    signed.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    signed.extend(b"~Module signature appended~\n");
    for (name, params, image) in [
        ("plain", "sig=10", &plain),
        ("undeclared", "sig=10 sgi=3", &plain),
        ("quoted", "comm-name=\"a b=c\" \"sig=1\" -- x=y", &plain),
        ("none", "", &plain),
        ("signed", "comm_name=x", &signed),
        ("signed-undeclared", "what", &signed),
        ("no-modinfo", "sig=1", &module_file::elf(None)),
        ("no-name", "", &module_file::elf(Some(b"vermagic=7.3.4\0"))),
        ("no-vermagic", "", &module_file::elf(Some(b"name=x\0"))),
        ("compressed", "", &b"\xfd7zXZ\0\0\x01".to_vec()),
        ("script", "", &b"#!/bin/sh\n".to_vec()),
    ] {
        put("module", name, [params.as_bytes(), &[0], image].concat());
    }
}

/// A pattern, a line's end, a path.
fn patterns() {
    for (name, text) in [
        ("plain", "block/vda/trace0\nblock/vda/trace0"),
        ("other", "block/vda/trace0\nblock/vda/trace1"),
        ("one-star", "block/*/trace0\nblock/vda/trace0"),
        ("one-star-other", "block/*\nblock/vda/trace0"),
        ("two-stars", "*/vd?/tr*0\nblock/vda/trace0"),
        ("two-stars-other", "*a*b\nxxbxxa"),
        ("three-stars", "*/*/*\nblock/vda/trace0"),
        ("three-stars-other", "*a*b*c\na/bc"),
        ("retry", "*aab?\naaaabb"),
        ("slash", "/block\nblock"),
        ("behind", "block\0x\nblock"),
        (
            "no-end",
            "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*\
             a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*\n\
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
        ),
    ] {
        put("pattern", name, text);
    }
}

fn kept_probes() {
    put(
        "keep",
        "two",
        "# ours\n[[keep]]\ndomain = \"web1\"\nprobe = \"memory\"\nparams = [\"pid=3\", \"comm=a b\"]\n\n\
         [[keep]]\ndomain = \"web2\"\nprobe = \"/lib/x.ko\"\nname = \"y\"\n",
    );
    put(
        "keep",
        "inline",
        "keep = [{ domain = \"web1\", probe = \"net\" }]\n",
    );
}

fn command_lines() {
    for (name, line) in [
        ("domains", "domains\n--json"),
        (
            "load",
            "load\nweb1\nsignal.ko\nsig=10\ncomm=\"a b\"\n--timeout\n1m30s\n--name\nx",
        ),
        ("unload", "unload\nweb1\nsignal\n--timeout\n0"),
        ("list", "list\nweb1"),
        ("cat", "cat\nweb1/signal@3\n--follow\n--json"),
        ("cat-from", "cat\n--from\n/tmp/copy"),
        ("stat", "stat\nweb1/signal"),
        (
            "record",
            "record\nweb1\nweb2/signal\n-o\n/tmp/trace\n--for\n10m\n--continue\n--wait",
        ),
        (
            "keep",
            "keep\nadd\nweb1\nmemory\npid=3\n--name\nx\n--config\n/tmp/keep.toml",
        ),
        ("help", "load\n--help"),
        ("completions", "completions\nbash"),
    ] {
        put("command-line", name, line);
    }
}

fn main() {
    messages();
    traces();
    images();
    modules();
    patterns();
    kept_probes();
    command_lines();
}
