// SPDX-License-Identifier: GPL-2.0

//! The feed of programs that judge records, on directories that look like those of
//! the host module.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value as Json;
use tempfile::TempDir;
use vesper_cli::cat::{Feed, Judge};
use vesper_cli::control::Device;
use vesper_cli::debugfs::Debugfs;
use vesper_cli::error::Error;
use vesper_ctf::writer::{signal_event, signal_metadata, PacketWriter};

const SYMBOL: (&str, u64) = ("do_send_sig_info+0x4f/0x90", 0xffff_ffff_8110_f14f);

/// Counts by guest, and keeps what it is told later.
#[derive(Default)]
struct Count {
    records: BTreeMap<String, usize>,
    named: Vec<Json>,
}

impl Judge for Count {
    fn item(&mut self, item: &Json) -> Option<u64> {
        let guest = item["domain"].as_str().unwrap_or_default().to_owned();
        *self.records.entry(guest).or_default() += 1;
        Some(7)
    }

    fn named(&mut self, number: u64, item: &Json) {
        assert_eq!(number, 7);
        self.named.push(item["fields"]["stack"].clone());
    }
}

fn directory(root: &TempDir, guest: &str) -> PathBuf {
    root.path().join("vesper").join(guest).join("signal")
}

fn describe(root: &TempDir, guest: &str, symbols: &[(&str, u64)]) {
    let dir = directory(root, guest);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("metadata"), signal_metadata(symbols)).unwrap();
}

fn packets(records: usize) -> Vec<u8> {
    let event = |n| signal_event(1_000_000_000 + n as u64, 1, "sh", 15, &[SYMBOL.1]);
    let events: Vec<_> = (0..records).map(event).collect();
    let mut writer = PacketWriter::new(0);
    let packets = events.chunks(32).map(|events| writer.packet(events));
    packets.collect::<Vec<_>>().concat()
}

fn write(root: &TempDir, guest: &str, symbols: &[(&str, u64)], records: usize) {
    describe(root, guest, symbols);
    fs::write(directory(root, guest).join("signal0"), packets(records)).unwrap();
}

fn feed(root: &TempDir) -> Feed<Device> {
    let debugfs = Debugfs::find(Some(root.path())).unwrap();
    Feed::new(debugfs, Err(Error::NoDevice("none".into()))).unwrap()
}

#[test]
fn who_writes_much_holds_up_nobody() {
    let root = TempDir::new().unwrap();
    write(&root, "loud", &[SYMBOL], 10_000);
    write(&root, "quiet", &[SYMBOL], 1);
    let mut feed = feed(&root);
    assert!(feed.follow(|_, _| true).unwrap().is_empty());
    let mut count = Count::default();
    let round = feed.take(&mut count);
    assert!(round.behind.iter().eq(["loud"]) && round.failed.is_empty());
    assert_eq!(count.records["quiet"], 1);
    assert!(count.records["loud"] < 10_000);
    while !feed.take(&mut count).behind.is_empty() {}
    assert_eq!(count.records["loud"], 10_000);
    assert!(count.named.is_empty());
}

#[test]
fn who_writes_no_records_holds_up_nobody() {
    let root = TempDir::new().unwrap();
    write(&root, "quiet", &[SYMBOL], 1);
    describe(&root, "loud", &[SYMBOL]);
    let mut writer = PacketWriter::new(0);
    let mut bytes = Vec::new();
    while bytes.len() < 3 << 20 {
        bytes.extend(writer.packet(&[]));
    }
    bytes.extend(writer.packet(&[signal_event(1, 1, "sh", 15, &[])]));
    fs::write(directory(&root, "loud").join("signal0"), bytes).unwrap();
    let mut feed = feed(&root);
    feed.follow(|_, _| true).unwrap();
    let mut count = Count::default();
    assert!(feed.take(&mut count).behind.iter().eq(["loud"]));
    assert_eq!(count.records["quiet"], 1);
    assert_eq!(count.records.get("loud"), None);
    while !feed.take(&mut count).behind.is_empty() {}
    assert_eq!(count.records["loud"], 1);
}

#[test]
fn names_that_are_late_hold_up_nobody() {
    let root = TempDir::new().unwrap();
    write(&root, "web1", &[], 2);
    let mut feed = feed(&root);
    feed.follow(|_, _| true).unwrap();
    let mut count = Count::default();
    feed.take(&mut count);
    assert_eq!(count.records["web1"], 2);
    assert!(count.named.is_empty());
    assert!(feed.pause().is_some());
    let metadata = directory(&root, "web1").join("metadata");
    fs::write(metadata, signal_metadata(&[SYMBOL])).unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    while count.named.is_empty() {
        assert!(Instant::now() < limit);
        std::thread::sleep(feed.pause().unwrap());
        feed.take(&mut count);
    }
    assert_eq!(count.named.len(), 2);
    assert_eq!(count.named[0][0]["label"], SYMBOL.0);
    assert!(feed.pause().is_none());
}

#[test]
fn names_that_do_not_come_are_given_up() {
    let root = TempDir::new().unwrap();
    write(&root, "web1", &[], 1);
    let mut feed = feed(&root);
    feed.follow(|_, _| true).unwrap();
    let mut count = Count::default();
    feed.take(&mut count);
    let limit = Instant::now() + Duration::from_secs(60);
    while let Some(pause) = feed.pause() {
        assert!(Instant::now() < limit);
        std::thread::sleep(pause);
        feed.take(&mut count);
    }
    assert!(count.named[0][0]["label"].is_null());
}

#[test]
fn what_comes_later_is_found() {
    let root = TempDir::new().unwrap();
    write(&root, "web1", &[SYMBOL], 1);
    let mut feed = feed(&root);
    let mut count = Count::default();
    for guest in ["web1", "web2"] {
        write(&root, guest, &[SYMBOL], 1);
        feed.follow(|_, _| true).unwrap();
        feed.take(&mut count);
        assert_eq!(count.records[guest], 1);
    }
    // Nobody wants it.
    write(&root, "web3", &[SYMBOL], 1);
    feed.follow(|guest, _| guest != "web3").unwrap();
    feed.take(&mut count);
    assert_eq!(count.records.len(), 2);
}

#[test]
fn metadata_that_come_in_pieces_are_waited_for() {
    let root = TempDir::new().unwrap();
    write(&root, "web1", &[SYMBOL], 1);
    let metadata = root.path().join("vesper/web1/signal/metadata");
    let whole = fs::read(&metadata).unwrap();
    fs::write(&metadata, &whole[..whole.len() / 2]).unwrap();
    let mut feed = feed(&root);
    let mut count = Count::default();
    assert!(feed.follow(|_, _| true).unwrap().is_empty());
    feed.take(&mut count);
    assert!(count.records.is_empty());
    fs::write(&metadata, whole).unwrap();
    // It is not tried again before that.
    std::thread::sleep(feed.pause().unwrap());
    assert!(feed.follow(|_, _| true).unwrap().is_empty());
    feed.take(&mut count);
    assert_eq!(count.records["web1"], 1);
    assert!(feed.pause().is_none());
}

#[test]
fn metadata_that_can_never_be_read_are_told_of_once() {
    let root = TempDir::new().unwrap();
    write(&root, "web1", &[SYMBOL], 1);
    fs::write(root.path().join("vesper/web1/signal/metadata"), "trace {").unwrap();
    let mut feed = feed(&root);
    let limit = Instant::now() + Duration::from_secs(60);
    let mut told = feed.follow(|_, _| true).unwrap().len();
    while let Some(pause) = feed.pause() {
        assert!(Instant::now() < limit);
        std::thread::sleep(pause);
        told += feed.follow(|_, _| true).unwrap().len();
    }
    assert_eq!(told, 1);
}

/// As the host does it when a module is loaded again before all of the last one is read.
#[test]
fn a_name_that_another_has_taken() {
    let root = TempDir::new().unwrap();
    write(&root, "web1", &[SYMBOL], 1);
    let mut feed = feed(&root);
    let mut count = Count::default();
    feed.follow(|_, _| true).unwrap();
    feed.take(&mut count);
    let old = directory(&root, "web1").with_file_name("signal@1");
    fs::rename(directory(&root, "web1"), &old).unwrap();
    describe(&root, "web1", &[SYMBOL]);
    let metadata = signal_metadata(&[SYMBOL]).replace("10111213", "20111213");
    fs::write(directory(&root, "web1").join("metadata"), metadata).unwrap();
    let mut new = packets(1);
    // The first byte of its UUID.
    new[4] = 0x20;
    fs::write(directory(&root, "web1").join("signal0"), new).unwrap();
    assert!(feed.follow(|_, _| true).unwrap().is_empty());
    // One file of each, and what tells of directories.
    assert_eq!(feed.fds().len(), 3);
    feed.take(&mut count);
    assert_eq!(count.records["web1"], 2);
    // A CPU of the old one that was missing.
    fs::write(old.join("signal1"), packets(1)).unwrap();
    feed.follow(|_, _| true).unwrap();
    feed.take(&mut count);
    assert_eq!(count.records["web1"], 3);
}

/// As on a host that is locked down, whose relay files have no ioctls.
#[test]
fn what_poll_says_is_an_end() {
    let root = TempDir::new().unwrap();
    describe(&root, "web1", &[SYMBOL]);
    let dir = directory(&root, "web1");
    mkfifo(&dir.join("signal0"), Mode::S_IRWXU).unwrap();
    let mut input = File::options();
    let input = input.read(true).write(true);
    let mut input = input.open(dir.join("signal0")).unwrap();
    let mut feed = feed(&root);
    let mut count = Count::default();
    feed.follow(|_, _| true).unwrap();
    input.write_all(&packets(1)).unwrap();
    feed.take(&mut count);
    assert_eq!(feed.fds().len(), 2);

    // The host keeps the directory until the metadata have been read, too.
    let watch = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    let read = AddWatchFlags::IN_CLOSE_NOWRITE;
    watch.add_watch(&dir.join("metadata"), read).unwrap();
    input.write_all(&packets(1)).unwrap();
    drop(input);
    // Should that fail, it is tried again.
    let (metadata, aside) = (dir.join("metadata"), dir.join("aside"));
    fs::rename(&metadata, &aside).unwrap();
    fs::create_dir(&metadata).unwrap();
    feed.take(&mut count);
    assert_eq!(count.records["web1"], 2);
    assert_eq!(feed.fds().len(), 1);
    assert!(watch.read_events().is_err());
    assert!(feed.pause().is_some());
    fs::remove_dir(&metadata).unwrap();
    fs::rename(&aside, &metadata).unwrap();
    feed.take(&mut count);
    assert_eq!(watch.read_events().unwrap().len(), 1);
    // And no more than once.
    feed.take(&mut count);
    assert!(watch.read_events().is_err());
}
