// SPDX-License-Identifier: GPL-2.0

//! `vesper cat`, the program itself, on directories that look like those of the
//! host module. Named pipes stand in for relay files that are still written to:
//! poll() and read() treat their reader alike.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use nix::fcntl::{fcntl, FcntlArg};
use nix::libc;
use nix::sys::signal::{kill, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, Pid};
use tempfile::TempDir;
use vesper_abi::packet::{PacketHead, HEAD_LEN, MAX_PACKET};
use vesper_ctf::writer::{signal_event, signal_metadata, PacketWriter};

/// What is read at a time.
const CHUNK: usize = 64 << 10;
const SYMBOL: (&str, u64) = ("do_send_sig_info+0x4f/0x90", 0xffff_ffff_8110_f14f);

/// A debugfs with one module in it.
struct Tree {
    root: TempDir,
    dir: PathBuf,
}

impl Tree {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let dir = root.path().join("vesper/web1/signal");
        fs::create_dir_all(&dir).unwrap();
        let tree = Self { root, dir };
        tree.write("metadata", signal_metadata(&[SYMBOL]).as_bytes());
        tree
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.join(name), bytes).unwrap();
    }

    fn pipe(&self, name: &str) -> File {
        let path = self.dir.join(name);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        // Both ends, so that opening does not wait for the reader.
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vesper"));
        command
            .args(["cat", "--utc"])
            .args(args)
            .env("VESPER_DEBUGFS", self.root.path());
        command
    }

    fn cat(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn follow(&self) -> Follower {
        self.start(&["--follow", "web1/signal"])
    }

    fn start(&self, args: &[&str]) -> Follower {
        let mut child = self
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Follower { child, lines }
    }
}

struct Follower {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Follower {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// What is left of its output, its exit status, and what it said last.
    fn end(mut self) -> (String, Option<i32>, String) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        let output = self.child.wait_with_output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        (rest, output.status.code(), words)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn cpus_are_merged_by_time() {
    let tree = Tree::new();
    let event = |time, pid| signal_event(time, pid, "ba\"sh\x1b[m", 15, &[SYMBOL.1, 5]);
    let mut first = PacketWriter::new(0);
    let mut second = PacketWriter::new(1);
    let mut bytes = first.packet(&[event(1_000_000_000, 1), event(1_000_000_400, 3)]);
    first.discard(2);
    bytes.extend(first.packet(&[event(1_000_000_800, 5)]));
    tree.write("signal0", &bytes);
    tree.write(
        "signal1",
        &second.packet(&[event(1_000_000_200, 2), event(1_000_000_600, 4)]),
    );
    let output = tree.cat(&["web1/signal"]);
    let head = |ns, cpu, pid| {
        format!(
            "2023-11-14 22:13:21.000000{ns} web1/signal cpu{cpu} signal: sender_pid={pid} \
             sender_comm=\"ba\\\"sh\\x1b[m\" sig=SIGTERM(15)\n    {}\n    0x5\n",
            SYMBOL.0
        )
    };
    let expected = [
        head("000", 0, 1),
        head("100", 1, 2),
        head("200", 0, 3),
        head("300", 1, 4),
        "[cpu0: 2 records lost]\n".into(),
        head("400", 0, 5),
    ];
    assert_eq!(text(&output.stdout), expected.concat());
    assert_eq!(text(&output.stderr), "5 records, 2 lost\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn json_has_an_object_a_line() {
    let tree = Tree::new();
    let event = signal_event(2, -7, "x\u{9b}y", 99, &[SYMBOL.1, 5]);
    tree.write("signal0", &PacketWriter::new(0).packet(&[event]));
    let output = tree.cat(&["--json", "web1/signal"]);
    assert!(output.stderr.is_empty());
    let line = text(&output.stdout);
    assert!(line.contains("x\\u009by"), "{line}");
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["event"], "signal");
    assert_eq!(json["time"], "2023-11-14T22:13:20.500000001Z");
    assert_eq!(json["timestamp_ns"], 1_700_000_000_500_000_001_u64);
    assert_eq!(json["fields"]["sender_pid"], -7);
    assert_eq!(
        json["fields"]["sig"],
        serde_json::json!({"value": 99, "label": null})
    );
    assert_eq!(
        json["fields"]["stack"],
        serde_json::json!([
            {"value": "0xffffffff8110f14f", "label": SYMBOL.0},
            {"value": "0x5", "label": null},
        ])
    );
}

#[test]
fn a_copy_says_itself_where_it_comes_from() {
    let tree = Tree::new();
    let event = signal_event(2, 7, "x", 15, &[]);
    tree.write("stream0", &PacketWriter::new(0).packet(&[event]));
    let copy = tree.dir.to_str().unwrap();
    let output = tree
        .command(&["--from", copy])
        .env("VESPER_DEBUGFS", "/nowhere")
        .output();
    assert_eq!(
        text(&output.unwrap().stdout),
        "2023-11-14 22:13:20.500000001 web1/signal cpu0 signal: sender_pid=7 sender_comm=\"x\" \
         sig=SIGTERM(15)\n"
    );
    let output = tree.cat(&["--from", "/nowhere"]);
    assert_eq!(
        text(&output.stderr),
        "vesper: /nowhere: No such file or directory (os error 2)\n"
    );
}

#[test]
fn what_is_missing_is_said() {
    let tree = Tree::new();
    let words = |args: &[&str]| {
        let output = tree.cat(args);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let root = tree.root.path().join("vesper");
    assert_eq!(
        words(&["web1/nothing"]),
        format!(
            "vesper: there are no files of 'web1/nothing' in {}\nvesper: there are: web1/signal\n",
            root.display()
        )
    );
    tree.write("metadata", b"trace { bad }");
    assert_eq!(
        words(&["web1/signal"]),
        "vesper: web1/signal: metadata, line 1, column 13: expected =, found '}'\n"
    );
    fs::remove_file(tree.dir.join("metadata")).unwrap();
    assert!(words(&["web1/signal"]).contains("has no metadata"));
}

#[test]
fn malformed_packets_are_a_failure() {
    let tree = Tree::new();
    let good = PacketWriter::new(0).packet(&[signal_event(1, 1, "a", 1, &[])]);
    tree.write(
        "signal0",
        &[b"garbage".as_slice(), &good, &good[..90]].concat(),
    );
    let output = tree.cat(&["web1/signal"]);
    let lines = text(&output.stdout);
    assert!(
        lines.starts_with("[cpu0: 7 bytes skipped that are no packet: "),
        "{lines}"
    );
    assert!(
        lines.ends_with("[cpu0: 90 bytes of a packet whose rest is missing]\n"),
        "{lines}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn following_shows_records_as_they_arrive_until_the_module_is_gone() {
    let tree = Tree::new();
    let mut first = PacketWriter::new(0);
    let mut pipe = tree.pipe("signal0");
    let mut follower = tree.follow();

    // A packet in two pieces.
    let packet = first.packet(&[signal_event(1, 1, "a", 15, &[SYMBOL.1])]);
    pipe.write_all(&packet[..50]).unwrap();
    pipe.write_all(&packet[50..]).unwrap();
    assert!(follower.line().contains("sender_pid=1 "));
    assert_eq!(follower.line(), format!("    {}\n", SYMBOL.0));

    // A symbol whose name is behind its first use.
    let late = ("late_symbol+0x1/0x2", 77);
    pipe.write_all(&first.packet(&[signal_event(2, 2, "a", 15, &[77])]))
        .unwrap();
    tree.write("metadata", signal_metadata(&[SYMBOL, late]).as_bytes());
    assert!(follower.line().contains("sender_pid=2 "));
    assert_eq!(follower.line(), "    late_symbol+0x1/0x2\n");

    // A CPU that comes up.
    let mut second = PacketWriter::new(1);
    let mut other = tree.pipe("signal1");
    other
        .write_all(&second.packet(&[signal_event(3, 3, "a", 15, &[])]))
        .unwrap();
    assert!(follower.line().contains("cpu1 signal: sender_pid=3 "));

    // Unloading: the last record is there, the files are not.
    pipe.write_all(&first.packet(&[signal_event(4, 4, "a", 15, &[])]))
        .unwrap();
    fs::remove_dir_all(&tree.dir).unwrap();
    assert!(follower.line().contains("sender_pid=4 "));
    let (rest, code, words) = follower.end();
    assert_eq!((rest.as_str(), code), ("", Some(0)));
    assert_eq!(words, "4 records, 0 lost\n");
}

#[test]
fn following_ends_when_all_writers_have_hung_up() {
    let tree = Tree::new();
    let mut pipe = tree.pipe("signal0");
    pipe.write_all(&PacketWriter::new(0).packet(&[signal_event(1, 1, "a", 15, &[])]))
        .unwrap();
    let mut follower = tree.follow();
    assert!(follower.line().contains("sender_pid=1 "));
    drop(pipe);
    let (_, code, words) = follower.end();
    assert_eq!((code, words.as_str()), (Some(0), "1 records, 0 lost\n"));
}

/// A guest that writes as fast as it is read does not keep a reader who does not follow it.
#[test]
fn without_following_no_more_is_read_than_a_buffer_has() {
    let tree = Tree::new();
    let mut writer = PacketWriter::new(0);
    let mut packet = |time: u64, padding: usize| {
        let mut packet = writer.packet(&[signal_event(time, time as i32, "a", 1, &[])]);
        let head = PacketHead::parse(&packet).unwrap().unwrap();
        let packet_len = head.packet_len + padding;
        let head = PacketHead { packet_len, ..head };
        packet[..HEAD_LEN].copy_from_slice(&head.to_bytes());
        packet.resize(packet_len, 0);
        packet
    };
    // The lap ends within the third.
    let half = MAX_PACKET / 2;
    let packets = [packet(1, half), packet(2, half - 1000), packet(3, 1000)];
    let last = packet(4, 0);
    tree.write("signal0", &[packets.concat(), last].concat());
    let shown = |args: &[&str]| {
        let output = tree.cat(args);
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
        text(&output.stdout).matches("sender_pid=").count()
    };
    assert_eq!(shown(&["web1/signal"]), 3);
    assert_eq!(shown(&["--from", tree.dir.to_str().unwrap()]), 4);
}

#[test]
fn interrupting_ends_with_a_summary() {
    let tree = Tree::new();
    let mut writer = PacketWriter::new(0);
    writer.discard(9);
    tree.write(
        "signal0",
        &writer.packet(&[signal_event(1, 1, "a", 15, &[])]),
    );
    let mut follower = tree.follow();
    assert_eq!(follower.line(), "[cpu0: 9 records lost]\n");
    let pid = Pid::from_raw(follower.child.id() as i32);
    kill(pid, Signal::SIGINT).unwrap();
    let (_, code, words) = follower.end();
    assert_eq!((code, words.as_str()), (Some(0), "1 records, 9 lost\n"));
}

#[test]
fn interrupting_loses_nothing_that_was_taken() {
    const EVENTS: usize = 300;
    let tree = Tree::new();
    let mut writer = PacketWriter::new(0);
    let mut packet = || {
        let event = |time| signal_event(time, 1, "a", 15, &[SYMBOL.1; 16]);
        writer.packet(&(0..EVENTS as u64).map(event).collect::<Vec<_>>())
    };
    let packets = [packet(), packet(), packet()];
    // The first read ends within the second, and what it gives is more than fits into the pipe
    // that it is shown on.
    assert!(packets[0].len() < CHUNK && packets[0].len() + packets[1].len() > CHUNK);
    drop(tree.pipe("signal0"));
    let mut pipe = File::options();
    let pipe = pipe.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let mut pipe = pipe.open(tree.dir.join("signal0")).unwrap();
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4 * CHUNK as i32)).unwrap();
    pipe.write_all(&packets.concat()).unwrap();
    let mut shown = tree.start(&["web1/signal"]);
    assert!(shown.line().contains("sender_pid=1 "));
    kill(Pid::from_raw(shown.child.id() as i32), Signal::SIGINT).unwrap();
    let (rest, code, words) = shown.end();
    let lines = rest.lines().filter(|line| line.contains("sender_pid=1 "));
    assert_eq!(lines.count(), 2 * EVENTS - 1);
    let said = format!("{} records, 0 lost\n", 2 * EVENTS);
    assert_eq!((code, words.as_str()), (Some(0), said.as_str()));
    let mut left = vec![0; packets[2].len()];
    pipe.read_exact(&mut left).unwrap();
    assert!(left == packets[2]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let tree = Tree::new();
    let events: Vec<_> = (0..5000)
        .map(|time| signal_event(time, 1, "a", 15, &[]))
        .collect();
    tree.write("signal0", &PacketWriter::new(0).packet(&events));
    let mut child = tree
        .command(&["web1/signal"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn completion_and_man_pages_come_out_of_the_definition() {
    let dir = TempDir::new().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vesper"))
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success());
        text(&output.stdout)
    };
    assert!(run(&["completions", "bash"]).contains("_vesper()"));
    let path = dir.path().to_str().unwrap();
    run(&["generate", "man", path]);
    run(&["generate", "completion", path]);
    for name in [
        "vesper.1",
        "vesper-load.1",
        "vesper.bash",
        "_vesper",
        "vesper.fish",
    ] {
        assert!(dir.path().join(name).exists(), "{name}");
    }
    let page = fs::read_to_string(dir.path().join("vesper-cat.1")).unwrap();
    assert!(page.contains("each is shown once"));
}

#[test]
fn several_guests_are_on_one_time_line() {
    let tree = Tree::new();
    // The clock of this one is a second ahead, at half the speed.
    let other = tree.root.path().join("vesper/web2/signal");
    fs::create_dir_all(&other).unwrap();
    let metadata = signal_metadata(&[SYMBOL])
        .replace("freq = 2000000000", "freq = 1000000000")
        .replace("offset = 1000000000", "offset = 1500000000");
    fs::write(other.join("metadata"), metadata).unwrap();
    let packet = |times: &[u64]| {
        let event = |&time| signal_event(time, 1, "a", 15, &[]);
        PacketWriter::new(0).packet(&times.iter().map(event).collect::<Vec<_>>())
    };
    tree.write(
        "cpu0",
        &packet(&[2_200_000_000, 2_600_000_000, 3_000_000_000]),
    );
    fs::write(other.join("cpu0"), packet(&[200_000_000, 400_000_000])).unwrap();
    for targets in [&["web1/signal", "web2/signal"][..], &["web2", "web1"][..]] {
        let output = tree.cat(targets);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let shown: Vec<(&str, &str)> = text
            .lines()
            .map(|line| (&line[17..21], line.split(' ').nth(2).unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                ("21.6", "web1/signal"),
                ("21.7", "web2/signal"),
                ("21.8", "web1/signal"),
                ("21.9", "web2/signal"),
                ("22.0", "web1/signal"),
            ]
        );
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("web2/signal: times are by the guest's own"),
            "{said}"
        );
    }
}

#[test]
fn what_is_named_twice_is_read_once() {
    let tree = Tree::new();
    let event = signal_event(1_000_000_000, 1, "a", 15, &[]);
    tree.write("signal0", &PacketWriter::new(0).packet(&[event]));
    for targets in [&["web1", "web1/signal"][..], &["web1/signal", "web1"][..]] {
        let output = tree.cat(targets);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output.stdout).lines().count(), 1);
    }
}

#[test]
fn what_has_no_metadata_is_left_out_of_a_whole_guest() {
    let tree = Tree::new();
    let event = signal_event(1_000_000_000, 1, "a", 15, &[]);
    tree.write("signal0", &PacketWriter::new(0).packet(&[event]));
    let foreign = tree.root.path().join("vesper/web1/relay.block.vda");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(foreign.join("trace0"), b"anything").unwrap();
    let output = tree.cat(&["web1"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout).lines().count(), 1);
    let said = text(&output.stderr);
    assert!(
        said.contains("'web1/relay.block.vda' has no metadata") && said.contains("left out"),
        "{said}"
    );

    // By name, or with nothing else there, it is an error.
    assert!(!tree.cat(&["web1/relay.block.vda"]).status.success());
    fs::remove_dir_all(&tree.dir).unwrap();
    let output = tree.cat(&["web1"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("has no metadata"));
}
