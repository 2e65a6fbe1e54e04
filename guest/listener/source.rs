// SPDX-License-Identifier: GPL-2.0

//! What the listener wants of a channel: the line between it and the probe API.

use crate::{
    abi,
    sys::page::PagePtr, //
};

/// What a channel is, fixed as long as it is open.
pub(crate) struct Description {
    /// Name of the module that owns it, NUL-terminated; obeys [`abi::name`].
    pub(crate) module: [u8; abi::NAME_LEN],
    /// Base name of its files on the host, NUL-terminated; obeys [`abi::name`].
    pub(crate) channel: [u8; abi::NAME_LEN],
    /// CTF trace uuid, as in the head of every packet.
    pub(crate) uuid: [u8; 16],
    /// Shape of each buffer.
    pub(crate) geometry: abi::Geometry,
    /// `VIRTIO_VESPER_CHAN_*`.
    pub(crate) flags: u32,
    /// Number of the highest buffer (CPU) plus one.
    pub(crate) nr_buffers: u32,
}

/// The pages of one buffer.
pub(crate) struct BufferPages<'a> {
    /// The buffer, in order: [`abi::Geometry::pages`] of them.
    pub(crate) pages: &'a [PagePtr],
    /// Its index page.
    pub(crate) index: PagePtr,
}

/// A channel as the listener sees it.
///
/// All of it is called in process context and may sleep, but must not wait for the listener.
///
/// The listener holds a reference as long as the host may touch one of the pages, which is longer
/// than the life of the [`Share`](super::Share) if the host does not give them back in time. So:
/// free the pages in the source's `drop`, nowhere else. It runs in process context, on a workqueue
/// maybe, and needs nothing of the probe module that the channel was made for: that may be gone.
/// Beside `drop`, nothing is called once the `Share` has been dropped.
pub(crate) trait Source: Send + Sync {
    /// What the channel is.
    fn description(&self) -> &Description;

    /// The pages of buffer `cpu`; `None` if that CPU has no buffer (yet). Always the same ones,
    /// as long as the source lives.
    fn buffer(&self, cpu: u32) -> Option<BufferPages<'_>>;

    /// Copies the text of section `section` of the metadata file, from byte `from` on, to `text`.
    /// Returns how many bytes it copied; 0 where the text ends. A section only ever grows.
    fn metadata(&self, section: u32, from: usize, text: &mut [u8]) -> usize;

    /// Closes the open sub-buffer of every buffer that has records in it: the channel is about to be
    /// taken from the host.
    fn flush(&self);

    /// The host has read a full lap of some buffer: closes the open sub-buffers that could not be
    /// closed in time for want of room.
    fn catch_up(&self);
}
