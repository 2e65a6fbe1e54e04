// SPDX-License-Identifier: GPL-2.0

//! The channels that are open, for those who come from outside: CPU hotplug, the host's wish for a
//! flush, work items that outlive a channel.
//!
//! Lock order: CPU hotplug, then the registry, then relay's own mutex. Nobody waits for the
//! listener with one of them held.

use super::{
    channel::Channel,
    spec::Spec,
    store::{
        self,
        Store, //
    },
};
use crate::{
    listener::Source,
    sys::{
        cpu::HotplugLock,
        hotplug::{
            Prepare,
            Registration, //
        },
    },
};
use kernel::{
    debugfs,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::Arc, //
};

/// What there is, while the module lives.
struct State {
    /// `/sys/kernel/debug/vesper_guest`.
    root: debugfs::Dir,
    /// `module` directories below it: one for all channels of a module.
    modules: KVec<(Module, debugfs::Dir)>,
    channels: KVec<Arc<Channel>>,
}

type Module = [u8; crate::abi::NAME_LEN];

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, which the module calls before there is anybody to open a
    // channel.
    unsafe(uninit) static STATE: Mutex<Option<State>> = None;
}

/// What keeps the registry going. Dropped when the module goes, and then no channel is open: the
/// modules of probes hold references to this one.
pub(crate) struct Guard {
    _hotplug: Registration<Hotplug>,
}

/// Sets the registry up.
///
/// # Safety
///
/// Called once, before anything else here.
pub(crate) unsafe fn init() -> Result<Guard> {
    // SAFETY: The caller's promise.
    unsafe { STATE.init() };
    *STATE.lock() = Some(State {
        root: debugfs::Dir::new(c"vesper_guest"),
        modules: KVec::new(),
        channels: KVec::new(),
    });
    Ok(Guard {
        _hotplug: Registration::new(c"vesper:prepare")?,
    })
}

impl Drop for Guard {
    fn drop(&mut self) {
        let state = STATE.lock().take();
        drop(state);
    }
}

/// Makes the channel that `spec` describes and enters it. Fails with `EEXIST` if its module has one
/// of that name.
pub(crate) fn insert(lock: &HotplugLock, spec: Spec) -> Result<Arc<Channel>> {
    let mut guard = STATE.lock();
    let state = guard.as_mut().ok_or(ENODEV)?;
    let exists = state.channels.iter().any(|channel| {
        let other = channel.store().description();
        other.module == spec.description.module && other.channel == spec.description.channel
    });
    if exists {
        return Err(EEXIST);
    }
    state.channels.reserve(1, GFP_KERNEL)?;
    let channel = Channel::create(lock, spec)?;
    state.channels.push(channel.clone(), GFP_KERNEL)?;
    Ok(channel)
}

/// Takes a channel out.
pub(crate) fn remove(channel: &Channel) {
    let mut guard = STATE.lock();
    let Some(state) = guard.as_mut() else {
        return;
    };
    let module = channel.store().description().module;
    state
        .channels
        .retain(|other| !core::ptr::eq(&**other, channel));
    let used = state
        .channels
        .iter()
        .any(|other| other.store().description().module == module);
    if !used {
        state.modules.retain(|(name, _)| *name != module);
    }
}

/// The directory of a module in debugfs.
pub(crate) fn dir(module: &Module) -> Result<debugfs::Dir> {
    let mut guard = STATE.lock();
    let state = guard.as_mut().ok_or(ENODEV)?;
    if let Some((_, dir)) = state.modules.iter().find(|(name, _)| name == module) {
        return Ok(dir.clone());
    }
    let dir = {
        let name = CString::try_from_fmt(fmt!("{}", BStr::from_bytes(store::name(module))))?;
        state.root.subdir(&name)
    };
    state.modules.push((*module, dir.clone()), GFP_KERNEL)?;
    Ok(dir)
}

fn with(store: &Store, f: impl FnOnce(&Channel, &HotplugLock)) {
    let lock = HotplugLock::read();
    let guard = STATE.lock();
    let channels = guard.as_ref().map_or(&[][..], |state| &state.channels);
    if let Some(channel) = channels.iter().find(|channel| channel.lends(store)) {
        f(channel, &lock);
    }
}

/// Publishes what lies waiting in the channel that lends `store`, if it is open. Process context.
pub(crate) fn flush(store: &Store) {
    with(store, |channel, lock| channel.flush(lock));
}

/// The host has made room: publishes what was held up for want of it, in the channel that lends
/// `store`. Process context.
pub(crate) fn catch_up(store: &Store) {
    with(store, |channel, lock| channel.catch_up(lock));
}

/// Publishes what lies waiting, for CPUs that are offline.
pub(crate) fn flush_offline(store: &Store) {
    with(store, |channel, lock| channel.flush_offline(lock));
}

struct Hotplug;

impl Prepare for Hotplug {
    fn prepare(lock: &HotplugLock, cpu: u32) {
        let guard = STATE.lock();
        for channel in guard.as_ref().map_or(&[][..], |state| &state.channels) {
            // Without a buffer the CPU's records are counted as lost; no reason to keep it down.
            if let Err(e) = channel.prepare(lock, cpu) {
                pr_warn!("no trace buffer for CPU {cpu}: {e:?}\n");
            }
        }
    }
}
