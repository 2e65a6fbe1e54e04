// SPDX-License-Identifier: GPL-2.0

//! Run in user space, see the top of the parent.

use super::*;

/// A message of `T`'s size, or of another, of the right kind.
fn message(kind: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    put_head(&mut bytes, kind, 7);
    bytes
}

fn put_name(bytes: &mut [u8], at: usize, name: &str) {
    put(bytes, at, name.as_bytes());
}

fn parse(bytes: &[u8]) -> Result<Control<'_>, Fault> {
    control(&head(bytes)?, bytes)
}

#[test]
fn heads() {
    let bytes = message(raw::VIRTIO_VESPER_C_GOODBYE, HDR);
    let it = head(&bytes).unwrap();
    assert_eq!((it.kind, it.flags, it.id), (0x108, 0, 7));
    assert!(matches!(parse(&bytes), Ok(Control::Goodbye)));
    assert!(matches!(head(&bytes[..HDR - 1]), Err(Fault::Broken(_))));
    assert!(matches!(head(&[]), Err(Fault::Broken(_))));
    let mut long = bytes.clone();
    long.push(0);
    assert!(matches!(head(&long), Err(Fault::Broken(_))));
    let mut reserved = bytes;
    reserved[12] = 1;
    assert!(matches!(head(&reserved), Err(Fault::Broken(_))));
}

#[test]
fn every_length_of_every_kind_is_taken_or_refused() {
    for kind in 0x0100..0x0500 {
        for len in 0..700 {
            let bytes = message(kind, len);
            let Ok(it) = head(&bytes) else { continue };
            let _ = control(&it, &bytes);
            let _ = notify(&it, &bytes);
            let _ = fragment(&it, &bytes);
            let _ = beat(&it, &bytes);
        }
    }
}

#[test]
fn opens() {
    type T = raw::virtio_vesper_open;
    let mut bytes = message(raw::VIRTIO_VESPER_C_OPEN, size_of::<T>());
    assert!(matches!(parse(&bytes), Err(Fault::Invalid)), "no names");
    put_name(&mut bytes, offset_of!(T, module), "signal");
    put_name(&mut bytes, offset_of!(T, channel), "cpu");
    put(
        &mut bytes,
        offset_of!(T, subbuf_size),
        &65536u32.to_le_bytes(),
    );
    let Ok(Control::Open(open)) = parse(&bytes) else {
        panic!()
    };
    assert_eq!(open.subbuf_size, 65536);
    assert_eq!(abi::name(&open.module), Some(&b"signal"[..]));
    bytes[offset_of!(T, reserved) + 15] = 1;
    assert!(matches!(parse(&bytes), Err(Fault::Invalid)));
    bytes[offset_of!(T, reserved) + 15] = 0;
    put_name(&mut bytes, offset_of!(T, channel), "c/u");
    assert!(matches!(parse(&bytes), Err(Fault::Invalid)));
}

#[test]
fn targets() {
    type T = raw::virtio_vesper_buffer;
    let mut bytes = message(raw::VIRTIO_VESPER_C_UNSHARE, size_of::<T>());
    put(&mut bytes, offset_of!(T, channel), &3u32.to_le_bytes());
    put(&mut bytes, offset_of!(T, buffer), &u32::MAX.to_le_bytes());
    let Ok(Control::Unshare(target, false)) = parse(&bytes) else {
        panic!()
    };
    assert_eq!((target.channel, target.buffer), (3, None));
    bytes[2] = raw::VIRTIO_VESPER_MSG_AGAIN as u8;
    assert!(matches!(parse(&bytes), Ok(Control::Unshare(_, true))));
    bytes[2] = 1;
    assert!(matches!(parse(&bytes), Err(Fault::Invalid)), "flags");
}

#[test]
fn metadata_is_what_follows() {
    type T = raw::virtio_vesper_metadata;
    let bytes = message(raw::VIRTIO_VESPER_C_METADATA, size_of::<T>() + 5);
    assert!(matches!(parse(&bytes), Ok(Control::Metadata { text, .. }) if text.len() == 5));
    let bytes = message(raw::VIRTIO_VESPER_C_METADATA, size_of::<T>() - 1);
    assert!(matches!(parse(&bytes), Err(Fault::Broken(_))));
}

#[test]
fn results() {
    type T = raw::virtio_vesper_result;
    let mut bytes = message(raw::VIRTIO_VESPER_C_RESULT, size_of::<T>());
    assert!(matches!(parse(&bytes), Ok(Control::Result(_))), "nameless");
    put(&mut bytes, offset_of!(T, text), b"no\x1bescape");
    assert!(matches!(parse(&bytes), Err(Fault::Invalid)));
    put(&mut bytes, offset_of!(T, text), b"plain text\0rest");
    let Ok(Control::Result(outcome)) = parse(&bytes) else {
        panic!()
    };
    assert_eq!(&outcome.text[..16], b"plain text\0\0\0\0\0\0");
    bytes[offset_of!(T, text)..].fill(b'x');
    assert!(
        matches!(parse(&bytes), Err(Fault::Invalid)),
        "not terminated"
    );
}

#[test]
fn fragments() {
    type T = raw::virtio_vesper_fragment;
    let mut bytes = message(raw::VIRTIO_VESPER_D_FRAGMENT, size_of::<T>());
    let it = head(&bytes).unwrap();
    assert_eq!(fragment(&it, &bytes), Err(Fault::Invalid), "no pages");
    put(&mut bytes, offset_of!(T, nr_pages), &1u32.to_le_bytes());
    put(&mut bytes, offset_of!(T, first), &u32::MAX.to_le_bytes());
    assert_eq!(fragment(&it, &bytes).unwrap().first, None);
    put(&mut bytes, offset_of!(T, nr_pages), &1023u32.to_le_bytes());
    assert_eq!(fragment(&it, &bytes), Err(Fault::Invalid));
}

#[test]
fn pages_of_the_heartbeat() {
    type T = raw::virtio_vesper_fragment;
    let mut bytes = message(raw::VIRTIO_VESPER_D_BEAT, size_of::<T>());
    let it = head(&bytes).unwrap();
    assert_eq!(beat(&it, &bytes), Err(Fault::Invalid), "no pages");
    put(&mut bytes, offset_of!(T, nr_pages), &2u32.to_le_bytes());
    assert_eq!(beat(&it, &bytes), Err(Fault::Invalid), "not for writing");
    put(&mut bytes, offset_of!(T, first), &u32::MAX.to_le_bytes());
    assert_eq!(beat(&it, &bytes), Ok(2));
    put(&mut bytes, offset_of!(T, buffer), &1u32.to_le_bytes());
    assert_eq!(beat(&it, &bytes), Err(Fault::Invalid), "of no buffer");
    let short = message(raw::VIRTIO_VESPER_D_BEAT, size_of::<T>() - 4);
    let it = head(&short).unwrap();
    assert!(matches!(beat(&it, &short), Err(Fault::Broken(_))));
}

#[test]
fn packets_of_the_dead() {
    type T = raw::virtio_vesper_packet;
    let mut head = [0; PACKET_LEN];
    put(&mut head, offset_of!(T, tsc_begin), &50u64.to_le_bytes());
    close_packet(&mut head, 100, 40, 6, 2);
    assert_eq!(
        u64_at(&head, offset_of!(T, tsc_end)),
        50,
        "never before it began"
    );
    assert_eq!(u64_at(&head, offset_of!(T, content_bits)), 800);
    assert_eq!(u64_at(&head, offset_of!(T, packet_bits)), 800);
    assert_eq!(u64_at(&head, offset_of!(T, sequence)), 6);
    assert_eq!(u64_at(&head, offset_of!(T, discarded)), 2);
}

#[test]
fn messages_for_the_guest_say_how_long_they_are() {
    let mut name = [0; NAME_LEN];
    name[0] = b'm';
    for bytes in [
        &load(1, &name, 2, 3)[..],
        &unload(1, &name),
        &cancel(1),
        &reply(
            &Head {
                kind: 0x101,
                flags: 0,
                id: 1,
            },
            0,
            0,
        ),
    ] {
        assert_eq!(head(bytes).unwrap().id, 1);
    }
    let bytes = data(9, 4096, 100);
    assert_eq!(u32_at(&bytes, 4) as usize, DATA_HEAD + 100);
}
