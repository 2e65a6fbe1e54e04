// SPDX-License-Identifier: GPL-2.0

//! UI layer of the loader: `/dev/vesper`, for the operator.

use crate::{
    abi::{
        self,
        NAME_LEN, //
    },
    bindings::{
        self,
        VESPER_IOC_MAGIC, //
    },
    domain::Domain,
    host::Host,
    later::{
        ENOTCONN,
        EOPNOTSUPP, //
    },
    loader::{
        Answer,
        Image,
        Share, //
    },
    message::Outcome,
    pattern,
    sys::node::{
        Node,
        EPOLLIN,
        EPOLLRDNORM, //
    },
    uapi::{
        self,
        Plain, //
    },
};
use kernel::{
    fs::File,
    ioctl::{
        _IOR,
        _IOWR, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollTable,
        Arc,
        ArcBorrow,
        CondVarTimeoutResult, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    transmute::AsBytes,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceWriter, //
    },
};

const MAGIC: u32 = VESPER_IOC_MAGIC;
const INFO: u32 = _IOR::<bindings::vesper_info>(MAGIC, 0x40);
const DOMAINS: u32 = _IOWR::<bindings::vesper_list>(MAGIC, 0x41);
const MODULES: u32 = _IOWR::<bindings::vesper_list>(MAGIC, 0x42);
const BUFFERS_OF: u32 = _IOWR::<bindings::vesper_list>(MAGIC, 0x43);
const LOAD: u32 = _IOWR::<bindings::vesper_load>(MAGIC, 0x44);
const UNLOAD: u32 = _IOWR::<bindings::vesper_unload>(MAGIC, 0x45);
const REAP: u32 = _IOWR::<bindings::vesper_reap>(MAGIC, 0x46);
const SHARE: u32 = _IOWR::<bindings::vesper_share>(MAGIC, 0x47);
const SHARED: u32 = _IOWR::<bindings::vesper_list>(MAGIC, 0x48);
const HEARTBEAT: u32 = _IOWR::<bindings::vesper_heartbeat>(MAGIC, 0x49);

/// Largest entry that a caller may claim to know.
const MAX_ENTRY: u32 = 4096;

/// An open file of an operator.
pub(crate) struct Operator {
    host: Arc<Host>,
    /// Count of changes before the last listing of the domains that gave all of them.
    seen: Atomic<u64>,
}

/// Entries on their way to the caller, in the size that it knows.
struct List {
    arg: usize,
    list: bindings::vesper_list,
}

impl List {
    fn new(arg: usize) -> Result<Self> {
        let mut list: bindings::vesper_list = uapi::get(arg)?;
        if list.reserved != 0 || list.entry_size == 0 || list.entry_size > MAX_ENTRY {
            return Err(EINVAL);
        }
        list.count = 0;
        Ok(Self { arg, list })
    }

    /// Counts an entry, and writes it if there is room. What the caller does not know is left
    /// out, what this module does not know is zero.
    fn push<T>(&mut self, entry: T) -> Result
    where
        Plain<T>: AsBytes,
    {
        let at = self.list.count;
        self.list.count = at.checked_add(1).ok_or(EOVERFLOW)?;
        if at >= self.list.capacity {
            return Ok(());
        }
        let size = self.list.entry_size as usize;
        let offset = u64::from(at).wrapping_mul(size as u64);
        let addr = self.list.entries.checked_add(offset).ok_or(EFAULT)?;
        let mut out = UserSlice::new(UserPtr::from_addr(usize::try_from(addr)?), size).writer();
        let plain = Plain(entry);
        let bytes = AsBytes::as_bytes(&plain);
        let known = bytes.len().min(size);
        out.write_slice(&bytes[..known])?;
        let mut rest = size.saturating_sub(known);
        while rest != 0 {
            let part = rest.min(64);
            out.write_slice(&[0; 64][..part])?;
            rest = rest.saturating_sub(part);
        }
        Ok(())
    }

    /// Ends the list. Returns whether the caller has all of it.
    fn finish(self) -> Result<bool> {
        let whole = self.list.count <= self.list.capacity;
        uapi::put(self.arg, self.list)?;
        Ok(whole)
    }
}

impl Operator {
    fn info(&self, arg: usize) -> Result {
        uapi::put(
            arg,
            bindings::vesper_info {
                abi_version: bindings::VESPER_ABI_VERSION,
                device_abi: bindings::VIRTIO_VESPER_ABI_VERSION,
                domains: self.host.count() as u32,
                max_domains: self.host.limits().max_domains as u32,
                ..pin_init::zeroed()
            },
        )
    }

    fn domains(&self, arg: usize) -> Result {
        let mut list = List::new(arg)?;
        let count = self.host.changes().count();
        for domain in self.host.snapshot()? {
            let mut entry: bindings::vesper_domain = pin_init::zeroed();
            domain.facts(&mut entry);
            entry.modules = module_entries(&domain)?.len() as u32;
            list.push(entry)?;
        }
        // Of two who list at once the slower one may win: that is a change seen twice.
        if list.finish()? {
            self.seen.store(count, Relaxed);
        }
        Ok(())
    }

    fn modules(&self, arg: usize) -> Result {
        let mut list = List::new(arg)?;
        let domain = self.host.find(&list.list.domain)?;
        for entry in module_entries(&domain)? {
            list.push(entry)?;
        }
        list.finish()?;
        Ok(())
    }

    fn buffers_of(&self, arg: usize) -> Result {
        let mut list = List::new(arg)?;
        let domain = self.host.find(&list.list.domain)?;
        domain.for_each_buffer(|buffer| {
            let _ = buffer.sync();
            list.push(buffer.facts())
        })?;
        list.finish()?;
        Ok(())
    }

    fn shared(&self, arg: usize) -> Result {
        let mut list = List::new(arg)?;
        let domain = self.host.find(&list.list.domain)?;
        // The desk is a leaf lock: memory is got before it is taken, and none of the user's is
        // touched under it.
        let room = domain.desk().lock().loader.shares().len();
        let mut entries = KVec::with_capacity(room.saturating_add(8), GFP_KERNEL)?;
        for pattern in domain.desk().lock().loader.shares() {
            // What was added meanwhile waits for the next call.
            if entries.push_within_capacity(*pattern).is_err() {
                break;
            }
        }
        for pattern in entries {
            list.push(bindings::vesper_shared {
                pattern,
                ..pin_init::zeroed()
            })?;
        }
        list.finish()?;
        Ok(())
    }

    fn reap(&self, arg: usize) -> Result {
        let mut it: bindings::vesper_reap = uapi::get(arg)?;
        if it.flags != 0 || it.reserved0 != 0 || it.reserved != [0; 4] {
            return Err(EINVAL);
        }
        let domain = self.host.find(&it.domain)?;
        let module = (it.module[0] != 0).then_some(&it.module);
        it.bytes = domain.reap(module)?;
        uapi::put(arg, it)
    }

    fn heartbeat(&self, arg: usize) -> Result {
        let mut it: bindings::vesper_heartbeat = uapi::get(arg)?;
        let known =
            bindings::VESPER_HEARTBEAT_SET_THRESHOLD | bindings::VESPER_HEARTBEAT_SET_PERIOD;
        if it.flags & !known != 0 || it.reserved != [0; 7] {
            return Err(EINVAL);
        }
        let domain = self.host.find(&it.domain)?;
        if it.flags != 0 {
            domain.heartbeat().set(|settings| {
                if it.flags & bindings::VESPER_HEARTBEAT_SET_THRESHOLD != 0 {
                    settings.threshold_ms = it.threshold_ms;
                }
                if it.flags & bindings::VESPER_HEARTBEAT_SET_PERIOD != 0 {
                    settings.period_ms = it.period_ms;
                }
            })?;
            self.host.bell().ring();
        }
        it.flags = 0;
        domain.heartbeat().facts(&mut it);
        uapi::put(arg, it)
    }

    /// The domain and the module that a request names, if the guest can be asked at all.
    fn target(
        &self,
        domain: &[u8; NAME_LEN],
        module: &[u8; NAME_LEN],
    ) -> Result<(Arc<Domain>, u64)> {
        abi::name(module).ok_or(EINVAL)?;
        self.ready(domain)
    }

    /// The domain of that name, if its guest can be asked anything, and how many drivers have gone
    /// away before the one that is there.
    fn ready(&self, domain: &[u8; NAME_LEN]) -> Result<(Arc<Domain>, u64)> {
        let domain = self.host.find(domain)?;
        // Before the state: a driver that goes in between is noticed.
        let gone = domain.desk().lock().loader.gone();
        match domain.state() {
            bindings::VESPER_DOMAIN_READY => Ok((domain, gone)),
            bindings::VESPER_DOMAIN_DEAD => Err(ENODEV),
            _ => Err(ENOTCONN),
        }
    }

    fn load(&self, arg: usize) -> Result {
        let mut it: bindings::vesper_load = uapi::get(arg)?;
        if it.flags != 0 || it.reserved != [0; 4] || it.image_len == 0 {
            return Err(EINVAL);
        }
        if it.image_len > bindings::VIRTIO_VESPER_MAX_IMAGE {
            return Err(EFBIG);
        }
        if it.params_len > bindings::VIRTIO_VESPER_MAX_PARAMS {
            return Err(EINVAL);
        }
        let (domain, gone) = self.target(&it.domain, &it.module)?;
        domain.step(c"A1", &it.module, &Ok(()));
        let image = image(&it);
        domain.step(c"A2", &it.module, &image);
        let image = Arc::new(image?, GFP_KERNEL_ACCOUNT)?;
        let answer = KBox::new(Outcome::none(), GFP_KERNEL_ACCOUNT)?;
        let desk = domain.desk();
        let id = {
            let mut inner = desk.lock();
            inner.still(gone)?;
            inner.loader.load(&it.module, image, answer)?
        };
        domain.changed();
        let outcome = wait(&domain, id, it.timeout_ms)?;
        it.status = outcome.status;
        it.stage = outcome.stage;
        it.text = outcome.text;
        uapi::put(arg, it)
    }

    fn unload(&self, arg: usize) -> Result {
        let mut it: bindings::vesper_unload = uapi::get(arg)?;
        if it.flags != 0 || it.reserved != [0; 4] {
            return Err(EINVAL);
        }
        let (domain, gone) = self.target(&it.domain, &it.module)?;
        domain.step(c"C1", &it.module, &Ok(()));
        let answer = KBox::new(Outcome::none(), GFP_KERNEL_ACCOUNT)?;
        let desk = domain.desk();
        let id = {
            let mut inner = desk.lock();
            inner.still(gone)?;
            let result = inner.loader.unload(&it.module, answer);
            domain.step(c"C2", &it.module, &result);
            result?
        };
        domain.changed();
        let outcome = wait(&domain, id, it.timeout_ms)?;
        it.status = outcome.status;
        it.stage = outcome.stage;
        it.text = outcome.text;
        uapi::put(arg, it)
    }
}

impl Operator {
    fn share(&self, arg: usize) -> Result {
        let mut it: bindings::vesper_share = uapi::get(arg)?;
        if it.flags & !bindings::VESPER_SHARE_STOP != 0 || it.reserved != [0; 4] {
            return Err(EINVAL);
        }
        pattern::pattern(&it.pattern).ok_or(EINVAL)?;
        let (domain, gone) = self.ready(&it.domain)?;
        if !domain.shares() {
            return Err(EOPNOTSUPP);
        }
        let share = Share {
            pattern: it.pattern,
            stop: it.flags & bindings::VESPER_SHARE_STOP != 0,
        };
        let share = KBox::new(share, GFP_KERNEL_ACCOUNT)?;
        let answer = KBox::new(Outcome::none(), GFP_KERNEL_ACCOUNT)?;
        let id = {
            let mut inner = domain.desk().lock();
            inner.still(gone)?;
            inner.loader.share(share, answer)?
        };
        let outcome = wait(&domain, id, it.timeout_ms)?;
        domain.changed();
        it.status = outcome.status;
        it.stage = outcome.stage;
        it.text = outcome.text;
        uapi::put(arg, it)
    }
}

/// Copies image and parameters in, one after the other.
fn image(it: &bindings::vesper_load) -> Result<Image> {
    let (image_len, params_len) = (it.image_len as usize, it.params_len as usize);
    let mut bytes = KVVec::with_capacity(image_len.wrapping_add(params_len), GFP_KERNEL_ACCOUNT)?;
    UserSlice::new(UserPtr::from_addr(usize::try_from(it.image)?), image_len)
        .read_all(&mut bytes, GFP_KERNEL_ACCOUNT)?;
    UserSlice::new(UserPtr::from_addr(usize::try_from(it.params)?), params_len)
        .read_all(&mut bytes, GFP_KERNEL_ACCOUNT)?;
    if bytes.iter().skip(image_len).any(|&b| b == 0) {
        return Err(EINVAL);
    }
    Ok(Image {
        bytes,
        image_len: it.image_len,
        params_len: it.params_len,
    })
}

/// Waits for the answer to request `id`, for `timeout_ms`, 0 for ever. `ETIMEDOUT`, `EINTR`;
/// `EPIPE`: the guest went away.
fn wait(domain: &Domain, id: u32, timeout_ms: u32) -> Result<KBox<Outcome>> {
    let desk = domain.desk();
    desk.notify_vmm();
    let mut left: Jiffies = msecs_to_jiffies(timeout_ms);
    let mut inner = desk.lock();
    loop {
        match inner.loader.answer(id) {
            Answer::Outcome(outcome) => return Ok(outcome),
            Answer::Gone => return Err(EPIPE),
            Answer::Pending => {}
        }
        let err = if timeout_ms == 0 {
            match desk.operators.wait_interruptible(&mut inner) {
                true => EINTR,
                false => continue,
            }
        } else {
            match desk.operators.wait_interruptible_timeout(&mut inner, left) {
                CondVarTimeoutResult::Woken { jiffies } => {
                    left = jiffies;
                    continue;
                }
                CondVarTimeoutResult::Timeout => ETIMEDOUT,
                CondVarTimeoutResult::Signal { .. } => EINTR,
            }
        };
        // The answer may have come in the same moment.
        return match inner.loader.answer(id) {
            Answer::Outcome(outcome) => Ok(outcome),
            Answer::Gone => Err(EPIPE),
            Answer::Pending => {
                inner.loader.abandon(id);
                drop(inner);
                domain.changed();
                desk.notify_vmm();
                Err(err)
            }
        };
    }
}

/// What is told of a domain's modules: those loaded from here, and those that only show channels.
fn module_entries(domain: &Domain) -> Result<KVVec<bindings::vesper_module>> {
    let mut entries: KVVec<bindings::vesper_module> = KVVec::new();
    // The desk is a leaf lock: memory is got before it is taken.
    let room = domain.desk().lock().loader.modules().len();
    entries.reserve(room.saturating_add(8), GFP_KERNEL)?;
    for known in domain.desk().lock().loader.modules() {
        let entry = bindings::vesper_module {
            name: known.name,
            state: known.state,
            status: known.status,
            image_len: u64::from(known.image_len),
            loaded_ns: known.loaded_ns,
            text: *known.text,
            ..pin_init::zeroed()
        };
        // What was added meanwhile waits for the next call.
        if entries.push_within_capacity(entry).is_err() {
            break;
        }
    }
    domain.dir().for_each(|facts| {
        if let Some(entry) = entries
            .iter_mut()
            .find(|e| facts.channels != 0 && e.name == facts.name)
        {
            entry.channels = facts.channels as u32;
            return Ok(());
        }
        let state = match facts.channels {
            0 => bindings::VESPER_MODULE_DRAINING,
            _ => bindings::VESPER_MODULE_LIVE,
        };
        let entry = bindings::vesper_module {
            name: facts.label,
            state,
            channels: facts.channels as u32,
            ..pin_init::zeroed()
        };
        Ok(entries.push(entry, GFP_KERNEL)?)
    })?;
    Ok(entries)
}

impl Node for Operator {
    type Context = Host;

    fn open(host: ArcBorrow<'_, Host>) -> Result<Arc<Self>> {
        let operator = Self {
            host: host.into(),
            seen: Atomic::new(0),
        };
        Ok(Arc::new(operator, GFP_KERNEL_ACCOUNT)?)
    }

    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            INFO => this.info(arg)?,
            DOMAINS => this.domains(arg)?,
            MODULES => this.modules(arg)?,
            BUFFERS_OF => this.buffers_of(arg)?,
            LOAD => this.load(arg)?,
            UNLOAD => this.unload(arg)?,
            REAP => this.reap(arg)?,
            SHARE => this.share(arg)?,
            SHARED => this.shared(arg)?,
            HEARTBEAT => this.heartbeat(arg)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn read(_this: ArcBorrow<'_, Self>, _out: &mut UserSliceWriter, _wait: bool) -> Result<usize> {
        Err(EINVAL)
    }

    fn poll(this: ArcBorrow<'_, Self>, file: &File, table: &PollTable<'_>) -> u32 {
        let changes = this.host.changes();
        table.register_wait(file, changes.waiting());
        // After that: what is noted from here on wakes.
        match changes.count() == this.seen.load(Relaxed) {
            true => 0,
            false => EPOLLIN | EPOLLRDNORM,
        }
    }

    fn release(_this: Arc<Self>) {}
}
