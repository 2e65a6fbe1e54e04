// SPDX-License-Identifier: GPL-2.0

//! The host module's own parser of what guests send, and its unit tests.

#![allow(dead_code)] // The module takes more of it than this.

#[path = "../../../common/abi.rs"]
mod abi;
mod bindings {
    pub(crate) use vesper_abi::bindings::*;
}
#[path = "../../../host/message.rs"]
mod message;

use message::{Control, Fault, Notify};

fn fault(queue: &str, fault: Fault) -> String {
    match fault {
        Fault::Broken(why) => format!("{queue} broken: {why}"),
        Fault::Invalid => format!("{queue} invalid"),
    }
}

/// What the parser promises of what it lets through.
fn check(message: &Control<'_>) -> &'static str {
    let name = |field| abi::name(field).expect("a name by the rule");
    let text = |field: &[u8]| assert!(field.contains(&0), "a text that ends");
    match message {
        Control::Hello(hello) => {
            text(&hello.release);
            text(&hello.vermagic);
            "hello"
        }
        Control::Open(open) => {
            name(&open.module);
            name(&open.channel);
            "open"
        }
        Control::Metadata { .. } => "metadata",
        Control::Share(_) => "share",
        Control::Unshare(..) => "unshare",
        Control::Close(_) => "close",
        Control::Result(outcome) => {
            if outcome.module[0] != 0 {
                name(&outcome.module);
            }
            text(&outcome.text);
            "result"
        }
        Control::Goodbye => "goodbye",
    }
}

fn run(bytes: &[u8]) -> String {
    // The first byte says on which queue the rest came.
    let Some((queue, bytes)) = bytes.split_first() else {
        return "nothing".into();
    };
    let head = match message::head(bytes) {
        Ok(head) => head,
        Err(e) => return fault("head", e),
    };
    match queue % 3 {
        0 => match message::control(&head, bytes) {
            Ok(control) => format!("ok {}", check(&control)),
            Err(e) => fault("control", e),
        },
        1 => match message::notify(&head, bytes) {
            Ok(Notify::Index { .. }) => "ok index".into(),
            Ok(Notify::Panic) => "ok panic".into(),
            Err(e) => fault("notify", e),
        },
        _ if head.kind == bindings::VIRTIO_VESPER_D_BEAT => match message::beat(&head, bytes) {
            Ok(nr_pages) => {
                assert_ne!(nr_pages, 0);
                "ok beat".into()
            }
            Err(e) => fault("beat", e),
        },
        _ => match message::fragment(&head, bytes) {
            Ok(fragment) => {
                assert!((1..=1022).contains(&fragment.nr_pages));
                format!("ok fragment {}", fragment.first.is_some())
            }
            Err(e) => fault("fragment", e),
        },
    }
}

#[test]
fn messages_of_a_guest() {
    vesper_fuzz::fuzz("host", run);
}
