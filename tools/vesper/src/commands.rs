// SPDX-License-Identifier: GPL-2.0

//! The subcommands that talk to the host module: each takes its arguments, the
//! module, and where to print.

use std::io::Write;

use jiff::tz::TimeZone;
use serde::Serialize;
use vesper_abi::bindings::{self, vesper_buffer, vesper_domain, vesper_module};
use vesper_abi::escape::Escaped;
use vesper_abi::name::text;
use vesper_ctf::rewrite::uuid_text;

use crate::cli::{self, Scope};
use crate::control::{Control, Host};
use crate::error::{Error, Result};
use crate::json;
use crate::table;

/// Text of a guest, fit for a terminal.
fn shown(field: &[u8]) -> String {
    Escaped(text(field)).to_string()
}

/// A field of text, as JSON has it.
fn lossy(field: &[u8]) -> String {
    String::from_utf8_lossy(text(field)).into_owned()
}

fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".into()
    } else {
        text
    }
}

fn domain_state(domain: &vesper_domain) -> &'static str {
    match domain.state {
        bindings::VESPER_DOMAIN_ATTACHED if domain.guest_abi != 0 => "other version",
        bindings::VESPER_DOMAIN_ATTACHED => "no driver",
        bindings::VESPER_DOMAIN_READY => "ready",
        bindings::VESPER_DOMAIN_BROKEN => "broken",
        bindings::VESPER_DOMAIN_DEAD => "dead",
        _ => "unknown",
    }
}

fn run_state(domain: &vesper_domain) -> &'static str {
    match domain.run_state {
        // What it said last is not how it is.
        _ if domain.state == bindings::VESPER_DOMAIN_DEAD => "-",
        bindings::VESPER_RUN_RUNNING => "running",
        bindings::VESPER_RUN_PAUSED => "paused",
        bindings::VESPER_RUN_STOPPED => "stopped",
        bindings::VESPER_RUN_FAILED => "failed",
        _ => "-",
    }
}

fn policy(domain: &vesper_domain) -> &'static str {
    match domain.load_policy {
        bindings::VIRTIO_VESPER_POLICY_ANY => "any",
        bindings::VIRTIO_VESPER_POLICY_SIGNED => "signed",
        bindings::VIRTIO_VESPER_POLICY_NONE => "none",
        _ => "unknown",
    }
}

fn module_state(module: &vesper_module) -> &'static str {
    match module.state {
        bindings::VESPER_MODULE_LOADING => "loading",
        bindings::VESPER_MODULE_LIVE => "live",
        bindings::VESPER_MODULE_UNLOADING => "unloading",
        bindings::VESPER_MODULE_DRAINING => "draining",
        _ => "unknown",
    }
}

#[derive(Serialize)]
struct DomainJson {
    domain: String,
    state: &'static str,
    run_state: &'static str,
    vmm_pid: i32,
    cpus: u32,
    load_policy: &'static str,
    modules: u32,
    channels: u32,
    lent_pages: u64,
    kept_bytes: u64,
    heartbeat: &'static str,
    powerdowns: u32,
    hangs: u64,
    tsc_khz: u64,
    boot_id: String,
    release: String,
    vermagic: String,
}

/// `vesper domains`.
pub fn domains(host: &Host<impl Control>, args: &cli::Json, out: &mut impl Write) -> Result<()> {
    let domains = host.domains()?;
    if args.json {
        let object = |domain: &vesper_domain| DomainJson {
            domain: lossy(&domain.name),
            state: domain_state(domain),
            run_state: run_state(domain),
            vmm_pid: domain.vmm_pid,
            cpus: domain.nr_cpus,
            load_policy: policy(domain),
            modules: domain.modules,
            channels: domain.channels,
            lent_pages: domain.lent_pages,
            kept_bytes: domain.kept_bytes,
            heartbeat: crate::heartbeat::state(domain.heartbeat),
            powerdowns: domain.powerdowns,
            hangs: domain.hangs,
            tsc_khz: domain.tsc_khz,
            boot_id: uuid_text(&domain.boot_id),
            release: lossy(&domain.release),
            vermagic: lossy(&domain.vermagic),
        };
        let objects: Vec<_> = domains.iter().map(object).collect();
        return Ok(json::write_array(out, &objects)?);
    }
    let row = |domain: &vesper_domain| {
        let ready = domain.state != bindings::VESPER_DOMAIN_ATTACHED;
        let known = |text: String| if ready { text } else { "-".into() };
        [
            shown(&domain.name),
            domain_state(domain).into(),
            run_state(domain).into(),
            match domain.vmm_pid {
                0 => "-".into(),
                pid => pid.to_string(),
            },
            known(domain.nr_cpus.to_string()),
            known(policy(domain).into()),
            domain.modules.to_string(),
            known(format!("{} KiB", domain.lent_pages.saturating_mul(4))),
            format!("{} KiB", domain.kept_bytes.div_ceil(1024)),
            or_dash(shown(&domain.release)),
        ]
    };
    let rows: Vec<_> = domains.iter().map(row).collect();
    let heading = [
        "DOMAIN", "STATE", "VM", "PID", "CPUS", "LOAD", "MODULES", "LENT", "KEPT", "KERNEL",
    ];
    Ok(table::write(out, heading, &rows)?)
}

/// `vesper unload`.
pub fn unload(host: &Host<impl Control>, args: &cli::Unload, out: &mut impl Write) -> Result<()> {
    host.unload(&args.domain, &args.module, args.timeout)?;
    writeln!(out, "{}: unloaded from {}", args.module, args.domain)?;
    Ok(())
}

/// `vesper share`.
pub fn share(host: &Host<impl Control>, args: &cli::Share, out: &mut impl Write) -> Result<()> {
    let Some(pattern) = &args.pattern else {
        let shared = host.shared(&args.domain)?;
        if args.json.json {
            let objects: Vec<_> = shared
                .iter()
                .map(|pattern| SharedJson {
                    domain: args.domain.clone(),
                    pattern: String::from_utf8_lossy(pattern).into_owned(),
                })
                .collect();
            return Ok(json::write_array(out, &objects)?);
        }
        for pattern in shared {
            writeln!(out, "{}", Escaped(&pattern))?;
        }
        return Ok(());
    };
    let said = host.share(&args.domain, pattern, args.stop, args.timeout)?;
    let done = match args.stop {
        true => "not shared any more",
        false => "shared",
    };
    writeln!(
        out,
        "{pattern}: {done} by {}: {}",
        args.domain,
        Escaped(&said)
    )?;
    Ok(())
}

#[derive(Serialize)]
struct SharedJson {
    domain: String,
    pattern: String,
}

/// `vesper reap`.
pub fn reap(host: &Host<impl Control>, args: &cli::Reap, out: &mut impl Write) -> Result<()> {
    let Scope { domain, module } = &args.scope;
    let bytes = host.reap(domain, module.as_deref())?;
    let what = match module {
        Some(module) => format!("{domain}/{module}"),
        None => domain.clone(),
    };
    writeln!(out, "{what}: dropped {} KiB", bytes.div_ceil(1024))?;
    Ok(())
}

/// When a module was loaded, as people want to know it.
fn loaded_at(module: &vesper_module) -> String {
    let second = i128::from(module.loaded_ns / 1_000_000_000) * 1_000_000_000;
    let time = crate::time::wall_clock(second, &TimeZone::system());
    let time = time.filter(|_| second != 0).unwrap_or_default();
    or_dash(time.trim_end_matches(".000000000").to_owned())
}

/// The guests that a command is about: the one named, or all.
pub(crate) fn scope(host: &Host<impl Control>, domain: Option<&str>) -> Result<Vec<String>> {
    match domain {
        Some(domain) => Ok(vec![domain.to_owned()]),
        None => {
            let domains = host.domains()?;
            Ok(domains.iter().map(|domain| lossy(&domain.name)).collect())
        }
    }
}

#[derive(Serialize)]
struct ModuleJson {
    domain: String,
    module: String,
    state: &'static str,
    last_error: u32,
    channels: u32,
    image_bytes: u64,
    loaded: Option<String>,
    remark: String,
}

/// `vesper list`.
pub fn list(host: &Host<impl Control>, args: &cli::List, out: &mut impl Write) -> Result<()> {
    let (mut rows, mut objects) = (Vec::new(), Vec::new());
    let mut remarks = Vec::new();
    for domain in scope(host, args.domain.as_deref())? {
        let modules = match host.modules(&domain) {
            // It went away while we were listing the others.
            Err(Error::NoDomain { .. }) if args.domain.is_none() => continue,
            modules => modules?,
        };
        for module in &modules {
            let loaded = crate::time::rfc3339(i128::from(module.loaded_ns));
            let loaded = loaded.filter(|_| module.loaded_ns != 0);
            if args.json.json {
                objects.push(ModuleJson {
                    domain: domain.clone(),
                    module: lossy(&module.name),
                    state: module_state(module),
                    last_error: module.status,
                    channels: module.channels,
                    image_bytes: module.image_len,
                    loaded,
                    remark: lossy(&module.text),
                });
                continue;
            }
            let error = match module.status {
                0 => "-".into(),
                status => nix::errno::Errno::from_raw(status as i32).desc().to_owned(),
            };
            rows.push([
                domain.clone(),
                shown(&module.name),
                module_state(module).into(),
                module.channels.to_string(),
                loaded_at(module),
                error,
            ]);
            if !text(&module.text).is_empty() {
                remarks.push(format!(
                    "{domain}/{}: {}",
                    shown(&module.name),
                    shown(&module.text)
                ));
            }
        }
    }
    if args.json.json {
        return Ok(json::write_array(out, &objects)?);
    }
    let heading = [
        "DOMAIN",
        "MODULE",
        "STATE",
        "CHANNELS",
        "LOADED",
        "LAST ERROR",
    ];
    table::write(out, heading, &rows)?;
    for remark in remarks {
        writeln!(out, "{remark}")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct BufferJson {
    domain: String,
    module: String,
    channel: String,
    buffer: u32,
    overwrite: bool,
    subbuf_size: u32,
    n_subbufs: u32,
    produced: u64,
    consumed: u64,
    lost: u64,
    lapped: u64,
    unread_bytes: u64,
}

/// `vesper stat`.
pub fn stat(host: &Host<impl Control>, args: &cli::Stat, out: &mut impl Write) -> Result<()> {
    let Scope { domain, module } = match &args.scope {
        Some(scope) => scope.clone(),
        None => Scope {
            domain: String::new(),
            module: None,
        },
    };
    let named = args.scope.as_ref().map(|_| domain.as_str());
    let (mut rows, mut objects) = (Vec::new(), Vec::new());
    for domain in scope(host, named)? {
        let buffers = match host.buffers(&domain) {
            Err(Error::NoDomain { .. }) if named.is_none() => continue,
            buffers => buffers?,
        };
        let wanted = |buffer: &&vesper_buffer| {
            let module = module.as_ref();
            module.is_none_or(|module| text(&buffer.module) == module.as_bytes())
        };
        if let (Some(module), None) = (&module, buffers.iter().find(wanted)) {
            let modules = host.modules(&domain)?;
            // One that is there need not have a channel.
            if !modules.iter().any(|m| text(&m.name) == module.as_bytes()) {
                let module = module.clone();
                return Err(Error::NotLoaded { domain, module });
            }
        }
        for buffer in buffers.iter().filter(wanted) {
            let overwrite = buffer.flags & bindings::VIRTIO_VESPER_CHAN_OVERWRITE != 0;
            if args.json.json {
                objects.push(BufferJson {
                    domain: domain.clone(),
                    module: lossy(&buffer.module),
                    channel: lossy(&buffer.channel),
                    buffer: buffer.buffer,
                    overwrite,
                    subbuf_size: buffer.subbuf_size,
                    n_subbufs: buffer.n_subbufs,
                    produced: buffer.produced,
                    consumed: buffer.consumed,
                    lost: buffer.lost,
                    lapped: buffer.lapped,
                    unread_bytes: buffer.unread_bytes,
                });
                continue;
            }
            rows.push([
                domain.clone(),
                shown(&buffer.module),
                format!("{}{}", shown(&buffer.channel), buffer.buffer),
                format!("{} x {} KiB", buffer.n_subbufs, buffer.subbuf_size / 1024),
                if overwrite { "overwrite" } else { "stop" }.into(),
                buffer.produced.to_string(),
                buffer.consumed.to_string(),
                buffer.lost.to_string(),
                if overwrite {
                    buffer.lapped.to_string()
                } else {
                    "-".into()
                },
                buffer.unread_bytes.to_string(),
            ]);
        }
    }
    if args.json.json {
        return Ok(json::write_array(out, &objects)?);
    }
    let heading = [
        "DOMAIN",
        "MODULE",
        "BUFFER",
        "SIZE",
        "WHEN FULL",
        "PRODUCED",
        "CONSUMED",
        "LOST",
        "LAPPED",
        "UNREAD BYTES",
    ];
    Ok(table::write(out, heading, &rows)?)
}
