// SPDX-License-Identifier: GPL-2.0

//! Every type once, each rule broken once, and whatever else comes.

use proptest::prelude::*;
use zerocopy::FromZeros;

use super::*;
use crate::endian::Le64;
use crate::name::name_field;

fn head(kind: u32) -> Head {
    Head {
        kind: kind as u16,
        flags: 0,
        id: 7,
    }
}

/// What a struct has behind its head.
fn body(raw: &(impl IntoBytes + Immutable)) -> Vec<u8> {
    raw.as_bytes()[HDR_LEN..].to_vec()
}

fn open_message() -> Vec<u8> {
    let mut raw = bindings::virtio_vesper_open::new_zeroed();
    raw.subbuf_size = Le32::new(8192);
    raw.n_subbufs = Le32::new(8);
    raw.nr_buffers = Le32::new(2);
    raw.flags = Le32::new(bindings::VIRTIO_VESPER_CHAN_CTF);
    raw.module = name_field("signal").unwrap();
    raw.channel = name_field("ch").unwrap();
    build(head(bindings::VIRTIO_VESPER_C_OPEN), &body(&raw)[..], &[])
}

fn hello_message() -> Vec<u8> {
    let mut raw = bindings::virtio_vesper_hello::new_zeroed();
    raw.abi_version = Le32::new(bindings::VIRTIO_VESPER_ABI_VERSION);
    raw.nr_cpus = Le32::new(2);
    raw.tsc_khz = Le64::new(2_450_000);
    raw.release[..5].copy_from_slice(b"7.3.4");
    build(head(bindings::VIRTIO_VESPER_C_HELLO), &body(&raw)[..], &[])
}

fn words(queue: Queue, kind: u32, words: &[u32]) -> Result<Message<'static>> {
    let words: Vec<Le32> = words.iter().copied().map(Le32::new).collect();
    let bytes = build(head(kind), &words[..], &[]);
    match parse(queue, &bytes)?.1 {
        Message::Share(buffer) => Ok(Message::Share(buffer)),
        Message::Fragment {
            channel,
            buffer,
            first,
            nr_pages,
        } => Ok(Message::Fragment {
            channel,
            buffer,
            first,
            nr_pages,
        }),
        Message::Panic => Ok(Message::Panic),
        Message::Goodbye => Ok(Message::Goodbye),
        Message::Flush => Ok(Message::Flush),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_open_channel() {
    let bytes = open_message();
    let (head, message) = parse(Queue::Control, &bytes).unwrap();
    assert_eq!(head.id, 7);
    let Message::Open(open) = message else {
        panic!("{message:?}");
    };
    assert_eq!((open.module, open.channel), ("signal", "ch"));
    assert_eq!(
        (open.subbuf_size, open.n_subbufs, open.nr_buffers),
        (8192, 8, 2)
    );
}

#[test]
fn every_rule_of_open() {
    let at = |field: usize, value: u8| {
        let mut bytes = open_message();
        bytes[field] = value;
        parse(Queue::Control, &bytes).map(|_| ()).unwrap_err()
    };
    type Raw = bindings::virtio_vesper_open;
    let flags = core::mem::offset_of!(Raw, flags);
    assert_eq!(at(flags, 0x82), MessageError::Flags(0x80));
    assert_eq!(at(flags, 0x06), MessageError::Flags(4), "a reserved bit");
    let size = core::mem::offset_of!(Raw, subbuf_size);
    assert_eq!(at(size, 1), MessageError::Range("the size of the buffers"));
    let reserved = core::mem::offset_of!(Raw, reserved);
    assert_eq!(at(reserved + 15, 1), MessageError::Reserved);
    let module = core::mem::offset_of!(Raw, module);
    assert_eq!(at(module, b'.'), NameError::LeadingDot.into());
    assert_eq!(at(module + 1, b'/'), NameError::Byte(b'/').into());
    assert_eq!(at(module + 63, b'x'), NameError::Trailing.into());
}

#[test]
fn heads_are_checked_first() {
    let good = open_message();
    let break_at = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        parse(Queue::Control, &bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(break_at(0, 0x77), MessageError::Type(0x0177));
    assert_eq!(break_at(2, 1), MessageError::Flags(1));
    assert_eq!(break_at(12, 1), MessageError::Reserved);
    assert!(matches!(break_at(4, 0), MessageError::Length { .. }));
    assert!(matches!(
        parse(Queue::Control, &good[..good.len() - 1]),
        Err(MessageError::Length { .. })
    ));
    assert!(matches!(
        parse(Queue::Control, &good[..10]),
        Err(MessageError::Short { .. })
    ));
    assert_eq!(
        parse(Queue::Notify, &build(head(0x101), &[0u8; 16][..], &[])).map(|_| ()),
        Err(MessageError::Type(0x101))
    );
}

#[test]
fn hello_says_who() {
    let bytes = hello_message();
    let Ok((_, Message::Hello(hello))) = parse(Queue::Control, &bytes) else {
        panic!("no hello");
    };
    assert_eq!((hello.nr_cpus, hello.tsc_khz), (2, 2_450_000));
    assert_eq!(hello.release, b"7.3.4");
    let mut endless = bytes;
    let release = core::mem::offset_of!(bindings::virtio_vesper_hello, release);
    endless[release..release + 128].fill(b'x');
    assert_eq!(
        parse(Queue::Control, &endless).map(|_| ()),
        Err(MessageError::Text)
    );
}

#[test]
fn small_ones() {
    let share = bindings::VIRTIO_VESPER_C_SHARE;
    assert_eq!(
        words(Queue::Control, share, &[5, u32::MAX, 0, 0]),
        Ok(Message::Share(Buffer {
            channel: 5,
            buffer: None
        }))
    );
    assert_eq!(
        words(Queue::Control, share, &[5, 1, 0, 1]),
        Err(MessageError::Reserved)
    );
    let goodbye = bindings::VIRTIO_VESPER_C_GOODBYE;
    assert_eq!(words(Queue::Control, goodbye, &[]), Ok(Message::Goodbye));
    assert!(matches!(
        words(Queue::Control, goodbye, &[0]),
        Err(MessageError::Long { .. })
    ));
    let panic = bindings::VIRTIO_VESPER_N_PANIC;
    assert_eq!(words(Queue::Notify, panic, &[0; 4]), Ok(Message::Panic));
    let flush = bindings::VIRTIO_VESPER_L_FLUSH;
    assert_eq!(words(Queue::Loader, flush, &[]), Ok(Message::Flush));
    let fragment = bindings::VIRTIO_VESPER_D_FRAGMENT;
    let index = bindings::VIRTIO_VESPER_INDEX_FRAGMENT;
    assert!(words(Queue::Lend, fragment, &[1, 0, 0, 1022]).is_ok());
    assert!(words(Queue::Lend, fragment, &[1, 0, index, 1]).is_ok());
    for (first, pages) in [(0, 0), (0, 1023), (index, 2)] {
        assert_eq!(
            words(Queue::Lend, fragment, &[1, 0, first, pages]),
            Err(MessageError::Range("nr_pages"))
        );
    }
}

#[test]
fn loading() {
    let kind = bindings::VIRTIO_VESPER_L_LOAD;
    let mut raw = bindings::virtio_vesper_load::new_zeroed();
    raw.image_len = Le32::new(100);
    raw.params_len = Le32::new(4096);
    raw.module = name_field("signal").unwrap();
    let bytes = build(head(kind), &body(&raw)[..], &[]);
    assert_eq!(
        parse(Queue::Loader, &bytes).unwrap().1,
        Message::Load {
            module: "signal",
            image_len: 100,
            params_len: 4096
        }
    );
    for (image, params, what) in [
        (0, 0, "image_len"),
        ((64 << 20) + 1, 0, "image_len"),
        (1, 4097, "params_len"),
    ] {
        raw.image_len = Le32::new(image);
        raw.params_len = Le32::new(params);
        let bytes = build(head(kind), &body(&raw)[..], &[]);
        let result = parse(Queue::Loader, &bytes).map(|_| ());
        assert_eq!(result, Err(MessageError::Range(what)));
    }
}

proptest! {
    #[test]
    fn bytes_follow_the_fixed_part(channel: u32, section in 0..4u32, text: Vec<u8>, offset: u32) {
        let words = [Le32::new(channel), Le32::new(section)];
        let bytes = build(head(bindings::VIRTIO_VESPER_C_METADATA), &words, &text);
        prop_assert_eq!(
            parse(Queue::Control, &bytes).unwrap().1,
            Message::Metadata { channel, section, text: &text }
        );
        let words = [Le32::new(offset), Le32::new(0)];
        let bytes = build(head(bindings::VIRTIO_VESPER_L_DATA), &words, &text);
        prop_assert_eq!(
            parse(Queue::Loader, &bytes).unwrap().1,
            Message::Data { offset, bytes: &text }
        );
    }

    #[test]
    fn never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        kind in prop::sample::select(vec![
            0x101u16, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107, 0x108, 0x201, 0x301, 0x302, 0x401,
            0x402, 0x403, 0x404, 0x405, 0,
        ]),
        queue in prop::sample::select(vec![Queue::Loader, Queue::Lend, Queue::Control, Queue::Notify]),
        honest: bool,
    ) {
        let bytes = if honest {
            let head = Head { kind, flags: 0, id: 0 };
            build(head, &bytes[..], &[])
        } else {
            bytes
        };
        let _ = parse(queue, &bytes);
    }

    #[test]
    fn never_panics_on_a_damaged_one(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        which: bool,
    ) {
        let mut bytes = if which { open_message() } else { hello_message() };
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = parse(Queue::Control, &bytes);
    }
}
