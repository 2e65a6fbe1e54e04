// SPDX-License-Identifier: GPL-2.0

//! The commands but load against a host module made up for the test.

use nix::errno::Errno;
use vesper_abi::bindings;

mod host_module;

use host_module::{fails, fake, run, Fake};

fn ok(line: &[&str]) -> String {
    run(&fake(), line).unwrap()
}

#[test]
fn domains_for_people_and_for_programs() {
    assert_eq!(
        ok(&["domains"]),
        "\
DOMAIN  STATE      VM       PID  CPUS  LOAD  MODULES  LENT    KEPT   KERNEL
db      no driver  -        41   -     -     0        -       0 KiB  -
web1    ready      running  42   2     any   1        64 KiB  9 KiB  7.3.4+deb13-amd64\\x1b[31m
"
    );
    let json = ok(&["domains", "--json"]);
    let lines: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(lines[1]["domain"], "web1");
    assert_eq!(lines[1]["vmm_pid"], 42);
    assert_eq!(lines[1]["boot_id"], "abababab-abab-abab-abab-abababababab");
}

#[test]
fn lists() {
    let all = ok(&["list"]);
    assert!(all
        .lines()
        .any(|l| l.starts_with("db ") && l.contains(" signal ")));
    assert!(all
        .lines()
        .any(|l| l.starts_with("web1 ") && l.contains(" live ")));
    // Behind the table, harmless to a terminal.
    let remarks: Vec<_> = all.lines().skip(3).collect();
    assert_eq!(
        remarks,
        ["web1/signal: point 'x' waits for module y\\x1b[31m"]
    );
    let (cause, remedy, code) = fails(&fake(), &["list", "nowhere"]);
    assert_eq!(cause, "there is no domain 'nowhere'");
    assert_eq!(remedy, "there are: db, web1");
    assert_eq!(code, 1);
    let one = ok(&["list", "web1", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!(line[0]["loaded"], "2023-11-14T22:13:20.123456789Z");
    assert_eq!(line[0]["remark"], "point 'x' waits for module y\u{1b}[31m");
}

#[test]
fn stat_takes_a_module() {
    let all = ok(&["stat", "web1"]);
    assert_eq!(all.lines().count(), 4);
    let one = ok(&["stat", "web1/signal"]);
    assert_eq!(
        one,
        "\
DOMAIN  MODULE  BUFFER  SIZE        WHEN FULL  PRODUCED  CONSUMED  LOST  LAPPED  UNREAD BYTES
web1    signal  ch0     8 x 64 KiB  overwrite  7         5         0     2       1234
web1    signal  ch1     8 x 64 KiB  stop       7         5         3     -       1234
"
    );
    let (cause, remedy, code) = fails(&fake(), &["stat", "web1/typo"]);
    assert_eq!(
        cause,
        "VESPER has loaded no module 'typo' into guest 'web1'"
    );
    assert_eq!(remedy, "`vesper list web1` shows those that it has loaded");
    assert_eq!(code, 1);
}

#[test]
fn heartbeats() {
    let shown = ok(&[
        "heartbeat",
        "web1",
        "--threshold",
        "500ms",
        "--period",
        "50ms",
    ]);
    assert!(
        shown.contains("hung   it ran and did not beat  2/0/2"),
        "{shown}"
    );
    assert!(shown.contains("500 ms     50 ms"), "{shown}");
    let shown = ok(&["heartbeat", "web1", "--json"]);
    assert!(
        shown.starts_with(r#"[{"domain":"web1","state":"hung","reason":"executed","since":"2023"#),
        "{shown}"
    );
    let errno = Errno::EINVAL;
    let fake = Fake { errno, ..fake() };
    let (said, hint, code) = fails(&fake, &["heartbeat", "web1", "--period", "1ms"]);
    assert_eq!(said, "the heartbeat of 'web1' can't be set so");
    assert!(hint.contains("10 ms to 60 s"), "{hint}");
    assert_eq!(code, 1);
}

#[test]
fn reaping() {
    assert_eq!(ok(&["reap", "web1@2"]), "web1@2: dropped 9 KiB\n");
    assert_eq!(
        ok(&["reap", "web1/signal@1"]),
        "web1/signal@1: dropped 1 KiB\n"
    );
    for (errno, what, cause, remedy) in [
        (
            Errno::EBUSY,
            "web1",
            "guest 'web1' is live: it is not reaped",
            "VMM is gone",
        ),
        (
            Errno::EBUSY,
            "web1/signal",
            "module 'signal' of guest 'web1' is live: it is not reaped",
            "`vesper unload web1 signal` first",
        ),
        (
            Errno::ENOENT,
            "web1/signal",
            "nothing is kept of a module 'signal' of guest 'web1'",
            "vesper list web1",
        ),
        (
            Errno::ENODEV,
            "web2",
            "there is no domain 'web2'",
            "there are: db, web1",
        ),
    ] {
        let (said, hint, code) = fails(&Fake { errno, ..fake() }, &["reap", what]);
        assert_eq!((said.as_str(), code), (cause, 1));
        assert!(hint.contains(remedy), "{hint}");
    }
}

#[test]
fn unloading() {
    assert_eq!(
        ok(&["unload", "web1", "signal"]),
        "signal: unloaded from web1\n"
    );
    let fake = Fake {
        errno: Errno::ENOENT,
        ..fake()
    };
    let (cause, remedy, code) = fails(&fake, &["unload", "web1", "ext4"]);
    assert_eq!(
        cause,
        "VESPER has loaded no module 'ext4' into guest 'web1'"
    );
    assert_eq!(remedy, "`vesper list web1` shows those that it has loaded");
    assert_eq!(code, 1);
}

#[test]
fn sharing() {
    let fake = || Fake {
        text: "1 channel is shown",
        ..fake()
    };
    let said = |fake, args: &[&str]| run(&fake, args).expect("done");
    assert_eq!(
        said(fake(), &["share", "web1", "block/vda/trace"]),
        "block/vda/trace: shared by web1: 1 channel is shown\n"
    );
    assert_eq!(said(fake(), &["share", "web1"]), "block/vda/trace\nnet/*\n");
    let old = Fake {
        errno: Errno::EOPNOTSUPP,
        ..fake()
    };
    let (cause, remedy, code) = fails(&old, &["share", "web1", "x", "--stop"]);
    assert_eq!(cause, "guest 'web1' can't show relay channels of others");
    assert!(remedy.contains("too old"), "{remedy}");
    assert_eq!(code, 1);
    for errno in [Errno::ETIMEDOUT, Errno::EINTR] {
        let silent = Fake { errno, ..fake() };
        for stop in [&[][..], &["--stop"][..]] {
            let (_, remedy, _) = fails(&silent, &[&["share", "web1", "x"], stop].concat());
            assert_eq!(remedy, "`vesper share web1` lists what is shared");
        }
    }
    let twice = Fake {
        status: Errno::EEXIST as u32,
        stage: bindings::VIRTIO_VESPER_STAGE_FOREIGN,
        text: "the pattern is shared already",
        ..fake()
    };
    let (cause, _, code) = fails(&twice, &["share", "web1", "x"]);
    assert!(
        cause.contains("(EEXIST); it says: the pattern is"),
        "{cause}"
    );
    assert_eq!(code, 3);
}

#[test]
fn versions_name_the_older_side() {
    let newer = Fake {
        abi: 9 << 16,
        ..fake()
    };
    let (cause, remedy, _) = fails(&newer, &["domains"]);
    assert!(cause.ends_with("this tool is older"), "{cause}");
    assert_eq!(remedy, "install the tool that belongs to the module");
    let older = Fake { abi: 0, ..fake() };
    let (cause, remedy, _) = fails(&older, &["domains"]);
    assert!(cause.ends_with("the module is older"), "{cause}");
    assert_eq!(
        remedy,
        "install and load the module that belongs to the tool"
    );
}
