// SPDX-License-Identifier: GPL-2.0

//! Relay channels that others open in this guest, shown to the host while it asks for them.
//!
//! relay knows which channels there are; hooks at its functions say only that it is worth another
//! look, and one that is missed is made up for by the next. Only switches are followed one by one:
//! before anything is written to a sub-buffer, the index page has to say so. A channel is lent as
//! somebody who has its files open would hold it. Nothing of it is changed: no switch is forced, and
//! what the host has read is not taken for consumed.
//!
//! Lock order: `state`, then relay's mutex and all that the listener takes; `requests` is a leaf.

use crate::{
    abi, bindings,
    comm::{
        self,
        Comm, //
    },
    later::ESTALE,
    listener,
    loader::Text,
    pattern,
    sys::{
        deferred::Deferred,
        function::{
            Function,
            Handler, //
        },
        relays::{
            self,
            Anchor,
            Buffer,
            Open, //
        },
        table::Table,
        work::{
            Run,
            Work, //
        },
    },
};
use core::fmt::Write as _;
use kernel::{
    ffi::c_void,
    new_mutex,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
};

mod channel;

use channel::{
    Bell,
    Channel, //
};

/// Most patterns.
const MAX_PATTERNS: usize = 64;

/// Most channels shown at a time.
const MAX_CHANNELS: usize = 64;

/// Most requests that wait for an answer.
const MAX_REQUESTS: usize = 64;

type Pattern = [u8; pattern::PATTERN_LEN];

/// What the host asks for.
struct Request {
    id: u32,
    generation: u32,
    /// `None` if it breaks the rule.
    pattern: Option<Pattern>,
    stop: bool,
}

/// What is attached while there is a pattern.
struct Hooks {
    _switch: Function,
    _others: KVec<Function>,
}

/// What is shown, and for which patterns.
struct State {
    // First, so that nothing comes in any more.
    hooks: Option<Hooks>,
    patterns: KVec<Pattern>,
    shown: KVec<Arc<Deferred<Bell>>>,
    anchor: Option<Anchor>,
}

/// A channel that a pattern stands for, as a look at relay's list has found it.
struct Found {
    id: usize,
    path: KVec<u8>,
    name: KVec<u8>,
    shape: (usize, usize),
    is_global: bool,
    buffers: KVec<(u32, Buffer)>,
}

/// The channels of others.
pub(crate) struct Foreign {
    comm: Arc<Comm>,
    table: Table<Deferred<Bell>>,
    requests: Pin<KBox<Mutex<KVec<Request>>>>,
    state: Pin<KBox<Mutex<State>>>,
    /// There is a host that may ask.
    up: Atomic<bool>,
}

impl Foreign {
    /// None shown, none asked for. Process context.
    pub(crate) fn new(comm: Arc<Comm>) -> Result<Arc<Work<Self>>> {
        let state = State {
            hooks: None,
            patterns: KVec::new(),
            shown: KVec::new(),
            anchor: None,
        };
        let this = Self {
            comm,
            table: Table::new(MAX_CHANNELS)?,
            requests: KBox::pin_init(new_mutex!(KVec::new(), "vesper_shares"), GFP_KERNEL)?,
            state: KBox::pin_init(new_mutex!(state, "vesper_foreign"), GFP_KERNEL)?,
            up: Atomic::new(false),
        };
        Arc::pin_init(Work::new(this), GFP_KERNEL)
    }

    /// There is a host. Process context.
    pub(crate) fn attached(&self) {
        self.up.store(true, Relaxed);
    }

    /// The host will be gone: looks for nothing any more. The listener takes back what is shown;
    /// until then switches are followed. Process context; waits for what is being shown, with a
    /// time limit.
    pub(crate) fn stop(&self) {
        self.up.store(false, Relaxed);
        let state = self.state.lock();
        for bell in state.shown.iter() {
            if bell.channel.finalized() {
                bell.channel.finish();
            }
        }
    }

    /// The host is gone, and has nothing of it any more: forgets what was shown and asked for.
    /// Whoever drops this has called it since the last [`Foreign::attached`]. Process context.
    pub(crate) fn detached(&self) {
        self.requests.lock().clear();
        self.clear(&mut self.state.lock());
    }

    fn clear(&self, state: &mut State) {
        state.hooks = None;
        state.patterns.clear();
        while let Some(bell) = state.shown.pop() {
            self.hide(bell);
        }
        state.anchor = None;
    }

    /// Takes in a message of the host's. Process context.
    pub(crate) fn receive(this: &Arc<Work<Self>>, head: &comm::Head, message: &[u8]) {
        let pattern = comm::read::<bindings::virtio_vesper_share>(message)
            .map(|share| share.pattern)
            .filter(|field| pattern::pattern(field).is_some());
        let request = Request {
            id: head.id,
            generation: this.comm.generation(),
            pattern,
            stop: head.kind == bindings::VIRTIO_VESPER_L_UNSHARE,
        };
        let mut requests = this.requests.lock();
        // The host has a limit of its own, far below.
        if requests.len() < MAX_REQUESTS && requests.push(request, GFP_KERNEL).is_ok() {
            this.queue();
        } else {
            pr_warn!("too many requests of the host for channels: one is dropped\n");
        }
    }

    /// What there is to be told in a panic.
    pub(crate) fn last_words(&self) {
        self.table.for_each(|bell| bell.channel.last_words());
    }

    fn answer(&self, request: &Request, result: Result, text: Text) {
        let status = match result {
            Ok(()) => 0,
            Err(e) => e.to_errno().unsigned_abs(),
        };
        let result = bindings::virtio_vesper_result {
            status: status.to_le(),
            stage: bindings::VIRTIO_VESPER_STAGE_FOREIGN.to_le(),
            text: text.field(),
            ..Zeroable::zeroed()
        };
        match self.comm.result(request.generation, request.id, result) {
            // A host that is gone has no use for it.
            Ok(()) | Err(ESTALE | ENODEV) => (),
            Err(e) => pr_warn!("the host does not hear what came of its request: {:?}\n", e),
        }
    }

    /// Does what the host asks.
    fn carry_out(&self, request: &Request) -> (Result, Text) {
        let Some(pattern) = request.pattern else {
            let text = Text::new(fmt!("the host sent a malformed pattern"));
            return (Err(EINVAL), text);
        };
        let mut state = self.state.lock();
        if !self.up.load(Relaxed) || request.generation != self.comm.generation() {
            return (Err(ENODEV), Text::none());
        }
        let at = state.patterns.iter().position(|p| *p == pattern);
        if request.stop {
            let Some(at) = at else {
                let text = Text::new(fmt!("the pattern is not shared"));
                return (Err(ENOENT), text);
            };
            let _ = state.patterns.remove(at);
            let before = state.shown.len();
            if state.patterns.is_empty() {
                self.clear(&mut state);
            } else {
                let _ = self.look(&mut state, &mut Text::none());
            }
            let gone = before.saturating_sub(state.shown.len());
            return (Ok(()), Text::new(fmt!("channels shown no more: {gone}")));
        }
        if at.is_some() {
            let text = Text::new(fmt!("the pattern is shared already"));
            return (Err(EEXIST), text);
        }
        if state.patterns.len() >= MAX_PATTERNS {
            let text = Text::new(fmt!(
                "{MAX_PATTERNS} patterns are shared: no more are taken"
            ));
            return (Err(ENOSPC), text);
        }
        let mut refused = Text::none();
        let result = self.begin(&mut state, pattern, &mut refused);
        if let Err(e) = result {
            // What was shown meanwhile goes with the rest.
            if !self.up.load(Relaxed) {
                return (Err(ENODEV), Text::none());
            }
            // Without this one, things are as they were.
            state.patterns.retain(|p| *p != pattern);
            if state.patterns.is_empty() {
                self.clear(&mut state);
            }
            let text = match e {
                ENOMEM => Text::new(fmt!("the guest is short of memory")),
                _ => Text::new(fmt!(
                    "relay_switch_subbuf() can't be followed in this kernel"
                )),
            };
            return (Err(e), text);
        }
        let wanted = pattern::pattern(&pattern).unwrap_or(&[]);
        let shown = state.shown.iter();
        let count = shown
            .filter(|bell| pattern::matches(wanted, &bell.channel.path))
            .count();
        let mut text = match count {
            0 => Text::new(fmt!("no channel is there yet")),
            1 => Text::new(fmt!("1 channel is shown")),
            _ => Text::new(fmt!("{count} channels are shown")),
        };
        let _ = text.write_str(refused.as_str());
        (Ok(()), text)
    }

    fn begin(&self, state: &mut State, pattern: Pattern, refused: &mut Text) -> Result {
        state.patterns.push(pattern, GFP_KERNEL)?;
        if state.anchor.is_none() {
            state.anchor = Some(Anchor::new()?);
        }
        if state.hooks.is_none() {
            state.hooks = Some(self.hooks()?);
        }
        self.look(state, refused)
    }

    /// Attaches the hooks.
    fn hooks(&self) -> Result<Hooks> {
        let data = core::ptr::from_ref(self).cast_mut().cast::<c_void>();
        let name =
            |name: &CStr| CString::try_from_fmt(fmt!("{}", BStr::from_bytes(name.to_bytes())));
        // SAFETY: The handlers fit these functions, and `self` lives as long as the hooks: whoever
        // drops it has called `detached`.
        unsafe {
            let mut others = KVec::new();
            let functions: [(_, Handler); 4] = [
                (c"relay_open", Some(opened)),
                (c"relay_reset", Some(changed)),
                (c"relay_close", Some(changed)),
                (c"relay_prepare_cpu", Some(changed)),
            ];
            for (function, handler) in functions {
                let hook = Function::fprobe(name(function)?, None, handler, data);
                match hook {
                    Ok(hook) => others.push(hook, GFP_KERNEL)?,
                    Err(e) => pr_warn!("{:?} can't be followed: {:?}\n", function, e),
                }
            }
            Ok(Hooks {
                _switch: Function::fprobe(
                    name(c"relay_switch_subbuf")?,
                    Some(entered),
                    Some(left),
                    data,
                )?,
                _others: others,
            })
        }
    }

    /// Shows what is to be shown, and nothing else. `refused` takes what can't be.
    fn look(&self, state: &mut State, refused: &mut Text) -> Result {
        let mut found = KVec::new();
        let mut result = Ok(());
        if let Some(anchor) = &state.anchor {
            anchor.walk(|open| {
                let taken = take(open, &state.patterns).and_then(|taken| match taken {
                    Some(taken) => Ok(found.push(taken, GFP_KERNEL)?),
                    None => Ok(()),
                });
                if let Err(e) = taken {
                    result = Err(e);
                }
            })?;
        }
        result?;
        // Those that went first: others may have come by the same name.
        let is_there = |bell: &Bell| {
            found.iter().any(|f: &Found| f.id == bell.channel.id) && !bell.channel.is_stale()
        };
        while let Some(at) = state.shown.iter().position(|bell| !is_there(bell)) {
            if !self.up.load(Relaxed) {
                return Err(ENODEV);
            }
            if let Ok(bell) = state.shown.remove(at) {
                self.hide(bell);
            }
        }
        for found in found {
            // Each may have to wait for a host that does not answer.
            if !self.up.load(Relaxed) {
                return Err(ENODEV);
            }
            let known = state.shown.iter().find(|bell| bell.channel.id == found.id);
            let (path, result) = match known {
                Some(bell) => (None, more(bell, found.buffers)),
                None => {
                    let path = CString::try_from_fmt(fmt!("{}", BStr::from_bytes(&found.path)));
                    (path.ok(), self.show(state, found))
                }
            };
            if let Err(e) = result {
                let path = path.as_deref().unwrap_or(c"a channel");
                pr_warn!("{:?} can't be shown to the host: {:?}\n", path, e);
                let _ = refused.write_fmt(fmt!("; {:?} can't be: {:?}", path, e));
            }
        }
        Ok(())
    }

    fn show(&self, state: &mut State, found: Found) -> Result {
        let (size, count) = found.shape;
        let geometry =
            abi::Geometry::new(u32::try_from(size)?, u32::try_from(count)?).ok_or(EINVAL)?;
        let nr_buffers = match found.is_global {
            true => 1,
            false => kernel::cpu::nr_cpu_ids(),
        };
        let channel = Channel::new(found.id, found.path, &found.name, geometry, nr_buffers)?;
        for (cpu, buffer) in found.buffers {
            channel.add(cpu, buffer)?;
        }
        let channel = Arc::new(channel, GFP_KERNEL)?;
        let bell = Bell::new(channel.clone())?;
        state.shown.reserve(1, GFP_KERNEL)?;
        self.table.insert(channel.id, bell.clone())?;
        channel.begin();
        match listener::open(channel.clone()) {
            Ok(share) => channel::shown(&bell, share),
            Err(e) => {
                self.table.remove(channel.id);
                return Err(e);
            }
        }
        Ok(state.shown.push(bell, GFP_KERNEL)?)
    }

    /// Shows a channel no more.
    fn hide(&self, bell: Arc<Deferred<Bell>>) {
        if bell.channel.finalized() {
            bell.channel.finish();
        }
        drop(self.table.remove(bell.channel.id));
        // Takes everything back from the host.
        drop(bell);
    }
}

/// Takes note of a channel, if one of the patterns stands for it.
fn take(open: &Open<'_>, patterns: &[Pattern]) -> Result<Option<Found>> {
    let is_global = open.is_global();
    let cpus = if is_global {
        1
    } else {
        kernel::cpu::nr_cpu_ids()
    };
    let mut buffers = KVec::new();
    for cpu in 0..cpus {
        if let Some(buffer) = open.buffer(cpu) {
            buffers.push((cpu, buffer), GFP_KERNEL)?;
        }
    }
    let Some((_, first)) = buffers.first() else {
        return Ok(None);
    };
    let mut path = KVec::from_elem(0, 256, GFP_KERNEL)?;
    // One with a longer name than any pattern is none of those asked for.
    let Ok(len) = open.path(first, &mut path) else {
        return Ok(None);
    };
    path.truncate(len);
    let wanted = |field: &Pattern| {
        pattern::pattern(field).is_some_and(|pattern| pattern::matches(pattern, &path))
    };
    if !patterns.iter().any(wanted) {
        return Ok(None);
    }
    let mut name = KVec::new();
    name.extend_from_slice(open.name(), GFP_KERNEL)?;
    Ok(Some(Found {
        id: open.id(),
        path,
        name,
        shape: open.shape(),
        is_global,
        buffers,
    }))
}

/// Shows buffers that have come to a channel that is shown.
fn more(bell: &Arc<Deferred<Bell>>, buffers: KVec<(u32, Buffer)>) -> Result {
    let mut new = KVec::new();
    for (cpu, buffer) in buffers {
        if bell.channel.add(cpu, buffer)? {
            new.push(cpu, GFP_KERNEL)?;
        }
    }
    if !new.is_empty() {
        bell.channel.begin();
    }
    for cpu in new {
        channel::add_buffer(bell, cpu)?;
    }
    Ok(())
}

impl Run for Foreign {
    fn run(&self) {
        loop {
            let next = {
                let mut requests = self.requests.lock();
                match requests.is_empty() {
                    true => None,
                    false => requests.remove(0).ok(),
                }
            };
            let Some(request) = next else {
                break;
            };
            let (result, text) = self.carry_out(&request);
            self.answer(&request, result, text);
        }
        let mut state = self.state.lock();
        if state.hooks.is_some() && self.up.load(Relaxed) {
            match self.look(&mut state, &mut Text::none()) {
                // The host is going.
                Ok(()) | Err(ENODEV) => (),
                Err(e) => pr_warn!("can't see which channels there are: {:?}\n", e),
            }
        }
    }
}

/// # Safety
///
/// Called by the hook at `relay_switch_subbuf()`, with the `Foreign` that has attached it.
unsafe extern "C" fn entered(_data: *mut c_void, regs: *mut bindings::vesper_regs) {
    // SAFETY: By the contract above.
    unsafe { (*regs).state[0] = (*regs).arg[0] as u64 };
}

/// # Safety
///
/// As for [`entered`].
unsafe extern "C" fn left(data: *mut c_void, regs: *mut bindings::vesper_regs) {
    // SAFETY: By the contract above; the buffer is its caller's, who is about to write to it.
    unsafe {
        let this = &*data.cast::<Foreign>();
        let buffer = (*regs).state[0] as usize;
        if let Some((id, cpu)) = relays::switched(buffer) {
            this.table
                .with(id, |bell| channel::switched(bell, cpu, buffer));
        }
    }
}

/// # Safety
///
/// As for [`changed`].
unsafe extern "C" fn opened(data: *mut c_void, regs: *mut bindings::vesper_regs) {
    // SAFETY: By the contract above.
    unsafe {
        // A look at the list is a channel that is not opened in the end.
        if (*regs).ret != 0 {
            changed(data, regs);
        }
    }
}

/// # Safety
///
/// Called by a hook, with the `Foreign` that has attached it, in process context.
unsafe extern "C" fn changed(data: *mut c_void, _regs: *mut bindings::vesper_regs) {
    // SAFETY: By the contract above. `new` makes no `Foreign` but inside of a `Work`.
    unsafe { Work::of(&*data.cast::<Foreign>()).queue() };
}
