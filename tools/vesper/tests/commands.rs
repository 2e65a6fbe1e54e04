// SPDX-License-Identifier: GPL-2.0

//! The commands against a host module made up for the test.

use std::cell::RefCell;

use clap::Parser;
use nix::errno::Errno;
use tempfile::TempDir;
use vesper_abi::bindings::{self, vesper_buffer, vesper_domain, vesper_load, vesper_module};
use vesper_abi::name::{text, NAME_LEN};
use vesper_cli::cli::{Cli, Command};
use vesper_cli::commands;
use vesper_cli::control::{Control, Host};
use vesper_cli::error::Error;
use vesper_cli::heartbeat;
use vesper_cli::load;
use zerocopy::FromZeros;

mod module_file;

const VERMAGIC: &str = "7.3.4+deb13-amd64 SMP preempt mod_unload modversions";

/// A module that answers what it is told to.
struct Fake {
    abi: u32,
    /// Of the driver in web1, if it was turned away.
    guest_abi: Option<u32>,
    errno: Errno,
    status: u32,
    stage: u32,
    text: &'static str,
    /// The last load.
    asked: RefCell<Option<Asked>>,
    /// Name and parameters of each.
    loads: RefCell<Vec<(String, String)>>,
}

/// What a load asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    domain: String,
    module: String,
    image_len: usize,
    params: String,
    timeout_ms: u32,
}

fn fake() -> Fake {
    Fake {
        abi: bindings::VESPER_ABI_VERSION,
        guest_abi: None,
        errno: Errno::UnknownErrno,
        status: 0,
        stage: bindings::VIRTIO_VESPER_STAGE_KERNEL,
        text: "",
        asked: RefCell::new(None),
        loads: RefCell::default(),
    }
}

impl Fake {
    fn answer(&self) -> nix::Result<()> {
        match self.errno {
            Errno::UnknownErrno => Ok(()),
            errno => Err(errno),
        }
    }
}

fn field<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

fn string(field: &[u8]) -> String {
    String::from_utf8_lossy(text(field)).into_owned()
}

impl Control for Fake {
    fn abi_version(&self) -> nix::Result<u32> {
        Ok(self.abi)
    }

    fn domains(&self) -> nix::Result<Vec<vesper_domain>> {
        let mut db = vesper_domain::new_zeroed();
        db.name = field("db");
        db.state = bindings::VESPER_DOMAIN_ATTACHED;
        db.vmm_pid = 41;
        let mut web = vesper_domain::new_zeroed();
        web.name = field("web1");
        web.state = bindings::VESPER_DOMAIN_READY;
        web.run_state = bindings::VESPER_RUN_RUNNING;
        web.vmm_pid = 42;
        web.nr_cpus = 2;
        web.modules = 1;
        web.lent_pages = 16;
        web.kept_bytes = 8193;
        web.boot_id = [0xab; 16];
        web.release = field("7.3.4+deb13-amd64\x1b[31m");
        web.vermagic = field(VERMAGIC);
        if let Some(version) = self.guest_abi {
            web.state = bindings::VESPER_DOMAIN_ATTACHED;
            web.guest_abi = version;
        }
        Ok(vec![web, db])
    }

    fn modules(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_module>> {
        if text(domain) == b"nowhere" {
            return Err(Errno::ENODEV);
        }
        let mut module = vesper_module::new_zeroed();
        module.name = field("signal");
        module.state = bindings::VESPER_MODULE_LIVE;
        module.channels = 1;
        module.loaded_ns = 1_700_000_000_123_456_789;
        if text(domain) == b"web1" {
            module.text = field("point 'x' waits for module y\x1b[31m");
        }
        Ok(vec![module])
    }

    fn buffers(&self, _domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_buffer>> {
        let buffer = |module, number, lost| {
            let mut buffer = vesper_buffer::new_zeroed();
            buffer.module = field(module);
            buffer.channel = field("ch");
            buffer.buffer = number;
            buffer.subbuf_size = 65536;
            buffer.n_subbufs = 8;
            buffer.produced = 7;
            buffer.consumed = 5;
            buffer.lost = lost;
            buffer.unread_bytes = 1234;
            if lost == 0 {
                buffer.flags = bindings::VIRTIO_VESPER_CHAN_OVERWRITE;
                buffer.lapped = 2;
            }
            buffer
        };
        Ok(vec![
            buffer("signal", 1, 3),
            buffer("signal", 0, 0),
            buffer("other", 0, 0),
        ])
    }

    fn load(&self, request: &mut vesper_load, image: &[u8], params: &[u8]) -> nix::Result<()> {
        *self.asked.borrow_mut() = Some(Asked {
            domain: string(&request.domain),
            module: string(&request.module),
            image_len: image.len(),
            params: String::from_utf8_lossy(params).into_owned(),
            timeout_ms: request.timeout_ms,
        });
        self.loads.borrow_mut().push((
            string(&request.module),
            String::from_utf8_lossy(params).into_owned(),
        ));
        self.answer()?;
        request.status = self.status;
        request.stage = self.stage;
        request.text = field(self.text);
        Ok(())
    }

    fn unload(&self, request: &mut bindings::vesper_unload) -> nix::Result<()> {
        self.answer()?;
        request.status = self.status;
        request.stage = self.stage;
        request.text = field(self.text);
        Ok(())
    }

    fn heartbeat(&self, request: &mut bindings::vesper_heartbeat) -> nix::Result<()> {
        self.answer()?;
        assert_eq!(text(&request.domain), b"web1");
        let set = |flag, given, default| match request.flags & flag {
            0 => default,
            _ => given,
        };
        request.threshold_ms = set(
            bindings::VESPER_HEARTBEAT_SET_THRESHOLD,
            request.threshold_ms,
            2000,
        );
        request.period_ms = set(
            bindings::VESPER_HEARTBEAT_SET_PERIOD,
            request.period_ms,
            100,
        );
        request.state = bindings::VESPER_BEAT_HUNG;
        request.reason = bindings::VESPER_BEAT_BY_EXECUTED;
        request.cpus = 2;
        request.hung_cpus = 2;
        request.silent_ms = 2040;
        request.since_ns = 1_700_000_000_123_456_789;
        Ok(())
    }

    fn reap(&self, request: &mut bindings::vesper_reap) -> nix::Result<()> {
        self.answer()?;
        request.bytes = if request.module[0] == 0 { 9000 } else { 1 };
        Ok(())
    }

    fn share(&self, request: &mut bindings::vesper_share) -> nix::Result<()> {
        self.answer()?;
        request.status = self.status;
        request.stage = self.stage;
        request.text = field(self.text);
        Ok(())
    }

    fn shared(&self, _domain: &[u8; NAME_LEN]) -> nix::Result<Vec<bindings::vesper_shared>> {
        let shared = |pattern| {
            let mut shared = bindings::vesper_shared::new_zeroed();
            shared.pattern = field(pattern);
            shared
        };
        Ok(vec![shared("net/*"), shared("block/vda/trace")])
    }
}

/// Runs a command line and gives what it printed.
fn run(fake: Fake, line: &[&str]) -> (Result<String, Error>, Option<u32>) {
    let cli = Cli::try_parse_from([&["vesper"], line].concat()).unwrap();
    let host = match Host::new(&fake) {
        Ok(host) => host,
        Err(error) => return (Err(error), None),
    };
    let mut out = Vec::new();
    let done = match &cli.command {
        Command::Domains(args) => commands::domains(&host, args, &mut out),
        Command::Load(args) => load::load(&host, args, &mut out),
        Command::List(args) => commands::list(&host, args, &mut out),
        Command::Share(args) => commands::share(&host, args, &mut out),
        Command::Unload(args) => commands::unload(&host, args, &mut out),
        Command::Reap(args) => commands::reap(&host, args, &mut out),
        Command::Heartbeat(args) => heartbeat::heartbeat(&host, args, &mut out),
        Command::Stat(args) => commands::stat(&host, args, &mut out),
        other => panic!("{other:?}"),
    };
    let timeout = fake.asked.borrow().as_ref().map(|asked| asked.timeout_ms);
    (done.map(|()| String::from_utf8(out).unwrap()), timeout)
}

fn ok(line: &[&str]) -> String {
    run(fake(), line).0.unwrap()
}

fn fails(fake: Fake, line: &[&str]) -> (String, String, u8) {
    let error = run(fake, line).0.expect_err("no error");
    (
        error.to_string(),
        error.remedy().unwrap_or_default(),
        error.exit_code(),
    )
}

/// A module file for this kernel in a directory of its own.
fn image(name: &str, vermagic: &str) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("signal.ko");
    let modinfo = format!("license=GPL\0vermagic={vermagic}\0name={name}\0");
    std::fs::write(&path, module_file::elf(Some(modinfo.as_bytes()))).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
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
    let (cause, remedy, code) = fails(fake(), &["list", "nowhere"]);
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
    let (said, hint, code) = fails(fake, &["heartbeat", "web1", "--period", "1ms"]);
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
        let (said, hint, code) = fails(Fake { errno, ..fake() }, &["reap", what]);
        assert_eq!((said.as_str(), code), (cause, 1));
        assert!(hint.contains(remedy), "{hint}");
    }
}

#[test]
fn load_sends_name_image_and_parameters() {
    let (_dir, path) = image("my_signal", VERMAGIC);
    let size = std::fs::metadata(&path).unwrap().len() as usize;
    let fake = fake();
    let host = Host::new(&fake).unwrap();
    let line = [
        "vesper",
        "load",
        "web1",
        &path,
        "sig=15",
        "comm=a b",
        "--timeout",
        "2s",
    ];
    let Command::Load(args) = Cli::parse_from(line).command else {
        panic!("not a load");
    };
    let mut out = Vec::new();
    load::load(&host, &args, &mut out).unwrap();
    assert_eq!(out, b"my_signal: loaded into web1\n");
    let asked = fake.asked.borrow().clone().unwrap();
    assert_eq!(
        asked,
        Asked {
            domain: "web1".into(),
            module: "my_signal".into(),
            image_len: size,
            params: "sig=15 comm=\"a b\"".into(),
            timeout_ms: 2000,
        }
    );
}

#[test]
fn several_are_loaded_with_the_parameters_that_follow_each() {
    let (dir, signal) = image("signal", VERMAGIC);
    let memory = module_file::elf(Some(
        format!("name=memory\0vermagic={VERMAGIC}\0vesper_point=oom:ON:x\0").as_bytes(),
    ));
    std::fs::write(dir.path().join("memory.ko"), memory).unwrap();
    let fake = fake();
    let host = Host::new(&fake).unwrap();
    let load = |words: &[&str]| {
        let probes = dir.path().to_str().unwrap();
        let line = [&["vesper", "load", "web1", "--probes", probes], words].concat();
        let Command::Load(args) = Cli::parse_from(line).command else {
            panic!("not a load");
        };
        let mut out = Vec::new();
        load::load(&host, &args, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    assert_eq!(
        load(&["memory", "min_us=5", "points=oom", &signal, "sig=9"]).unwrap(),
        "memory: loaded into web1\nsignal: loaded into web1\n"
    );
    let expected = [("memory", "min_us=5 points=oom"), ("signal", "sig=9")];
    let expected = expected.map(|(name, params)| (name.to_owned(), params.to_owned()));
    assert_eq!(fake.loads.take(), expected);

    // What is wrong with the last is found before the first is sent.
    let error = load(&["memory", "sched"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no group of probe points 'sched'"
    );
    let error = load(&["memory", "memory", "--name", "x"]).unwrap_err();
    assert!(error.to_string().contains("--name is for one"), "{error}");
    assert!(fake.loads.take().is_empty());
}

#[test]
fn another_kernel_is_refused_here() {
    let (_dir, path) = image("signal", "6.12.0 SMP mod_unload");
    let (cause, remedy, code) = fails(fake(), &["load", "web1", &path]);
    assert_eq!(
        cause,
        format!("{path} is built for kernel 6.12.0 SMP mod_unload, guest 'web1' runs {VERMAGIC}")
    );
    assert_eq!(
        remedy,
        "build the module against the headers of the guest's kernel"
    );
    assert_eq!(code, 1);
}

#[test]
fn a_driver_of_another_version() {
    let (_dir, path) = image("signal", VERMAGIC);
    for (major, older, remedy) in [
        (
            0,
            "guest",
            "update vesper_guest in the guest to the version of the host",
        ),
        (
            2,
            "host",
            "update vesper_host to the version that the guest has",
        ),
    ] {
        let guest = Fake {
            errno: Errno::ENOTCONN,
            guest_abi: Some((major << 16) | 7),
            ..fake()
        };
        let (cause, said, code) = fails(guest, &["load", "web1", &path]);
        assert_eq!(
            cause,
            format!(
                "the VESPER driver in guest 'web1' speaks version {major} of the device \
                 interface, the host version 1: the {older}'s modules are older"
            )
        );
        assert_eq!((said.as_str(), code), (remedy, 1));
    }
}

#[test]
fn causes_and_remedies_of_the_ioctl() {
    let (_dir, path) = image("signal", VERMAGIC);
    for (errno, cause, remedy, code) in [
        (
            Errno::ENOTCONN,
            "there is no VESPER driver in guest 'web1'",
            "load it there with `modprobe vesper_guest`",
            1,
        ),
        (
            Errno::EEXIST,
            "module 'signal' is loaded in guest 'web1' already",
            "`vesper unload web1 signal` first",
            1,
        ),
        (
            Errno::ETIMEDOUT,
            "time-out: guest 'web1' has not answered the request to load 'signal'",
            "`vesper list web1` shows whether it is still initialising there; a load that the \
             guest had not begun, as when it is paused, is withdrawn; --timeout gives it longer",
            4,
        ),
        (
            Errno::EINTR,
            "interrupted: load of 'signal' is withdrawn if guest 'web1' had not begun it",
            "`vesper list web1` shows whether it is there",
            130,
        ),
        (
            Errno::EPIPE,
            "guest 'web1' went away before it answered",
            "`vesper domains` shows what became of it",
            1,
        ),
    ] {
        let fake = Fake { errno, ..fake() };
        let found = fails(fake, &["load", "web1", &path]);
        assert_eq!(found, (cause.to_owned(), remedy.to_owned(), code));
    }
    let fake = Fake {
        errno: Errno::ENOMEM,
        ..fake()
    };
    let (_, remedy, _) = fails(fake, &["load", "web1", &path]);
    assert!(remedy.contains("RLIMIT_MEMLOCK"), "{remedy}");
}

#[test]
fn causes_and_remedies_of_the_guest() {
    let (_dir, path) = image("signal", VERMAGIC);
    let kernel = bindings::VIRTIO_VESPER_STAGE_KERNEL;
    let policy = bindings::VIRTIO_VESPER_STAGE_POLICY;
    let share = bindings::VIRTIO_VESPER_STAGE_SHARE;
    for (stage, status, cause, remedy) in [
        (
            kernel,
            Errno::ENOEXEC,
            "exec format error",
            "build the module for the kernel",
        ),
        (
            kernel,
            Errno::ENOKEY,
            "required key not available",
            "sign the module",
        ),
        (
            kernel,
            Errno::EKEYREJECTED,
            "required key not available",
            "sign the module",
        ),
        (
            kernel,
            Errno::ENOENT,
            "unknown symbol in module",
            "load the modules it depends on",
        ),
        (kernel, Errno::EEXIST, "module already loaded", "unload it"),
        (
            kernel,
            Errno::EBUSY,
            "device or resource busy",
            "something in the guest uses it",
        ),
        (
            kernel,
            Errno::EINVAL,
            "invalid argument",
            "check the parameters",
        ),
        (
            policy,
            Errno::EPERM,
            "its load policy forbids it",
            "load_policy of vesper_guest",
        ),
        (
            share,
            Errno::ENOMEM,
            "its buffers can't be shared",
            "RLIMIT_MEMLOCK",
        ),
        (
            share,
            Errno::ENOSPC,
            "its buffers can't be shared",
            "smaller buffers",
        ),
    ] {
        let fake = Fake {
            stage,
            status: status as u32,
            text: "hostile \x1b[2J words",
            ..fake()
        };
        let (said, hint, code) = fails(fake, &["load", "web1", &path]);
        let begins = format!("guest 'web1' refused to load 'signal': {cause}");
        assert!(said.starts_with(&begins), "{said}");
        assert!(said.contains(&format!("({status:?})")), "{said}");
        assert!(
            said.ends_with("; it says: hostile \\x1b[2J words"),
            "{said}"
        );
        assert!(hint.contains(remedy), "{hint}");
        assert_eq!(code, 3);
    }
    let unknown = Fake {
        status: 4_000_000_000,
        ..fake()
    };
    let (said, _, _) = fails(unknown, &["unload", "web1", "signal"]);
    assert!(
        said.ends_with("refused to unload 'signal': error 4000000000"),
        "{said}"
    );
}

#[test]
fn a_remark_of_the_guest_is_passed_on() {
    let (_dir, path) = image("signal", VERMAGIC);
    let fake = Fake {
        text: "one point\x07 is not there",
        ..fake()
    };
    assert_eq!(
        run(fake, &["load", "web1", &path]).0.unwrap(),
        "signal: loaded into web1\nsignal: web1 says: one point\\x07 is not there\n"
    );
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
    let (cause, remedy, code) = fails(fake, &["unload", "web1", "ext4"]);
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
    let said = |fake, args: &[&str]| run(fake, args).0.expect("done");
    assert_eq!(
        said(fake(), &["share", "web1", "block/vda/trace"]),
        "block/vda/trace: shared by web1: 1 channel is shown\n"
    );
    assert_eq!(said(fake(), &["share", "web1"]), "block/vda/trace\nnet/*\n");
    let old = Fake {
        errno: Errno::EOPNOTSUPP,
        ..fake()
    };
    let (cause, remedy, code) = fails(old, &["share", "web1", "x", "--stop"]);
    assert_eq!(cause, "guest 'web1' can't show relay channels of others");
    assert!(remedy.contains("too old"), "{remedy}");
    assert_eq!(code, 1);
    let twice = Fake {
        status: Errno::EEXIST as u32,
        stage: bindings::VIRTIO_VESPER_STAGE_FOREIGN,
        text: "the pattern is shared already",
        ..fake()
    };
    let (cause, _, code) = fails(twice, &["share", "web1", "x"]);
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
    let (cause, remedy, _) = fails(newer, &["domains"]);
    assert!(cause.ends_with("this tool is older"), "{cause}");
    assert_eq!(remedy, "install the tool that belongs to the module");
    let older = Fake { abi: 0, ..fake() };
    let (cause, remedy, _) = fails(older, &["domains"]);
    assert!(cause.ends_with("the module is older"), "{cause}");
    assert_eq!(
        remedy,
        "install and load the module that belongs to the tool"
    );
}

#[test]
fn no_image_no_request() {
    let (cause, _, code) = fails(fake(), &["load", "web1", "/nonexistent.ko"]);
    assert_eq!(
        cause,
        "/nonexistent.ko: No such file or directory (os error 2)"
    );
    assert_eq!(code, 1);
    let (_dir, path) = image("signal", VERMAGIC);
    let long = format!("x={}", "y".repeat(5000));
    let (cause, _, _) = fails(fake(), &["load", "web1", &path, &long]);
    assert_eq!(cause, "the parameters have more than 4096 bytes");
}

#[test]
fn time_outs_reach_the_module() {
    let (_dir, path) = image("signal", VERMAGIC);
    for (given, expected) in [("0", 0), ("500ms", 500), ("30s", 30_000), ("1h", 3_600_000)] {
        let (_, timeout) = run(fake(), &["load", "web1", &path, "--timeout", given]);
        assert_eq!(timeout, Some(expected));
    }
}
