// SPDX-License-Identifier: GPL-2.0

//! Messages of the device ABI: bytes to checked values, and back.
//!
//! C header: `include/uapi/linux/virtio_vesper.h`. The kernel modules have code
//! of their own for this; here it serves tests, fuzzing, and whatever speaks
//! the ABI from user space.

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::bindings::{self, virtio_vesper_hdr};
use crate::common_pattern;
use crate::endian::{Le16, Le32};
use crate::name::{self, NameError};

/// Bytes of the head of a message.
pub const HDR_LEN: usize = size_of::<virtio_vesper_hdr>();

/// Queue on which a message travels; types are told apart within one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Host to guest: requests.
    Loader,
    /// Guest to host: pages on loan.
    Lend,
    /// Guest to host: request and reply.
    Control,
    /// Guest to host: an index has moved.
    Notify,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Fewer bytes than the type has.
    #[error("{found} bytes, {needed} are needed")]
    Short {
        /// Bytes there are.
        found: usize,
        /// Bytes of the smallest message of the type.
        needed: usize,
    },
    /// The head tells another length.
    #[error("the head says {claimed} bytes, there are {found}")]
    Length {
        /// As the head has it.
        claimed: u32,
        /// Bytes there are.
        found: usize,
    },
    /// More bytes than the type has or may have.
    #[error("{found} bytes, at most {limit} are allowed")]
    Long {
        /// Bytes there are.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A reserved field that is not zero.
    #[error("a reserved field is not zero")]
    Reserved,
    /// A flag without a meaning.
    #[error("unknown flags {0:#x}")]
    Flags(u32),
    /// A type that does not travel on this queue.
    #[error("type {0:#06x} has no meaning on this queue")]
    Type(u16),
    /// A name that breaks the rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Text without its terminator.
    #[error("a text field is not terminated")]
    Text,
    /// A number out of its range.
    #[error("{0} is out of range")]
    Range(&'static str),
}

type Result<T> = std::result::Result<T, MessageError>;

/// The head of a message, checked against the bytes that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The message type.
    pub kind: u16,
    /// `VIRTIO_VESPER_MSG_*`.
    pub flags: u16,
    /// Chosen by the sender.
    pub id: u32,
}

/// A buffer of a channel, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Channel id.
    pub channel: u32,
    /// Number of the buffer; `None` for each.
    pub buffer: Option<u32>,
}

/// A message, checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<'a> {
    /// Who the guest is.
    Hello(Box<Hello>),
    /// A channel comes to be.
    Open(Open<'a>),
    /// Text for its metadata.
    Metadata {
        /// Channel id.
        channel: u32,
        /// Section of the file.
        section: u32,
        /// What is appended to it.
        text: &'a [u8],
    },
    /// All fragments are lent.
    Share(Buffer),
    /// Give it back.
    Unshare(Buffer),
    /// The channel is gone.
    Close(Buffer),
    /// Outcome of a loader request.
    Result(Outcome<'a>),
    /// The driver goes.
    Goodbye,
    /// Pages on loan.
    Fragment {
        /// Channel id.
        channel: u32,
        /// Number of the buffer.
        buffer: u32,
        /// Number of the first page; `None` for the index page.
        first: Option<u32>,
        /// Pages.
        nr_pages: u32,
    },
    /// A sub-buffer has been switched.
    Index {
        /// Channel id.
        channel: u32,
        /// Number of the buffer.
        buffer: u32,
        /// A hint.
        produced: u64,
        /// The reader is to be woken at once.
        urgent: bool,
    },
    /// Last words.
    Panic,
    /// Announces an image.
    Load {
        /// Name of the module.
        module: &'a str,
        /// Bytes of the image.
        image_len: u32,
        /// Bytes of the parameter string.
        params_len: u32,
    },
    /// A piece of it.
    Data {
        /// Where it belongs.
        offset: u32,
        /// The piece.
        bytes: &'a [u8],
    },
    /// Unload a module.
    Unload {
        /// Its name.
        module: &'a str,
    },
    /// Show relay channels of others, or show them no more.
    Show {
        /// Which, terminated.
        pattern: [u8; common_pattern::PATTERN_LEN],
        /// No more.
        stop: bool,
    },
    /// Forget a load that has not begun.
    Cancel,
    /// Publish what lies waiting.
    Flush,
}

/// What [`Message::Hello`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// `VIRTIO_VESPER_ABI_VERSION` of the driver.
    pub abi_version: u32,
    /// Possible CPUs.
    pub nr_cpus: u32,
    /// Of this boot.
    pub boot_id: [u8; 16],
    /// 0 if records carry nanoseconds.
    pub tsc_khz: u64,
    /// TSC at `realtime_ns`.
    pub tsc_anchor: u64,
    /// Nanoseconds since the epoch.
    pub realtime_ns: u64,
    /// `VIRTIO_VESPER_POLICY_*`.
    pub load_policy: u32,
    /// Feature bits from `VIRTIO_VESPER_F_SHARE` on.
    pub features: u32,
    /// Kernel release, as the guest wrote it.
    pub release: Vec<u8>,
    /// Module version magic, as the guest wrote it.
    pub vermagic: Vec<u8>,
}

/// What [`Message::Open`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// `VIRTIO_VESPER_CHAN_*`.
    pub flags: u32,
    /// Bytes in a sub-buffer.
    pub subbuf_size: u32,
    /// Sub-buffers in a buffer.
    pub n_subbufs: u32,
    /// Highest buffer plus one.
    pub nr_buffers: u32,
    /// Of the trace.
    pub uuid: [u8; 16],
    /// Who owns it.
    pub module: &'a str,
    /// Base name of its files.
    pub channel: &'a str,
}

/// What [`Message::Result`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// 0 or an errno value.
    pub status: u32,
    /// `VIRTIO_VESPER_STAGE_*`.
    pub stage: u32,
    /// Name of the module in the guest; empty if it has none yet.
    pub module: &'a [u8],
    /// A sentence, as the guest wrote it.
    pub text: &'a [u8],
}

/// Copies a message of fixed size off `bytes`, which are no more and no less.
fn fixed<T: FromBytes>(bytes: &[u8]) -> Result<T> {
    let limit = size_of::<T>();
    if bytes.len() > limit {
        let found = bytes.len();
        return Err(MessageError::Long { found, limit });
    }
    Ok(prefix(bytes)?.0)
}

/// Copies the fixed part off the start of `bytes`.
fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8])> {
    T::read_from_prefix(bytes).map_err(|_| MessageError::Short {
        found: bytes.len(),
        needed: size_of::<T>(),
    })
}

fn zero(reserved: impl IntoIterator<Item = u64>) -> Result<()> {
    if reserved.into_iter().any(|value| value != 0) {
        return Err(MessageError::Reserved);
    }
    Ok(())
}

/// The bytes of a field in the message itself, so that names can be borrowed.
macro_rules! field {
    ($bytes:expr, $ty:ident, $field:ident) => {{
        let start = core::mem::offset_of!(bindings::$ty, $field);
        let len = size_of_val(&<bindings::$ty as zerocopy::FromZeros>::new_zeroed().$field);
        &$bytes[start..start + len]
    }};
}

fn terminated(field: &[u8]) -> Result<&[u8]> {
    if !field.contains(&0) {
        return Err(MessageError::Text);
    }
    Ok(name::text(field))
}

/// Takes the head off and checks that the message has the length it claims.
pub fn parse_head(bytes: &[u8]) -> Result<Head> {
    let (hdr, _) = prefix::<virtio_vesper_hdr>(bytes)?;
    if usize::try_from(hdr.len.get()) != Ok(bytes.len()) {
        return Err(MessageError::Length {
            claimed: hdr.len.get(),
            found: bytes.len(),
        });
    }
    zero([hdr.reserved.get().into()])?;
    Ok(Head {
        kind: hdr.type_.get(),
        flags: hdr.flags.get(),
        id: hdr.id.get(),
    })
}

/// Parses a message that came over `queue`. All of `bytes` is the message.
pub fn parse(queue: Queue, bytes: &[u8]) -> Result<(Head, Message<'_>)> {
    let head = parse_head(bytes)?;
    let limit = match queue {
        Queue::Loader => bindings::VESPER_MAX_MESSAGE as usize,
        _ => bindings::VIRTIO_VESPER_MAX_CONTROL as usize,
    };
    if bytes.len() > limit {
        let found = bytes.len();
        return Err(MessageError::Long { found, limit });
    }
    let known = match (queue, u32::from(head.kind)) {
        (Queue::Notify, bindings::VIRTIO_VESPER_N_INDEX) => {
            bindings::VIRTIO_VESPER_MSG_URGENT as u16
        }
        (Queue::Control, bindings::VIRTIO_VESPER_C_UNSHARE) => {
            bindings::VIRTIO_VESPER_MSG_AGAIN as u16
        }
        _ => 0,
    };
    if head.flags & !known != 0 {
        return Err(MessageError::Flags((head.flags & !known).into()));
    }
    let message = match queue {
        Queue::Control => control(head, bytes),
        Queue::Lend => lend(head, bytes),
        Queue::Notify => notify(head, bytes),
        Queue::Loader => loader(head, bytes),
    }?;
    Ok((head, message))
}

fn control(head: Head, bytes: &[u8]) -> Result<Message<'_>> {
    Ok(match u32::from(head.kind) {
        bindings::VIRTIO_VESPER_C_HELLO => Message::Hello(Box::new(hello(bytes)?)),
        bindings::VIRTIO_VESPER_C_OPEN => Message::Open(open(bytes)?),
        bindings::VIRTIO_VESPER_C_METADATA => metadata(bytes)?,
        bindings::VIRTIO_VESPER_C_SHARE => Message::Share(buffer(bytes)?),
        bindings::VIRTIO_VESPER_C_UNSHARE => Message::Unshare(buffer(bytes)?),
        bindings::VIRTIO_VESPER_C_CLOSE => Message::Close(buffer(bytes)?),
        bindings::VIRTIO_VESPER_C_RESULT => Message::Result(outcome(bytes)?),
        bindings::VIRTIO_VESPER_C_GOODBYE => {
            fixed::<virtio_vesper_hdr>(bytes)?;
            Message::Goodbye
        }
        _ => return Err(MessageError::Type(head.kind)),
    })
}

fn hello(bytes: &[u8]) -> Result<Hello> {
    let raw: bindings::virtio_vesper_hello = fixed(bytes)?;
    zero(raw.reserved.map(|word| word.get().into()))?;
    if raw.load_policy.get() > bindings::VIRTIO_VESPER_POLICY_NONE {
        return Err(MessageError::Range("load_policy"));
    }
    if raw.nr_cpus.get() == 0 {
        return Err(MessageError::Range("nr_cpus"));
    }
    Ok(Hello {
        abi_version: raw.abi_version.get(),
        nr_cpus: raw.nr_cpus.get(),
        boot_id: raw.boot_id,
        tsc_khz: raw.tsc_khz.get(),
        tsc_anchor: raw.tsc_anchor.get(),
        realtime_ns: raw.realtime_ns.get(),
        load_policy: raw.load_policy.get(),
        features: raw.features.get(),
        release: terminated(&raw.release)?.to_vec(),
        vermagic: terminated(&raw.vermagic)?.to_vec(),
    })
}

fn open(bytes: &[u8]) -> Result<Open<'_>> {
    let raw: bindings::virtio_vesper_open = fixed(bytes)?;
    zero(raw.reserved.map(|word| word.get().into()))?;
    let known = bindings::VIRTIO_VESPER_CHAN_OVERWRITE | bindings::VIRTIO_VESPER_CHAN_CTF;
    let flags = raw.flags.get();
    if flags & !known != 0 {
        return Err(MessageError::Flags(flags & !known));
    }
    let (subbuf_size, n_subbufs) = (raw.subbuf_size.get(), raw.n_subbufs.get());
    crate::common::Geometry::new(subbuf_size, n_subbufs)
        .ok_or(MessageError::Range("the size of the buffers"))?;
    if raw.nr_buffers.get() == 0 {
        return Err(MessageError::Range("nr_buffers"));
    }
    Ok(Open {
        flags,
        subbuf_size,
        n_subbufs,
        nr_buffers: raw.nr_buffers.get(),
        uuid: raw.uuid,
        module: name::parse_name(field!(bytes, virtio_vesper_open, module))?,
        channel: name::parse_name(field!(bytes, virtio_vesper_open, channel))?,
    })
}

/// Takes apart a message that ends in bytes: a head and two words, and those.
fn open_ended(bytes: &[u8]) -> Result<(u32, u32, &[u8])> {
    const _: () = {
        let fixed = HDR_LEN + size_of::<[Le32; 2]>();
        assert!(size_of::<bindings::virtio_vesper_metadata>() == fixed);
        assert!(size_of::<bindings::virtio_vesper_data>() == fixed);
    };
    let (_, rest) = prefix::<virtio_vesper_hdr>(bytes)?;
    let (words, rest) = prefix::<[Le32; 2]>(rest)?;
    Ok((words[0].get(), words[1].get(), rest))
}

fn metadata(bytes: &[u8]) -> Result<Message<'_>> {
    let (channel, section, text) = open_ended(bytes)?;
    if section >= bindings::VIRTIO_VESPER_MAX_SECTIONS {
        return Err(MessageError::Range("section"));
    }
    Ok(Message::Metadata {
        channel,
        section,
        text,
    })
}

fn buffer(bytes: &[u8]) -> Result<Buffer> {
    let raw: bindings::virtio_vesper_buffer = fixed(bytes)?;
    zero([raw.reserved.get()])?;
    let buffer = raw.buffer.get();
    Ok(Buffer {
        channel: raw.channel.get(),
        buffer: (buffer != bindings::VIRTIO_VESPER_ALL_BUFFERS).then_some(buffer),
    })
}

fn outcome(bytes: &[u8]) -> Result<Outcome<'_>> {
    let raw: bindings::virtio_vesper_result = fixed(bytes)?;
    zero([raw.reserved.get()])?;
    if raw.stage.get() > bindings::VIRTIO_VESPER_STAGE_PROBE {
        return Err(MessageError::Range("stage"));
    }
    if raw.status.get() > 4095 {
        return Err(MessageError::Range("status"));
    }
    Ok(Outcome {
        status: raw.status.get(),
        stage: raw.stage.get(),
        module: terminated(field!(bytes, virtio_vesper_result, module))?,
        text: terminated(field!(bytes, virtio_vesper_result, text))?,
    })
}

fn lend(head: Head, bytes: &[u8]) -> Result<Message<'_>> {
    if u32::from(head.kind) != bindings::VIRTIO_VESPER_D_FRAGMENT {
        return Err(MessageError::Type(head.kind));
    }
    let raw: bindings::virtio_vesper_fragment = fixed(bytes)?;
    let (first, nr_pages) = (raw.first.get(), raw.nr_pages.get());
    let index = first == bindings::VIRTIO_VESPER_INDEX_FRAGMENT;
    let limit = if index {
        1
    } else {
        bindings::VIRTIO_VESPER_MAX_FRAGMENT
    };
    if nr_pages == 0 || nr_pages > limit {
        return Err(MessageError::Range("nr_pages"));
    }
    Ok(Message::Fragment {
        channel: raw.channel.get(),
        buffer: raw.buffer.get(),
        first: (!index).then_some(first),
        nr_pages,
    })
}

fn notify(head: Head, bytes: &[u8]) -> Result<Message<'_>> {
    let raw: bindings::virtio_vesper_notify = fixed(bytes)?;
    match u32::from(head.kind) {
        bindings::VIRTIO_VESPER_N_INDEX => Ok(Message::Index {
            channel: raw.channel.get(),
            buffer: raw.buffer.get(),
            produced: raw.produced.get(),
            urgent: head.flags & bindings::VIRTIO_VESPER_MSG_URGENT as u16 != 0,
        }),
        bindings::VIRTIO_VESPER_N_PANIC => Ok(Message::Panic),
        _ => Err(MessageError::Type(head.kind)),
    }
}

fn loader(head: Head, bytes: &[u8]) -> Result<Message<'_>> {
    match u32::from(head.kind) {
        bindings::VIRTIO_VESPER_L_LOAD => {
            let raw: bindings::virtio_vesper_load = fixed(bytes)?;
            zero([raw.reserved.get()])?;
            let (image_len, params_len) = (raw.image_len.get(), raw.params_len.get());
            if image_len == 0 || image_len > bindings::VIRTIO_VESPER_MAX_IMAGE {
                return Err(MessageError::Range("image_len"));
            }
            if params_len > bindings::VIRTIO_VESPER_MAX_PARAMS {
                return Err(MessageError::Range("params_len"));
            }
            Ok(Message::Load {
                module: name::parse_name(field!(bytes, virtio_vesper_load, module))?,
                image_len,
                params_len,
            })
        }
        bindings::VIRTIO_VESPER_L_DATA => {
            let (offset, reserved, bytes) = open_ended(bytes)?;
            zero([reserved.into()])?;
            Ok(Message::Data { offset, bytes })
        }
        bindings::VIRTIO_VESPER_L_UNLOAD => {
            fixed::<bindings::virtio_vesper_unload>(bytes)?;
            let module = name::parse_name(field!(bytes, virtio_vesper_unload, module))?;
            Ok(Message::Unload { module })
        }
        kind @ (bindings::VIRTIO_VESPER_L_SHARE | bindings::VIRTIO_VESPER_L_UNSHARE) => {
            let raw: bindings::virtio_vesper_share = fixed(bytes)?;
            common_pattern::pattern(&raw.pattern).ok_or(MessageError::Range("pattern"))?;
            Ok(Message::Show {
                pattern: raw.pattern,
                stop: kind == bindings::VIRTIO_VESPER_L_UNSHARE,
            })
        }
        bindings::VIRTIO_VESPER_L_CANCEL => {
            fixed::<virtio_vesper_hdr>(bytes)?;
            Ok(Message::Cancel)
        }
        bindings::VIRTIO_VESPER_L_FLUSH => {
            fixed::<virtio_vesper_hdr>(bytes)?;
            Ok(Message::Flush)
        }
        _ => Err(MessageError::Type(head.kind)),
    }
}

/// Makes a message: `body` is what stands behind the head, `tail` what follows.
pub fn build(head: Head, body: &(impl IntoBytes + Immutable + ?Sized), tail: &[u8]) -> Vec<u8> {
    let len = HDR_LEN + body.as_bytes().len() + tail.len();
    let hdr = virtio_vesper_hdr {
        type_: Le16::new(head.kind),
        flags: Le16::new(head.flags),
        len: Le32::new(len as u32),
        id: Le32::new(head.id),
        reserved: Le32::new(0),
    };
    [hdr.as_bytes(), body.as_bytes(), tail].concat()
}

#[cfg(test)]
mod tests;
