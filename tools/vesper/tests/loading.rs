// SPDX-License-Identifier: GPL-2.0

//! Loading modules, against a host module made up for the test.

use nix::errno::Errno;
use tempfile::TempDir;
use vesper_abi::bindings;

mod host_module;
mod module_file;

use host_module::{fails, fake, run, Asked, Fake, VERMAGIC};

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
fn load_sends_name_image_and_parameters() {
    let (_dir, path) = image("my_signal", VERMAGIC);
    let size = std::fs::metadata(&path).unwrap().len() as usize;
    let fake = fake();
    let line = [
        "load",
        "web1",
        &path,
        "sig=15",
        "comm=a b",
        "--timeout",
        "2s",
    ];
    assert_eq!(run(&fake, &line).unwrap(), "my_signal: loaded into web1\n");
    assert_eq!(
        fake.asked.take(),
        [Asked {
            domain: "web1".into(),
            module: "my_signal".into(),
            image_len: size,
            params: "sig=15 comm=\"a b\"".into(),
            timeout_ms: 2000,
        }]
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
    let probes = dir.path().to_str().unwrap();
    let load = |words: &[&str]| {
        let line = [&["load", "web1", "--probes", probes], words].concat();
        run(&fake, &line)
    };
    assert_eq!(
        load(&["memory", "min_us=5", "points=oom", &signal, "sig=9"]).unwrap(),
        "memory: loaded into web1\nsignal: loaded into web1\n"
    );
    let expected = [("memory", "min_us=5 points=oom"), ("signal", "sig=9")];
    let asked = fake.asked.take();
    let asked: Vec<_> = asked.iter().map(|of| (&*of.module, &*of.params)).collect();
    assert_eq!(asked, expected);

    // What is wrong with the last is found before the first is sent.
    let error = load(&["memory", "sched"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no group of probe points 'sched'"
    );
    let error = load(&["memory", "memory", "--name", "x"]).unwrap_err();
    assert!(error.to_string().contains("--name is for one"), "{error}");
    assert!(fake.asked.take().is_empty());
}

#[test]
fn another_kernel_is_refused_here() {
    let (_dir, path) = image("signal", "6.12.0 SMP mod_unload");
    let (cause, remedy, code) = fails(&fake(), &["load", "web1", &path]);
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
        let (cause, said, code) = fails(&guest, &["load", "web1", &path]);
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
        let found = fails(&fake, &["load", "web1", &path]);
        assert_eq!(found, (cause.to_owned(), remedy.to_owned(), code));
    }
    let fake = Fake {
        errno: Errno::ENOMEM,
        ..fake()
    };
    let (_, remedy, _) = fails(&fake, &["load", "web1", &path]);
    assert_eq!(remedy, "the host is short of memory");
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
        let (said, hint, code) = fails(&fake, &["load", "web1", &path]);
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
    let (said, _, _) = fails(&unknown, &["unload", "web1", "signal"]);
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
        run(&fake, &["load", "web1", &path]).unwrap(),
        "signal: loaded into web1\nsignal: web1 says: one point\\x07 is not there\n"
    );
}

#[test]
fn no_image_no_request() {
    let (cause, _, code) = fails(&fake(), &["load", "web1", "/nonexistent.ko"]);
    assert_eq!(
        cause,
        "/nonexistent.ko: No such file or directory (os error 2)"
    );
    assert_eq!(code, 1);
    let (_dir, path) = image("signal", VERMAGIC);
    let long = format!("x={}", "y".repeat(5000));
    let (cause, _, _) = fails(&fake(), &["load", "web1", &path, &long]);
    assert_eq!(cause, "the parameters have more than 4096 bytes");
}

#[test]
fn time_outs_reach_the_module() {
    let (_dir, path) = image("signal", VERMAGIC);
    for (given, expected) in [("0", 0), ("500ms", 500), ("30s", 30_000), ("1h", 3_600_000)] {
        let fake = fake();
        run(&fake, &["load", "web1", &path, "--timeout", given]).unwrap();
        assert_eq!(fake.asked.take()[0].timeout_ms, expected);
    }
}
