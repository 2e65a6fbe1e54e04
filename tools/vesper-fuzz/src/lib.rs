// SPDX-License-Identifier: GPL-2.0

//! Fuzzing of parsers, from a corpus that is kept.
//!
//! cargo-fuzz wants a nightly compiler, which the packaged tool chain is not.
//! Here inputs are made from the files below `corpus/TARGET`, by a few
//! mutations each, so that most of an input is right and the checks behind the
//! first one are met; proptest runs them, makes a failing one small, and keeps
//! it. What guides the growth of the corpus is not coverage of code but the
//! outcome that a target reports: with `VESPER_FUZZ_KEEP` set, an input that
//! leads to an outcome not met before becomes a file of the corpus.
//!
//! `VESPER_FUZZ_CASES` says how many inputs a target gets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestError, TestRunner};

/// Inputs of each target, unless the environment says otherwise.
const CASES: u32 = 3000;

/// Longest input.
const MAX_LEN: usize = 64 << 10;

/// Numbers at which lengths, counts and offsets go wrong.
const ODD: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    4095,
    4096,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 63,
    u64::MAX,
];

/// One step away from what is right.
#[derive(Debug, Clone)]
enum Mutation {
    /// Sets a byte.
    Set(Index, u8),
    /// Turns a bit.
    Turn(Index, u8),
    /// Writes a number that means trouble, in 1, 2, 4 or 8 bytes.
    Odd(Index, Index, u8),
    /// Adds a little to a byte.
    Add(Index, i8),
    /// Puts bytes in.
    Insert(Index, Vec<u8>),
    /// Takes bytes out.
    Remove(Index, Index),
    /// Repeats a stretch.
    Repeat(Index, Index, u8),
    /// Goes on as another file of the corpus does.
    Splice(Index, Index, Index),
    /// Takes a word of the same file to another place.
    Word(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(a, b)| Mutation::Set(a, b)),
        4 => (at(), 0..8u8).prop_map(|(a, b)| Mutation::Turn(a, b)),
        6 => (at(), at(), 0..4u8).prop_map(|(a, n, size)| Mutation::Odd(a, n, size)),
        4 => (at(), any::<i8>()).prop_map(|(a, n)| Mutation::Add(a, n)),
        2 => (at(), proptest::collection::vec(any::<u8>(), 1..9)).prop_map(|(a, b)| Mutation::Insert(a, b)),
        2 => (at(), at()).prop_map(|(a, b)| Mutation::Remove(a, b)),
        1 => (at(), at(), 1..40u8).prop_map(|(a, b, n)| Mutation::Repeat(a, b, n)),
        2 => (at(), at(), at()).prop_map(|(f, a, b)| Mutation::Splice(f, a, b)),
        2 => (at(), at()).prop_map(|(a, b)| Mutation::Word(a, b)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let len = bytes.len();
        let stretch = |a: &Index, b: &Index| {
            let (a, b) = (a.index(len), b.index(len));
            a.min(b)..a.max(b)
        };
        match self {
            Self::Set(at, byte) => bytes[at.index(len)] = *byte,
            Self::Turn(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Self::Odd(at, which, size) => {
                let number = ODD[which.index(ODD.len())].to_le_bytes();
                // Fields are aligned, mostly to four bytes.
                let at = at.index(len) & !3;
                for (to, from) in bytes[at..].iter_mut().zip(&number[..1 << size]) {
                    *to = *from;
                }
            }
            Self::Add(at, n) => {
                let byte = &mut bytes[at.index(len)];
                *byte = byte.wrapping_add_signed(n % 8);
            }
            Self::Insert(at, new) => {
                let at = at.index(len);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(a, b) => drop(bytes.drain(stretch(a, b))),
            Self::Repeat(a, b, n) => {
                let range = stretch(a, b);
                let again = bytes[range.clone()].repeat((*n).into());
                bytes.splice(range.end..range.end, again);
            }
            Self::Splice(file, a, b) => {
                let other = &corpus[file.index(corpus.len())];
                bytes.truncate(a.index(len));
                if !other.is_empty() {
                    bytes.extend(&other[b.index(other.len())..]);
                }
            }
            Self::Word(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                let end = (from + 4).min(len);
                let word = bytes[from..end].to_vec();
                for (to, from) in bytes[to..].iter_mut().zip(word) {
                    *to = from;
                }
            }
        }
        bytes.truncate(MAX_LEN);
    }
}

fn corpus_dir(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

fn read_corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = corpus_dir(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a corpus that can be read").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a corpus that can be read"))
        .collect()
}

fn keep(target: &str, outcome: &str, bytes: &[u8]) {
    let name: String = outcome
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(60)
        .collect();
    fs::write(corpus_dir(target).join(name), bytes).expect("a corpus that can be written");
}

/// Feeds `run` with every file of the target's corpus, and with inputs made of
/// them.
///
/// `run` names the outcome: "ok" and what was found, or what was wrong, with
/// few different words. It fails by panicking, and the test does so too if no
/// input was good or none was bad. Returns how often each outcome was met.
pub fn fuzz(target: &str, run: impl Fn(&[u8]) -> String) -> BTreeMap<String, u64> {
    let corpus = read_corpus(target);
    assert!(!corpus.is_empty(), "no corpus of {target}");
    let keeping = std::env::var_os("VESPER_FUZZ_KEEP").is_some();
    let cases = match std::env::var("VESPER_FUZZ_CASES") {
        Ok(cases) => cases.parse().expect("VESPER_FUZZ_CASES: a number"),
        Err(_) => CASES,
    };
    let outcomes = RefCell::new(BTreeMap::new());
    let count = |bytes: &[u8], new: bool| {
        let outcome = run(bytes);
        let mut outcomes = outcomes.borrow_mut();
        if new && keeping && !outcomes.contains_key(&outcome) {
            keep(target, &outcome, bytes);
        }
        *outcomes.entry(outcome).or_insert(0u64) += 1;
    };
    for bytes in &corpus {
        count(bytes, false);
    }
    let config = Config {
        cases,
        source_file: Some(file!()),
        max_shrink_iters: 10_000,
        ..Config::default()
    };
    let input = (any::<Index>(), proptest::collection::vec(mutation(), 0..6));
    let result = TestRunner::new(config).run(&input, |(file, mutations)| {
        let mut bytes = corpus[file.index(corpus.len())].clone();
        for mutation in &mutations {
            mutation.apply(&mut bytes, &corpus);
        }
        count(&bytes, true);
        Ok(())
    });
    if let Err(TestError::Fail(why, (file, mutations))) = &result {
        let mut bytes = corpus[file.index(corpus.len())].clone();
        for mutation in mutations {
            mutation.apply(&mut bytes, &corpus);
        }
        panic!("{target}: {why} for {}", bytes.escape_ascii());
    }
    result.expect("inputs that can be made");

    let outcomes = outcomes.into_inner();
    let good: u64 = outcomes
        .iter()
        .filter(|(outcome, _)| outcome.starts_with("ok"))
        .map(|(_, n)| n)
        .sum();
    let all: u64 = outcomes.values().sum();
    println!(
        "fuzz: parser {target} {all} inputs, {good} good, {} different outcomes",
        outcomes.len()
    );
    assert!(
        0 < good && good < all,
        "{target}: all were good, or all bad"
    );
    outcomes
}
