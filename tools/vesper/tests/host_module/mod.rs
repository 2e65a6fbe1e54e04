// SPDX-License-Identifier: GPL-2.0

//! A host module made up for tests of commands, and command lines that are run against it.

use std::cell::RefCell;

use clap::Parser;
use nix::errno::Errno;
use vesper_abi::bindings::{self, vesper_buffer, vesper_domain, vesper_load, vesper_module};
use vesper_abi::name::{text, NAME_LEN};
use vesper_cli::cli::{Cli, Command};
use vesper_cli::commands;
use vesper_cli::control::{Control, Host};
use vesper_cli::error::Error;
use vesper_cli::heartbeat;
use vesper_cli::load;
use zerocopy::FromZeros;

/// The kernel of guest web1.
pub const VERMAGIC: &str = "7.3.4+deb13-amd64 SMP preempt mod_unload modversions";

/// A module that answers what it is told to.
pub struct Fake {
    pub abi: u32,
    /// Of the driver in web1, if it was turned away.
    pub guest_abi: Option<u32>,
    pub errno: Errno,
    pub status: u32,
    pub stage: u32,
    pub text: &'static str,
    /// The loads.
    pub asked: RefCell<Vec<Asked>>,
}

/// What a load asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub domain: String,
    pub module: String,
    pub image_len: usize,
    pub params: String,
    pub timeout_ms: u32,
}

pub fn fake() -> Fake {
    Fake {
        abi: bindings::VESPER_ABI_VERSION,
        guest_abi: None,
        errno: Errno::UnknownErrno,
        status: 0,
        stage: bindings::VIRTIO_VESPER_STAGE_KERNEL,
        text: "",
        asked: RefCell::default(),
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
        self.asked.borrow_mut().push(Asked {
            domain: string(&request.domain),
            module: string(&request.module),
            image_len: image.len(),
            params: String::from_utf8_lossy(params).into_owned(),
            timeout_ms: request.timeout_ms,
        });
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
pub fn run(fake: &Fake, line: &[&str]) -> Result<String, Error> {
    let cli = Cli::try_parse_from([&["vesper"], line].concat()).unwrap();
    let host = Host::new(fake)?;
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
    done.map(|()| String::from_utf8(out).unwrap())
}

/// What a command that can't be done says: the cause, the remedy, and how the tool ends.
pub fn fails(fake: &Fake, line: &[&str]) -> (String, String, u8) {
    let error = run(fake, line).expect_err("no error");
    (
        error.to_string(),
        error.remedy().unwrap_or_default(),
        error.exit_code(),
    )
}
