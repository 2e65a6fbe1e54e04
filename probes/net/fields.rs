// SPDX-License-Identifier: GPL-2.0

//! What only C can read of the structures that the probe points pass.
//!
//! C header: `fields.h`

use crate::{
    address::Address,
    vesper::Text, //
};
use core::ptr;
use kernel::{
    bindings::{
        net_device,
        request_sock,
        sk_buff,
        sock,
        AF_INET,
        AF_INET6, //
    },
    prelude::*,
    str::CStr, //
};

/// Fence around the bindings that bindgen made.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
pub(crate) mod bindings {
    include!("bindings_generated.rs");
}

pub(crate) use bindings::{
    net_backlog as Backlog,
    net_ends as Ends,
    net_link as Link,
    net_packet as Packet, //
};

impl Ends {
    /// The ends of a connection.
    ///
    /// # Safety
    ///
    /// `sk` is a socket of any kind, and there.
    pub(crate) unsafe fn of_sock(sk: *const sock) -> Self {
        let mut ends = Self::zeroed();
        // SAFETY: By the contract above; the other is a local.
        unsafe { bindings::net_read_sock(sk, ptr::from_mut(&mut ends)) };
        ends
    }

    /// The ends of a packet that came in.
    ///
    /// # Safety
    ///
    /// `skb` is a packet, and there.
    pub(crate) unsafe fn of_received(skb: *const sk_buff) -> Self {
        let mut ends = Self::zeroed();
        // SAFETY: As above.
        unsafe { bindings::net_read_received(skb, ptr::from_mut(&mut ends)) };
        ends
    }

    /// Whether one of the ends has this port, 0 being any.
    pub(crate) fn has_port(&self, port: u32) -> bool {
        port == 0 || port == self.local.port.into() || port == self.remote.port.into()
    }

    /// This machine's address and port, and the other's.
    pub(crate) fn addresses(&self) -> [Address; 2] {
        [&self.local, &self.remote].map(|end| match self.family.into() {
            AF_INET => {
                let [a, b, c, d, ..] = end.address;
                Address::v4([a, b, c, d], end.port)
            }
            AF_INET6 => Address::v6(end.address, end.port),
            _ => Address::none(),
        })
    }
}

impl Packet {
    /// Reads a packet, at any stage of its life.
    ///
    /// # Safety
    ///
    /// `skb` is one, and there.
    pub(crate) unsafe fn read(skb: *const sk_buff) -> Self {
        let mut packet = Self::zeroed();
        // SAFETY: By the contract above; the other is a local.
        unsafe { bindings::net_read_packet(skb, ptr::from_mut(&mut packet)) };
        packet
    }
}

impl Link {
    /// Reads a network device.
    ///
    /// # Safety
    ///
    /// `dev` is one, and there.
    pub(crate) unsafe fn read(dev: *const net_device) -> Self {
        let mut link = Self::zeroed();
        // SAFETY: By the contract above; the other is a local.
        unsafe { bindings::net_read_link(dev, ptr::from_mut(&mut link)) };
        link
    }
}

/// The queue of a socket that listens, if it is full.
///
/// # Safety
///
/// `sk` is a socket of any kind, and there.
pub(crate) unsafe fn full_backlog(sk: *const sock) -> Option<Backlog> {
    let mut backlog = Backlog::zeroed();
    // SAFETY: By the contract above; the other is a local.
    unsafe { bindings::net_backlog_full(sk, ptr::from_mut(&mut backlog)) }.then_some(backlog)
}

/// Whether a packet is the last of three that make a connection.
///
/// # Safety
///
/// `skb` is a packet that TCP has received.
pub(crate) unsafe fn completes(skb: *const sk_buff) -> bool {
    // SAFETY: By the contract above.
    unsafe { bindings::net_completes(skb) }
}

/// State of a socket: `TCP_*`.
///
/// # Safety
///
/// `sk` is a socket of any kind, and there.
pub(crate) unsafe fn state(sk: *const sock) -> u32 {
    // SAFETY: By the contract above.
    unsafe { bindings::net_sock_state(sk) }
}

/// Protocol of a socket: `IPPROTO_*`.
///
/// # Safety
///
/// `sk` is a full socket, and there.
pub(crate) unsafe fn protocol(sk: *const sock) -> u32 {
    // SAFETY: By the contract above.
    unsafe { bindings::net_sock_protocol(sk) }
}

/// Times that a connection has sent the same again.
///
/// # Safety
///
/// `sk` is a full TCP socket, and there.
pub(crate) unsafe fn retransmits(sk: *const sock) -> u32 {
    // SAFETY: By the contract above.
    unsafe { bindings::net_retransmits(sk) }
}

/// Times that the answer to a request has been sent again.
///
/// # Safety
///
/// `req` is a request of TCP, and there.
pub(crate) unsafe fn answers(req: *const request_sock) -> u32 {
    // SAFETY: By the contract above.
    unsafe { bindings::net_answers(req) }
}

/// Name of why a packet is dropped; empty for a reason of a module's.
pub(crate) fn drop_reason(reason: u32) -> Text<'static> {
    // SAFETY: No requirements.
    let name = unsafe { bindings::net_drop_reason(reason) };
    if name.is_null() {
        return Text(&[]);
    }
    // SAFETY: A string of the kernel's own, which is there for ever.
    Text(unsafe { CStr::from_char_ptr(name) }.to_bytes())
}
