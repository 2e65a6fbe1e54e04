// SPDX-License-Identifier: GPL-2.0

//! Metadata text with another clock and more of an environment.

#![cfg(feature = "writer")]

use vesper_ctf::clock::Clock;
use vesper_ctf::metadata::EnvValue;
use vesper_ctf::rewrite::{rewrite, ClockBlock};
use vesper_ctf::tsdl;
use vesper_ctf::writer::signal_metadata;

fn block() -> ClockBlock {
    ClockBlock {
        clock: Clock::anchored("", 2_450_000_123, 77, 1_800_000_000_000_000_001),
        uuid: [0xab; 16],
        description: "TSC of \"web1\"\n".into(),
        precision: 5,
    }
}

#[test]
fn only_clock_and_environment_change() {
    let text = signal_metadata(&[("do_send_sig_info+0x4f/0x90", 0xffff_ffff_8110_f14f)]);
    let old = tsdl::parse(text.as_bytes()).unwrap();
    let env = [("domain", "the \"other\\ one"), ("boot", "x")];
    let new = rewrite(text.as_bytes(), &env, Some(&block())).unwrap();
    let new = tsdl::parse(&new).unwrap();
    assert!(new.extends(&old));
    assert_eq!(new.events, old.events);
    assert_eq!(
        new.clock(),
        Clock {
            name: "vesper_tsc".into(),
            description: b"TSC of \"web1\"?".into(),
            ..block().clock
        }
    );
    assert_eq!(new.env_text("domain"), Some(&b"the \"other\\ one"[..]));
    assert_eq!(new.env_text("boot"), Some(&b"x"[..]));
    assert_eq!(new.env_text("module"), Some(&b"signal"[..]));
    assert!(new
        .env
        .contains(&("tracer_major".into(), EnvValue::Integer(1))));
    assert_eq!(new.env.len(), old.env.len() + 1);
}

#[test]
fn again_is_the_same() {
    let text = signal_metadata(&[]);
    let env = [("domain", "web1")];
    let once = rewrite(text.as_bytes(), &env, Some(&block())).unwrap();
    assert_eq!(rewrite(&once, &env, Some(&block())).unwrap(), once);
}

#[test]
fn a_text_without_environment_gets_one() {
    let text = signal_metadata(&[]);
    let from = text.find("env {").unwrap();
    let to = text[from..].find("};").unwrap() + from + 2;
    let bare = format!("{}{}", &text[..from], &text[to..]);
    let new = rewrite(bare.as_bytes(), &[("domain", "web1")], None).unwrap();
    let new = tsdl::parse(&new).unwrap();
    assert_eq!(new.env_text("domain"), Some(&b"web1"[..]));
}
