// SPDX-License-Identifier: GPL-2.0

//! Messages of the device ABI: taken apart and put together.
//!
//! `core` only, so that user space tests and fuzzes it: a crate there brings `abi` and `bindings`
//! of its own and includes this file by path. A message is parsed from a private copy;
//! what is returned obeys the header's rules about lengths, reserved fields and names, and nothing
//! else is promised.
//!
//! C header: `include/uapi/linux/virtio_vesper.h`

use crate::{
    abi::{
        self,
        NAME_LEN, //
    },
    bindings as raw, //
};
use core::mem::{
    offset_of,
    size_of, //
};

/// Bytes of a release or vermagic string, its terminator included.
pub(crate) const RELEASE_LEN: usize = raw::VIRTIO_VESPER_RELEASE_LEN as usize;
/// Bytes of a sentence for the operator, its terminator included.
pub(crate) const TEXT_LEN: usize = raw::VIRTIO_VESPER_TEXT_LEN as usize;
/// Bytes of a pattern, its terminator included.
pub(crate) const PATTERN_LEN: usize = raw::VIRTIO_VESPER_PATTERN_LEN as usize;
/// Bytes of a reply.
pub(crate) const REPLY_LEN: usize = size_of::<raw::virtio_vesper_reply>();

const HDR: usize = size_of::<raw::virtio_vesper_hdr>();

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It breaks the protocol; the words say how.
    Broken(&'static str),
    /// It is well-formed, but a field cannot be; the sender gets EINVAL.
    Invalid,
}

/// Head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Message type.
    pub(crate) kind: u32,
    /// Flags, by type.
    pub(crate) flags: u16,
    /// Chosen by the sender.
    pub(crate) id: u32,
}

/// A channel, or one of its buffers; `None` for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Channel id.
    pub(crate) channel: u32,
    /// Number of the buffer.
    pub(crate) buffer: Option<u32>,
}

/// What a guest says about itself.
#[derive(Clone, Copy)]
pub(crate) struct Hello {
    /// Version of the device ABI.
    pub(crate) abi_version: u32,
    /// Possible CPUs.
    pub(crate) nr_cpus: u32,
    /// Random id of the boot.
    pub(crate) boot_id: [u8; 16],
    /// Guest TSC frequency.
    pub(crate) tsc_khz: u64,
    /// Guest TSC at `realtime_ns`.
    pub(crate) tsc_anchor: u64,
    /// Wall clock, nanoseconds since the epoch.
    pub(crate) realtime_ns: u64,
    /// `VIRTIO_VESPER_POLICY_*`.
    pub(crate) load_policy: u32,
    /// Feature bits from `VIRTIO_VESPER_F_SHARE` on, unchecked.
    pub(crate) features: u32,
    /// Kernel release, terminated.
    pub(crate) release: [u8; RELEASE_LEN],
    /// Version magic, terminated.
    pub(crate) vermagic: [u8; RELEASE_LEN],
}

/// A channel that comes to be. Its uuid stands in each packet too, and concerns only readers.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    /// `VIRTIO_VESPER_CHAN_*`, unchecked.
    pub(crate) flags: u32,
    /// Bytes in a sub-buffer, unchecked.
    pub(crate) subbuf_size: u32,
    /// Sub-buffers in a buffer, unchecked.
    pub(crate) n_subbufs: u32,
    /// Highest buffer plus one, unchecked.
    pub(crate) nr_buffers: u32,
    /// Owner, a name by the rule.
    pub(crate) module: [u8; NAME_LEN],
    /// Base name, a name by the rule.
    pub(crate) channel: [u8; NAME_LEN],
}

/// Outcome of a loader request.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    /// 0 or a positive errno value of Linux.
    pub(crate) status: u32,
    /// `VIRTIO_VESPER_STAGE_*`.
    pub(crate) stage: u32,
    /// Name the guest knows the module by; all zero if it has none.
    pub(crate) module: [u8; NAME_LEN],
    /// For the operator, terminated.
    pub(crate) text: [u8; TEXT_LEN],
}

/// A message of the control queue.
#[derive(Clone, Copy)]
pub(crate) enum Control<'a> {
    Hello(Hello),
    Open(Open),
    Metadata {
        channel: u32,
        section: u32,
        text: &'a [u8],
    },
    Share(Target),
    /// The target, and whether it will be lent again.
    Unshare(Target, bool),
    Close(Target),
    Result(Outcome),
    Goodbye,
}

/// A message of the notify queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notify {
    /// The index of a buffer has moved.
    Index { channel: u32, buffer: u32 },
    /// The guest panics: look at all.
    Panic,
}

/// Head of an element of the lend queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Channel id.
    pub(crate) channel: u32,
    /// Number of the buffer.
    pub(crate) buffer: u32,
    /// First page; `None` for the index page.
    pub(crate) first: Option<u32>,
    /// Pages, not 0.
    pub(crate) nr_pages: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(b) => u16::from_le_bytes(*b),
        None => 0,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(b) => u32::from_le_bytes(*b),
        None => 0,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(b) => u64::from_le_bytes(*b),
        None => 0,
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(b) => *b,
        None => [0; N],
    }
}

fn zero(bytes: &[u8], at: usize, len: usize) -> Result<(), Fault> {
    match bytes.iter().skip(at).take(len).all(|&b| b == 0) {
        true => Ok(()),
        false => Err(Fault::Invalid),
    }
}

/// A string field: terminated, printable.
fn string<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    let mut field: [u8; N] = array_at(bytes, at);
    let len = field.iter().position(|&b| b == 0).ok_or(Fault::Invalid)?;
    let (text, rest) = field.split_at_mut(len);
    if text.iter().any(|&b| b < b' ' || b == 0x7f) {
        return Err(Fault::Invalid);
    }
    rest.fill(0);
    Ok(field)
}

fn name(bytes: &[u8], at: usize) -> Result<[u8; NAME_LEN], Fault> {
    let field = array_at(bytes, at);
    match abi::name(&field) {
        Some(_) => Ok(field),
        None => Err(Fault::Invalid),
    }
}

/// Takes the head off a message that arrived with `bytes.len()` bytes.
pub(crate) fn head(bytes: &[u8]) -> Result<Head, Fault> {
    if bytes.len() < HDR {
        return Err(Fault::Broken("message shorter than its head"));
    }
    if u32_at(bytes, offset_of!(raw::virtio_vesper_hdr, len)) as usize != bytes.len() {
        return Err(Fault::Broken(
            "message of another length than its head says",
        ));
    }
    if u32_at(bytes, offset_of!(raw::virtio_vesper_hdr, reserved)) != 0 {
        return Err(Fault::Broken("reserved field in a head"));
    }
    Ok(Head {
        kind: u32::from(u16_at(bytes, offset_of!(raw::virtio_vesper_hdr, type_))),
        flags: u16_at(bytes, offset_of!(raw::virtio_vesper_hdr, flags)),
        id: u32_at(bytes, offset_of!(raw::virtio_vesper_hdr, id)),
    })
}

fn sized<T>(bytes: &[u8]) -> Result<(), Fault> {
    match bytes.len() == size_of::<T>() {
        true => Ok(()),
        false => Err(Fault::Broken("message of the wrong length for its type")),
    }
}

fn no_flags(head: &Head) -> Result<(), Fault> {
    match head.flags {
        0 => Ok(()),
        _ => Err(Fault::Invalid),
    }
}

fn target(bytes: &[u8]) -> Result<Target, Fault> {
    type T = raw::virtio_vesper_buffer;
    sized::<T>(bytes)?;
    zero(bytes, offset_of!(T, reserved), 8)?;
    let buffer = u32_at(bytes, offset_of!(T, buffer));
    Ok(Target {
        channel: u32_at(bytes, offset_of!(T, channel)),
        buffer: (buffer != raw::VIRTIO_VESPER_ALL_BUFFERS).then_some(buffer),
    })
}

fn hello(bytes: &[u8]) -> Result<Hello, Fault> {
    type T = raw::virtio_vesper_hello;
    sized::<T>(bytes)?;
    zero(bytes, offset_of!(T, reserved), 16)?;
    Ok(Hello {
        abi_version: u32_at(bytes, offset_of!(T, abi_version)),
        nr_cpus: u32_at(bytes, offset_of!(T, nr_cpus)),
        boot_id: array_at(bytes, offset_of!(T, boot_id)),
        tsc_khz: u64_at(bytes, offset_of!(T, tsc_khz)),
        tsc_anchor: u64_at(bytes, offset_of!(T, tsc_anchor)),
        realtime_ns: u64_at(bytes, offset_of!(T, realtime_ns)),
        load_policy: u32_at(bytes, offset_of!(T, load_policy)),
        features: u32_at(bytes, offset_of!(T, features)),
        release: string(bytes, offset_of!(T, release))?,
        vermagic: string(bytes, offset_of!(T, vermagic))?,
    })
}

fn open(bytes: &[u8]) -> Result<Open, Fault> {
    type T = raw::virtio_vesper_open;
    sized::<T>(bytes)?;
    zero(bytes, offset_of!(T, reserved), 16)?;
    Ok(Open {
        flags: u32_at(bytes, offset_of!(T, flags)),
        subbuf_size: u32_at(bytes, offset_of!(T, subbuf_size)),
        n_subbufs: u32_at(bytes, offset_of!(T, n_subbufs)),
        nr_buffers: u32_at(bytes, offset_of!(T, nr_buffers)),
        module: name(bytes, offset_of!(T, module))?,
        channel: name(bytes, offset_of!(T, channel))?,
    })
}

fn outcome(bytes: &[u8]) -> Result<Outcome, Fault> {
    type T = raw::virtio_vesper_result;
    sized::<T>(bytes)?;
    zero(bytes, offset_of!(T, reserved), 8)?;
    let module = match zero(bytes, offset_of!(T, module), NAME_LEN) {
        Ok(()) => [0; NAME_LEN],
        Err(_) => name(bytes, offset_of!(T, module))?,
    };
    Ok(Outcome {
        status: u32_at(bytes, offset_of!(T, status)),
        stage: u32_at(bytes, offset_of!(T, stage)),
        module,
        text: string(bytes, offset_of!(T, text))?,
    })
}

/// Takes a message of the control queue apart.
pub(crate) fn control<'a>(head: &Head, bytes: &'a [u8]) -> Result<Control<'a>, Fault> {
    let message = match head.kind {
        raw::VIRTIO_VESPER_C_HELLO => Control::Hello(hello(bytes)?),
        raw::VIRTIO_VESPER_C_OPEN => Control::Open(open(bytes)?),
        raw::VIRTIO_VESPER_C_METADATA => {
            type T = raw::virtio_vesper_metadata;
            let text = bytes
                .get(size_of::<T>()..)
                .ok_or(Fault::Broken("metadata message shorter than its fields"))?;
            Control::Metadata {
                channel: u32_at(bytes, offset_of!(T, channel)),
                section: u32_at(bytes, offset_of!(T, section)),
                text,
            }
        }
        raw::VIRTIO_VESPER_C_SHARE => Control::Share(target(bytes)?),
        raw::VIRTIO_VESPER_C_UNSHARE => {
            let target = target(bytes)?;
            let again = u32::from(head.flags) & raw::VIRTIO_VESPER_MSG_AGAIN != 0;
            if u32::from(head.flags) & !raw::VIRTIO_VESPER_MSG_AGAIN != 0 {
                return Err(Fault::Invalid);
            }
            return Ok(Control::Unshare(target, again));
        }
        raw::VIRTIO_VESPER_C_CLOSE => Control::Close(target(bytes)?),
        raw::VIRTIO_VESPER_C_RESULT => Control::Result(outcome(bytes)?),
        raw::VIRTIO_VESPER_C_GOODBYE => {
            sized::<raw::virtio_vesper_hdr>(bytes)?;
            Control::Goodbye
        }
        _ => return Err(Fault::Broken("unknown message on the control queue")),
    };
    no_flags(head)?;
    Ok(message)
}

/// Takes a message of the notify queue apart.
pub(crate) fn notify(head: &Head, bytes: &[u8]) -> Result<Notify, Fault> {
    type T = raw::virtio_vesper_notify;
    match head.kind {
        raw::VIRTIO_VESPER_N_INDEX => {
            sized::<T>(bytes)?;
            if u32::from(head.flags) & !raw::VIRTIO_VESPER_MSG_URGENT != 0 {
                return Err(Fault::Invalid);
            }
            Ok(Notify::Index {
                channel: u32_at(bytes, offset_of!(T, channel)),
                buffer: u32_at(bytes, offset_of!(T, buffer)),
            })
        }
        raw::VIRTIO_VESPER_N_PANIC => {
            // The header gives it no fields of its own; a driver may send the common struct.
            if bytes.len() != HDR {
                sized::<T>(bytes)?;
            }
            Ok(Notify::Panic)
        }
        _ => Err(Fault::Broken("unknown message on the notify queue")),
    }
}

/// Takes the head of a lend element apart.
pub(crate) fn fragment(head: &Head, bytes: &[u8]) -> Result<Fragment, Fault> {
    type T = raw::virtio_vesper_fragment;
    if head.kind != raw::VIRTIO_VESPER_D_FRAGMENT {
        return Err(Fault::Broken("unknown message on the lend queue"));
    }
    sized::<T>(bytes)?;
    no_flags(head)?;
    let first = u32_at(bytes, offset_of!(T, first));
    let nr_pages = u32_at(bytes, offset_of!(T, nr_pages));
    if nr_pages == 0 || nr_pages > raw::VIRTIO_VESPER_MAX_FRAGMENT {
        return Err(Fault::Invalid);
    }
    Ok(Fragment {
        channel: u32_at(bytes, offset_of!(T, channel)),
        buffer: u32_at(bytes, offset_of!(T, buffer)),
        first: (first != raw::VIRTIO_VESPER_INDEX_FRAGMENT).then_some(first),
        nr_pages,
    })
}

/// Takes the head of the element apart that lends the pages of the heartbeat; returns how many.
pub(crate) fn beat(head: &Head, bytes: &[u8]) -> Result<u32, Fault> {
    type T = raw::virtio_vesper_fragment;
    sized::<T>(bytes)?;
    no_flags(head)?;
    zero(bytes, offset_of!(T, channel), 8)?;
    let nr_pages = u32_at(bytes, offset_of!(T, nr_pages));
    if u32_at(bytes, offset_of!(T, first)) != raw::VIRTIO_VESPER_INDEX_FRAGMENT || nr_pages == 0 {
        return Err(Fault::Invalid);
    }
    Ok(nr_pages)
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(room) = out.get_mut(at..).and_then(|o| o.get_mut(..bytes.len())) {
        room.copy_from_slice(bytes);
    }
}

fn put_head(out: &mut [u8], kind: u32, id: u32) {
    let len = out.len() as u32;
    put(
        out,
        offset_of!(raw::virtio_vesper_hdr, type_),
        &(kind as u16).to_le_bytes(),
    );
    put(
        out,
        offset_of!(raw::virtio_vesper_hdr, len),
        &len.to_le_bytes(),
    );
    put(
        out,
        offset_of!(raw::virtio_vesper_hdr, id),
        &id.to_le_bytes(),
    );
}

/// Answers the message with `head`. `status` is 0 or a positive errno value.
pub(crate) fn reply(head: &Head, status: u32, value: u32) -> [u8; REPLY_LEN] {
    type T = raw::virtio_vesper_reply;
    let mut out = [0; REPLY_LEN];
    put_head(&mut out, head.kind, head.id);
    put(&mut out, offset_of!(T, status), &status.to_le_bytes());
    put(&mut out, offset_of!(T, value), &value.to_le_bytes());
    out
}

/// Bytes of a message that announces an image.
pub(crate) const LOAD_LEN: usize = size_of::<raw::virtio_vesper_load>();
/// Bytes of a message that asks for an unload.
pub(crate) const UNLOAD_LEN: usize = size_of::<raw::virtio_vesper_unload>();
/// Bytes of a message that asks to show channels, or to show them no more.
pub(crate) const SHARE_LEN: usize = size_of::<raw::virtio_vesper_share>();
/// Bytes before the piece of an image in its message.
pub(crate) const DATA_HEAD: usize = size_of::<raw::virtio_vesper_data>();
/// Bytes of a message without fields of its own.
pub(crate) const BARE_LEN: usize = HDR;

/// Announces an image.
pub(crate) fn load(
    id: u32,
    module: &[u8; NAME_LEN],
    image_len: u32,
    params_len: u32,
) -> [u8; LOAD_LEN] {
    type T = raw::virtio_vesper_load;
    let mut out = [0; LOAD_LEN];
    put_head(&mut out, raw::VIRTIO_VESPER_L_LOAD, id);
    put(&mut out, offset_of!(T, image_len), &image_len.to_le_bytes());
    put(
        &mut out,
        offset_of!(T, params_len),
        &params_len.to_le_bytes(),
    );
    put(&mut out, offset_of!(T, module), module);
    out
}

/// Head of a message of `DATA_HEAD + len` bytes that brings a piece of an image.
pub(crate) fn data(id: u32, offset: u32, len: u32) -> [u8; DATA_HEAD] {
    type T = raw::virtio_vesper_data;
    let mut out = [0; DATA_HEAD];
    put_head(&mut out, raw::VIRTIO_VESPER_L_DATA, id);
    let whole = (DATA_HEAD as u32).wrapping_add(len);
    put(
        &mut out,
        offset_of!(raw::virtio_vesper_hdr, len),
        &whole.to_le_bytes(),
    );
    put(&mut out, offset_of!(T, offset), &offset.to_le_bytes());
    out
}

/// Asks for an unload.
pub(crate) fn unload(id: u32, module: &[u8; NAME_LEN]) -> [u8; UNLOAD_LEN] {
    type T = raw::virtio_vesper_unload;
    let mut out = [0; UNLOAD_LEN];
    put_head(&mut out, raw::VIRTIO_VESPER_L_UNLOAD, id);
    put(&mut out, offset_of!(T, module), module);
    out
}

/// Asks to show channels, or with `stop` to show them no more.
pub(crate) fn share(id: u32, pattern: &[u8; PATTERN_LEN], stop: bool) -> [u8; SHARE_LEN] {
    type T = raw::virtio_vesper_share;
    let mut out = [0; SHARE_LEN];
    let kind = match stop {
        true => raw::VIRTIO_VESPER_L_UNSHARE,
        false => raw::VIRTIO_VESPER_L_SHARE,
    };
    put_head(&mut out, kind, id);
    put(&mut out, offset_of!(T, pattern), pattern);
    out
}

/// Asks to forget a load.
pub(crate) fn cancel(id: u32) -> [u8; BARE_LEN] {
    let mut out = [0; BARE_LEN];
    put_head(&mut out, raw::VIRTIO_VESPER_L_CANCEL, id);
    out
}

/// Says that a reader has made room, for what lies waiting because there was none.
pub(crate) fn flush() -> [u8; BARE_LEN] {
    let mut out = [0; BARE_LEN];
    put_head(&mut out, raw::VIRTIO_VESPER_L_FLUSH, 0);
    out
}

/// Where the host writes in the head of a sub-buffer that a dead guest left open, see
/// [`close_packet`].
pub(crate) const PACKET_LEN: usize = size_of::<raw::virtio_vesper_packet>();

/// Completes the head of the packet in an open sub-buffer: `committed` bytes in all, the last
/// record at `last_tsc`, `sequence`th of the channel, with `discarded` records dropped so far.
pub(crate) fn close_packet(
    head: &mut [u8; PACKET_LEN],
    committed: usize,
    last_tsc: u64,
    sequence: u64,
    discarded: u64,
) {
    type T = raw::virtio_vesper_packet;
    let begin = u64_at(head, offset_of!(T, tsc_begin));
    let bits = (committed as u64).wrapping_mul(8);
    let end = last_tsc.max(begin);
    put(head, offset_of!(T, tsc_end), &end.to_le_bytes());
    put(head, offset_of!(T, content_bits), &bits.to_le_bytes());
    put(head, offset_of!(T, packet_bits), &bits.to_le_bytes());
    put(head, offset_of!(T, sequence), &sequence.to_le_bytes());
    put(head, offset_of!(T, discarded), &discarded.to_le_bytes());
}

impl Outcome {
    /// Room for one.
    pub(crate) const fn none() -> Self {
        Self {
            status: 0,
            stage: 0,
            module: [0; NAME_LEN],
            text: [0; TEXT_LEN],
        }
    }
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;
