// SPDX-License-Identifier: GPL-2.0

//! Communication layer: `/dev/vesper-attach`, on which a VMM passes a guest's messages on.
//!
//! Several threads may use one file at once. What an ioctl refers to is copied once and bounded
//! before it is looked at.

use crate::{
    abi::{
        self,
        Versions, //
    },
    bindings::{
        self,
        VESPER_IOC_MAGIC, //
    },
    domain::{
        Domain,
        Taken, //
    },
    host::Host,
    later::{
        ENOTCONN,
        EPROTO,
        EPROTONOSUPPORT, //
    },
    message::REPLY_LEN,
    sys::{
        mm_watch::MmWatch,
        node::{
            Node,
            EPOLLERR,
            EPOLLIN,
            EPOLLRDNORM, //
        },
        pages::{
            Borrowed,
            Pinned,
            Segment, //
        },
        pid::Pid,
        trace, //
    },
    uapi::{
        self,
        Plain, //
    },
};
use core::mem::size_of;
use kernel::{
    fs::File,
    ioctl::{
        _IOW,
        _IOWR, //
    },
    new_mutex,
    prelude::*,
    sync::{
        poll::PollTable,
        Arc,
        ArcBorrow,
        Mutex,
        SetOnce, //
    },
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceWriter, //
    },
};

const MAGIC: u32 = VESPER_IOC_MAGIC;
const ATTACH: u32 = _IOWR::<bindings::vesper_attach>(MAGIC, 0x00);
const MESSAGE: u32 = _IOWR::<bindings::vesper_message>(MAGIC, 0x01);
const LEND: u32 = _IOW::<bindings::vesper_lend>(MAGIC, 0x02);
const BUFFERS: u32 = _IOW::<bindings::vesper_buffers>(MAGIC, 0x03);
const NOTICE: u32 = _IOW::<bindings::vesper_notice>(MAGIC, 0x04);
const VCPUS: u32 = _IOW::<bindings::vesper_vcpus>(MAGIC, 0x05);

/// Most bytes of a message from the guest.
pub(crate) const MAX_MESSAGE: usize = bindings::VIRTIO_VESPER_MAX_CONTROL as usize;

/// An open file: a VMM, or one about to be.
#[pin_data]
pub(crate) struct Attachment {
    host: Arc<Host>,
    /// Held while a name is taken.
    #[pin]
    attaching: Mutex<()>,
    domain: SetOnce<Arc<Domain>>,
    /// Held while `watch` is set up.
    #[pin]
    watching: Mutex<()>,
    /// Watches the process whose memory is lent: a descriptor that another one has, too, hides its
    /// death. The first that lends is the VMM. Others may not: what they lend would stay pinned
    /// when they are gone, and be nobody's.
    watch: SetOnce<MmWatch<Domain>>,
}

/// Copies `len` bytes of a guest's message in. `EMSGSIZE` if that is too many.
fn copy(addr: u64, len: u32) -> Result<KVec<u8>> {
    let len = len as usize;
    if len > MAX_MESSAGE {
        return Err(EMSGSIZE);
    }
    let mut bytes = KVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
    UserSlice::new(UserPtr::from_addr(usize::try_from(addr)?), len)
        .read_all(&mut bytes, GFP_KERNEL_ACCOUNT)?;
    Ok(bytes)
}

/// Fills in what is told to whoever attaches.
pub(crate) fn facts(host: &Host, out: &mut bindings::vesper_attach) {
    let limits = host.limits();
    out.device_abi = bindings::VIRTIO_VESPER_ABI_VERSION;
    out.max_fragment = bindings::VIRTIO_VESPER_MAX_FRAGMENT;
    out.max_buffer_pages = limits.max_buffer_pages as u32;
    out.max_channels = limits.max_channels as u32;
    out.features = 1 << bindings::VIRTIO_VESPER_F_LOADER
        | 1 << bindings::VIRTIO_VESPER_F_SHARE
        | 1 << bindings::VIRTIO_VESPER_F_HEARTBEAT;
}

impl Attachment {
    fn domain(&self) -> Result<&Arc<Domain>> {
        self.domain.as_ref().ok_or(ENOTCONN)
    }

    fn attach(&self, arg: usize) -> Result {
        let mut it: bindings::vesper_attach = uapi::get(arg)?;
        let theirs = core::mem::replace(&mut it.abi_version, bindings::VESPER_ABI_VERSION);
        if abi::versions(bindings::VESPER_ABI_VERSION, theirs) != Versions::Match {
            uapi::put(arg, it)?;
            return Err(EPROTONOSUPPORT);
        }
        if it.flags != 0 || it.reserved != [0; 4] {
            return Err(EINVAL);
        }
        facts(&self.host, &mut it);

        let _attaching = self.attaching.lock();
        if self.domain.as_ref().is_some() {
            return Err(EBUSY);
        }
        let domain = self.host.attach(&it.name)?;
        trace::attach(domain.name(), Pid::current_nr());
        self.domain.populate(domain);
        // The name is taken even if this fails: the caller has lost its memory anyway.
        uapi::put(arg, it)
    }

    fn message(&self, arg: usize) -> Result {
        let domain = self.domain()?;
        let mut it: bindings::vesper_message = uapi::get(arg)?;
        if it.reserved != [0; 2] {
            return Err(EINVAL);
        }
        let bytes = copy(it.request, it.request_len)?;
        let control = it.queue == bindings::VIRTIO_VESPER_VQ_CONTROL;
        if control && (it.reply_cap as usize) < REPLY_LEN {
            domain.broken("no room for a reply");
            return Err(EPROTO);
        }
        it.reply_len = match domain.message(it.queue, &bytes)? {
            Taken::Silent => 0,
            Taken::Reply(reply) => {
                UserSlice::new(UserPtr::from_addr(usize::try_from(it.reply)?), reply.len())
                    .writer()
                    .write_slice(&reply)?;
                REPLY_LEN as u32
            }
        };
        uapi::put(arg, it)
    }

    fn lend(&self, arg: usize) -> Result {
        let domain = self.domain()?;
        let it: bindings::vesper_lend = uapi::get(arg)?;
        if it.reserved != [0; 2] || it.cookie == 0 {
            return Err(EINVAL);
        }
        if it.nr_segments == 0 || it.nr_segments > bindings::VIRTIO_VESPER_MAX_FRAGMENT {
            return Err(EINVAL);
        }
        let bytes = copy(it.request, it.request_len)?;
        let count = it.nr_segments as usize;
        let mut reader = UserSlice::new(
            UserPtr::from_addr(usize::try_from(it.segments)?),
            count.wrapping_mul(size_of::<bindings::vesper_segment>()),
        )
        .reader();
        let mut segments = KVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..count {
            let raw = reader.read::<Plain<bindings::vesper_segment>>()?.0;
            segments.push(Segment::new(raw.addr, raw.len)?, GFP_KERNEL_ACCOUNT)?;
        }
        if self.watch.as_ref().is_none() {
            // Of two who come here at once, one waits until the other is known.
            let _watching = self.watching.lock();
            if self.watch.as_ref().is_none() {
                self.watch.populate(MmWatch::current(domain.clone())?);
            }
        }
        if !self.watch.as_ref().is_some_and(MmWatch::is_of_current) {
            return Err(EPERM);
        }
        let pages = segments
            .iter()
            .fold(0usize, |sum, s| sum.saturating_add(s.pages()));
        domain.lend(it.cookie, &bytes, pages, |dirty| {
            let pinned = Pinned::new(&segments, dirty, domain.accounts())?;
            Ok(Borrowed::Pinned(pinned))
        })
    }

    fn buffers(&self, arg: usize) -> Result {
        let domain = self.domain()?;
        let it: bindings::vesper_buffers = uapi::get(arg)?;
        domain.desk().lock().loader.post(it.count, it.size)?;
        domain.desk().notify_vmm();
        Ok(())
    }

    fn notice(&self, arg: usize) -> Result {
        let domain = self.domain()?;
        let it: bindings::vesper_notice = uapi::get(arg)?;
        if it.reserved != 0 {
            return Err(EINVAL);
        }
        match it.what {
            bindings::VESPER_NOTICE_RESET => domain.reset(),
            bindings::VESPER_NOTICE_RUN_STATE => match it.value {
                bindings::VESPER_RUN_RUNNING..=bindings::VESPER_RUN_FAILED => {
                    // Who says the same again wakes nobody.
                    if domain.with_info(|info| info.run_state) != it.value {
                        domain.note(|info| info.run_state = it.value);
                    }
                }
                _ => return Err(EINVAL),
            },
            bindings::VESPER_NOTICE_BROKEN => domain.broken("says the VMM"),
            bindings::VESPER_NOTICE_POWERDOWN => {
                domain.note(|info| info.powerdowns = info.powerdowns.saturating_add(1));
            }
            // Nothing to be done: what is lent keeps the VMM from migrating.
            bindings::VESPER_NOTICE_SHUTDOWN | bindings::VESPER_NOTICE_MIGRATION => {}
            _ => return Err(EINVAL),
        }
        Ok(())
    }

    fn vcpus(&self, arg: usize) -> Result {
        let domain = self.domain()?;
        let it: bindings::vesper_vcpus = uapi::get(arg)?;
        if it.reserved != 0 || it.count > bindings::VESPER_MAX_VCPUS {
            return Err(EINVAL);
        }
        let count = it.count as usize;
        let mut reader = UserSlice::new(
            UserPtr::from_addr(usize::try_from(it.tids)?),
            count.wrapping_mul(size_of::<i32>()),
        )
        .reader();
        let mut pids = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..count {
            // A thread may be gone by the time it is named.
            pids.push(Pid::find(reader.read::<i32>()?).ok(), GFP_KERNEL_ACCOUNT)?;
        }
        let mut old = pids;
        domain.note_unlisted(|info| core::mem::swap(&mut info.vcpus, &mut old));
        drop(old);
        Ok(())
    }
}

impl Node for Attachment {
    type Context = Host;

    fn open(host: ArcBorrow<'_, Host>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                host: host.into(),
                attaching <- new_mutex!((), "vesper::attaching"),
                domain: SetOnce::new(),
                watching <- new_mutex!((), "vesper::watching"),
                watch: SetOnce::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            ATTACH => this.attach(arg)?,
            MESSAGE => this.message(arg)?,
            LEND => this.lend(arg)?,
            BUFFERS => this.buffers(arg)?,
            NOTICE => this.notice(arg)?,
            VCPUS => this.vcpus(arg)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn read(this: ArcBorrow<'_, Self>, out: &mut UserSliceWriter, wait: bool) -> Result<usize> {
        this.domain()?.desk().read(out, wait)
    }

    fn poll(this: ArcBorrow<'_, Self>, file: &File, table: &PollTable<'_>) -> u32 {
        let Ok(domain) = this.domain() else {
            return EPOLLERR;
        };
        table.register_wait(file, domain.desk().vmm());
        match domain.desk().ready() {
            true => EPOLLIN | EPOLLRDNORM,
            false => 0,
        }
    }

    fn release(this: Arc<Self>) {
        if let Some(domain) = this.domain.as_ref() {
            domain.vmm_gone();
        }
    }
}
