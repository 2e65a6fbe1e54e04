// SPDX-License-Identifier: GPL-2.0

//! `vesper keep`, the program itself, but for what needs guests.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn keep(config: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vesper"))
        .arg("keep")
        .args(args)
        .env("VESPER_KEEP", config)
        .env("VESPER_DEVICE", config.with_file_name("no-device"))
        .output()
        .unwrap()
}

#[test]
fn what_is_kept_is_listed_until_it_is_removed() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("etc/keep.toml");
    let run = |args: &[&str]| {
        let output = keep(&config, args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["add", "web1", "memory", "min_us=5000", "comm=a b"]);
    run(&["add", "web2", "net", "--name", "net2"]);
    assert_eq!(
        run(&["list"]),
        "DOMAIN  PROBE   NAME  PARAMETERS\n\
         web1    memory  -     min_us=5000 comm=a b\n\
         web2    net     net2\n"
    );
    assert!(run(&["list", "web2", "--json"]).starts_with("[{\"domain\":\"web2\","));
    run(&["remove", "web2", "net2"]);
    let file = dir.path().join("x.ko");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    run(&["add", "web2", file]);
    let other = format!("{}/etc/../x.ko", dir.path().display());
    run(&["remove", "web2", &other]);
    run(&["remove", "web1"]);
    assert_eq!(run(&["list", "--json"]), "[]\n");
}

#[test]
fn mistakes_are_told() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("keep.toml");
    let told = |args: &[&str], status, text: &str| {
        let output = keep(&config, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
        assert!(said.contains(text), "{args:?}: {said}");
    };
    told(&["remove", "web1"], 1, "vesper keep list");
    told(&["add", "web1", "./no-such.ko"], 1, "no-such.ko");
    told(&["add", "../x", "net"], 2, "x");
    told(&["run"], 1, "modprobe vesper_host");
    fs::write(&config, "[[keep]]\ndomain = \"web1\"\nprobes = \"x\"\n").unwrap();
    told(&["list"], 1, "probes");
}

#[test]
fn where_nothing_can_be_said_it_goes_on() {
    let dir = TempDir::new().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_vesper"))
        .args(["keep", "remove", "web1"])
        .env("VESPER_KEEP", dir.path().join("keep.toml"))
        .stderr(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
