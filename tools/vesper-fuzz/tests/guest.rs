// SPDX-License-Identifier: GPL-2.0

//! What is made in a guest's kernel of an operator's arguments (by the group "any"), of module
//! images with their parameters, and, as in the host's, of patterns of channels. And the unit
//! tests of those.

#![allow(dead_code)] // Kernels take more of it than this.

use std::collections::BTreeMap;

#[path = "../../../probes/any/args.rs"]
mod args;
#[path = "../../../guest/loader/image.rs"]
mod image;
#[path = "../../../common/pattern.rs"]
mod pattern;

use args::{Arg, At, MAX_DEREFS, REGISTERS};
use pattern::PATTERN_LEN;

/// Each of these was part of an outcome, and one input in ten was good at least: what is behind
/// the first check was met.
fn varied(outcomes: &BTreeMap<String, u64>, parts: &[&str]) {
    let met = |part: &str| -> u64 {
        let with = outcomes
            .iter()
            .filter(|(outcome, _)| outcome.contains(part));
        with.map(|(_, n)| n).sum()
    };
    for part in parts {
        assert!(met(part) > 0, "never: {part}, of {outcomes:?}");
    }
    assert!(met("ok ") * 10 > met(""), "too few are good: {outcomes:?}");
}

#[test]
fn arguments() {
    vesper_fuzz::fuzz("args", |bytes| match Arg::parse(bytes) {
        Ok(arg) => {
            assert!(arg.offsets().len() <= MAX_DEREFS);
            if let args::Base::Register(number) = arg.base {
                assert!(number < REGISTERS.len());
            }
            let has = |at: At| if at.has(arg.base).is_ok() { '+' } else { '-' };
            let places = [At::Function, At::Call, At::Tracepoint].map(has);
            let places = String::from_iter(places);
            format!("ok {places} {} {:?}", arg.offsets().len(), arg.kind)
        }
        Err(why) => why.into(),
    });
}

/// Parameters, a zero, an image.
fn module(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let (params, rest) = bytes.split_at(end);
    let image = rest.get(1..).unwrap_or_default();
    let signature = image::signature(image);
    if let Some((contents, signature)) = signature {
        // What is between is said of the signature, in 12 and 28 bytes.
        assert!(image.starts_with(contents));
        assert_eq!(contents.len() + signature.len() + 12 + 28, image.len());
    }
    let contents = signature.map_or(image, |(contents, _)| contents);
    let has = |key: &[u8]| {
        let value = image::modinfo(contents, key);
        assert!(value.is_none_or(|value| !value.contains(&0)));
        value.is_some()
    };
    let (name, vermagic) = (has(b"name"), has(b"vermagic"));
    let undeclared = image::undeclared(contents, params);
    if let Some(name) = undeclared {
        assert!(!name.is_empty());
        assert!(params.windows(name.len()).any(|part| part == name));
    }
    if image::is_xz(image) {
        return "compressed".into();
    }
    if !image::is_module(image) {
        return "no module".into();
    }
    if !name && !vermagic {
        return "no modinfo".into();
    }
    format!(
        "ok name {name} vermagic {vermagic} signed {} undeclared {}",
        signature.is_some(),
        undeclared.is_some()
    )
}

#[test]
fn modules() {
    let outcomes = vesper_fuzz::fuzz("module", module);
    varied(
        &outcomes,
        &[
            "compressed",
            "no module",
            "no modinfo",
            "name false",
            "vermagic false",
            "signed true undeclared true",
            "signed true undeclared false",
            "signed false undeclared true",
            "signed false undeclared false",
        ],
    );
}

/// More than the kernel's.
const MAX_PATH: usize = 5000;

/// What the header says of a pattern, by the plainest way: all places in the path to which what
/// there is of the pattern can lead.
fn stands_for(pattern: &[u8], path: &[u8]) -> bool {
    let mut places = vec![false; path.len() + 1];
    places[0] = true;
    for &c in pattern {
        let before = places.clone();
        for at in 0..places.len() {
            let last = at.checked_sub(1).map(|last| (last, path[last]));
            places[at] = match (c, last) {
                (b'*', last) => {
                    before[at] || last.is_some_and(|(last, got)| got != b'/' && places[last])
                }
                (_, None) => false,
                (b'?', Some((last, got))) => before[last] && got != b'/',
                (c, Some((last, got))) => before[last] && got == c,
            };
        }
    }
    places[path.len()]
}

/// The field of a pattern up to the end of the line, without its last zeros, then a path.
fn channels(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == b'\n');
    let (text, path) = bytes.split_at(end.unwrap_or(bytes.len()));
    let path = path.get(1..).unwrap_or_default();
    let path = &path[..path.len().min(MAX_PATH)];
    let mut field = [0; PATTERN_LEN];
    let len = text.len().min(PATTERN_LEN);
    field[..len].copy_from_slice(&text[..len]);
    // Also what is no pattern by the rule.
    let matches = pattern::matches(&field[..len], path);
    assert_eq!(matches, stands_for(&field[..len], path));
    let Some(it) = pattern::pattern(&field) else {
        let end = field.iter().position(|&b| b == 0);
        return match end {
            None => "no end",
            Some(end) if pattern::pattern_ok(&field[..end]) => "something behind the end",
            Some(_) => "against the rule",
        }
        .into();
    };
    assert!(pattern::pattern_ok(it));
    assert!(field[..it.len()] == *it && field[it.len()..].iter().all(|&b| b == 0));
    let matches = pattern::matches(it, path);
    let stars = it.iter().filter(|&&b| b == b'*').count();
    format!("ok {matches} {} stars", stars.min(3))
}

#[test]
fn patterns() {
    let outcomes = vesper_fuzz::fuzz("pattern", channels);
    varied(
        &outcomes,
        &[
            "no end",
            "something behind",
            "against the rule",
            "true 0 stars",
            "true 1 stars",
            "true 2 stars",
            "true 3 stars",
            "false 0 stars",
            "false 1 stars",
            "false 2 stars",
            "false 3 stars",
        ],
    );
}
