// SPDX-License-Identifier: GPL-2.0

//! Groups of probe points: found in directories, listed, chosen by kernel.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use vesper_cli::catalogue::Catalogue;
use vesper_cli::cli::{Cli, Command};
use vesper_cli::error::Error;
use vesper_cli::probes;

mod module_file;

const RELEASES: [&str; 2] = ["6.12.1-amd64", "7.3.4+deb13-amd64"];

/// A directory as it is installed: a group `memory` for two kernels, a group
/// `block` whose module is called otherwise for one, and what is no group.
fn installed() -> TempDir {
    let dir = TempDir::new().unwrap();
    let add = |path: &str, modinfo: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, module_file::elf(Some(modinfo.as_bytes()))).unwrap();
    };
    for release in RELEASES {
        let modinfo = format!(
            "name=memory\0vermagic={release} SMP \0description=VESPER probe: memory\0\
             vesper_event=stall: Reclaim: it takes long.\0\
             vesper_field=stall.pid:S32: Who waits.\0\
             vesper_field=stall.us:U64: How long.\0\
             vesper_field=other.x:U64: Not of this.\0\
             vesper_point=oom_kill:ON: A process is chosen.\0\
             vesper_point=switches:OFF: Every switch.\0\
             parm=min_us:only longer ones\0parmtype=min_us:u64\0vesper_default=min_us:1000\0"
        );
        add(&format!("{release}/memory.ko"), &modinfo);
    }
    add(
        "7.3.4+deb13-amd64/blockio.ko",
        "name=blockio\0vesper_group=block\0vermagic=7.3.4+deb13-amd64 SMP \0vesper_point=slow:ON: x\0",
    );
    add("plain.ko", "name=plain\0vermagic=7.3.4+deb13-amd64 SMP \0");
    fs::write(dir.path().join("broken.ko"), "not a module").unwrap();
    dir
}

fn catalogue(dir: &TempDir) -> Catalogue {
    Catalogue::find(&[dir.path().to_owned()])
}

fn shown(dir: &TempDir, words: &[&str]) -> String {
    let args = ["vesper", "probes", "--probes", dir.path().to_str().unwrap()];
    let command = <Cli as clap::Parser>::try_parse_from(args.iter().chain(words)).unwrap();
    let Command::Probes(args) = command.command else {
        panic!("not probes");
    };
    let mut out = Vec::new();
    probes::probes(&args, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_build_that_fits_the_kernel() {
    let dir = installed();
    let catalogue = catalogue(&dir);
    for release in RELEASES {
        let vermagic = format!("{release} SMP ");
        for vermagic in [vermagic.as_bytes(), b""] {
            let build = catalogue
                .build("memory", vermagic, release.as_bytes())
                .unwrap();
            assert_eq!(build.path, dir.path().join(release).join("memory.ko"));
        }
    }
    let error = catalogue.build("memory", b"", b"9.9.9").unwrap_err();
    assert_eq!(
        error.to_string(),
        "group 'memory' is not built for kernel 9.9.9: there is 6.12.1-amd64, 7.3.4+deb13-amd64"
    );
    assert!(error
        .remedy()
        .unwrap()
        .contains("KDIR=/lib/modules/9.9.9/build"));
}

#[test]
fn a_group_goes_by_its_name_and_its_module_s() {
    let dir = installed();
    let catalogue = catalogue(&dir);
    for name in ["block", "blockio"] {
        assert_eq!(catalogue.group(name).unwrap()[0].module, "blockio");
    }
    for name in ["plain", "broken", "sched"] {
        let error = catalogue.group(name).unwrap_err();
        let Error::NoGroup { known, dirs, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(known, &["block", "memory"]);
        assert_eq!(dirs, &[PathBuf::from(dir.path())]);
    }
}

#[test]
fn all_groups_and_one() {
    let dir = installed();
    assert_eq!(
        shown(&dir, &[]),
        "GROUP   POINTS             KERNELS                         WHAT IT RECORDS\n\
         block   slow               7.3.4+deb13-amd64\n\
         memory  oom_kill,switches  6.12.1-amd64,7.3.4+deb13-amd64  memory\n"
    );
    let one = shown(&dir, &["memory"]);
    for line in [
        "memory: memory",
        "kernels: 6.12.1-amd64, 7.3.4+deb13-amd64",
        "  * oom_kill  A process is chosen.",
        "    switches  Every switch.",
        "  stall  Reclaim: it takes long.",
        "    pid  S32     Who waits.",
        "    us   U64     How long.",
        "  min_us=1000  u64     only longer ones",
    ] {
        assert!(one.lines().any(|l| l == line), "{line:?} in {one}");
    }
    assert!(!one.contains("Not of this"));
}

#[test]
fn json() {
    let dir = installed();
    let groups: serde_json::Value = serde_json::from_str(&shown(&dir, &["--json"])).unwrap();
    assert_eq!(groups[0]["group"], "block");
    assert_eq!(groups[0]["module"], "blockio");
    let memory = &groups[1];
    assert_eq!(memory["points"][0]["default"], true);
    assert_eq!(memory["points"][1]["default"], false);
    assert_eq!(memory["events"][0]["fields"][1]["type"], "U64");
    assert_eq!(memory["params"][0]["default"], "1000");
    assert_eq!(memory["releases"].as_array().unwrap().len(), 2);
}
