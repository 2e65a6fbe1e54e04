// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: networks that fail: links, packets, connections.

use kernel::{
    bindings::{
        request_sock,
        sk_buff,
        sock, //
    },
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

#[path = "../../include/vesper/probe.rs"]
#[macro_use]
mod vesper;
mod address;
mod fields;
#[path = "../notifier.rs"]
mod notifier;
#[path = "../recent.rs"]
mod recent;

use address::connection;
use fields::{
    bindings as c,
    Ends,
    Link,
    Packet, //
};

use notifier::{
    Notified,
    Notifier, //
};
use recent::Recent;

module! {
    type: Net,
    name: "net",
    authors: ["The VESPER developers"],
    description: "VESPER probe: networks that fail: links, packets, connections",
    license: "GPL",
}

params! {
    port: u32 = 0, "only connections and packets from or to this port (0: all)";
    unspecified: bool = false, "drop: also packets that are dropped for no given reason";
    subbuf_size: u32 = 0, "bytes in a sub-buffer, a multiple of 4096 (0: 8192)";
    n_subbufs: u32 = 0, "sub-buffers for each CPU (0: 8)";
}

filters!(pid, comm);

labels! {
    /// What happens to a link.
    struct Change(u32) = c"link_change" { c"up" = 1, c"down" = 2, c"carrier" = 4 }
}

labels! {
    /// State of a socket: `include/net/tcp_states.h`.
    struct State(u32) = c"tcp_state" {
        c"established" = 1, c"syn_sent" = 2, c"syn_recv" = 3, c"fin_wait1" = 4,
        c"fin_wait2" = 5, c"time_wait" = 6, c"close" = 7, c"close_wait" = 8, c"last_ack" = 9,
        c"listen" = 10, c"closing" = 11, c"new_syn_recv" = 12, c"bound_inactive" = 13,
    }
}

labels! {
    /// Protocol of a socket.
    struct Protocol(u32) = c"ip_protocol" {
        c"tcp" = 6, c"dccp" = 33, c"sctp" = 132, c"mptcp" = 262,
    }
}

labels! {
    /// Why a connection is reset: `enum sk_rst_reason` of `include/net/rstreason.h`.
    struct ResetReason(u32) = c"reset_reason" {
        c"not_specified" = c::sk_rst_reason_SK_RST_REASON_NOT_SPECIFIED,
        c"no_socket" = c::sk_rst_reason_SK_RST_REASON_NO_SOCKET,
        c"invalid_ack_sequence" = c::sk_rst_reason_SK_RST_REASON_TCP_INVALID_ACK_SEQUENCE,
        c"too_old_ack" = c::sk_rst_reason_SK_RST_REASON_TCP_TOO_OLD_ACK,
        c"ack_unsent_data" = c::sk_rst_reason_SK_RST_REASON_TCP_ACK_UNSENT_DATA,
        c"flags" = c::sk_rst_reason_SK_RST_REASON_TCP_FLAGS,
        c"old_ack" = c::sk_rst_reason_SK_RST_REASON_TCP_OLD_ACK,
        c"abort_on_data" = c::sk_rst_reason_SK_RST_REASON_TCP_ABORT_ON_DATA,
        c"timewait_socket" = c::sk_rst_reason_SK_RST_REASON_TCP_TIMEWAIT_SOCKET,
        c"invalid_syn" = c::sk_rst_reason_SK_RST_REASON_INVALID_SYN,
        c"abort_on_close" = c::sk_rst_reason_SK_RST_REASON_TCP_ABORT_ON_CLOSE,
        c"abort_on_linger" = c::sk_rst_reason_SK_RST_REASON_TCP_ABORT_ON_LINGER,
        c"abort_on_memory" = c::sk_rst_reason_SK_RST_REASON_TCP_ABORT_ON_MEMORY,
        c"state" = c::sk_rst_reason_SK_RST_REASON_TCP_STATE,
        c"keepalive_timeout" = c::sk_rst_reason_SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT,
        c"disconnect_with_data" = c::sk_rst_reason_SK_RST_REASON_TCP_DISCONNECT_WITH_DATA,
        c"error" = c::sk_rst_reason_SK_RST_REASON_ERROR,
    }
}

events! {
    /// What this probe writes.
    struct Records;

    /// A network device goes up or down, or its carrier changes.
    struct LinkChange<'a> = c"link" {
        /// Its name.
        device: vesper::Text<'a>,
        /// Its number.
        ifindex: i32,
        /// Its network namespace: inode number.
        netns: u32,
        /// What happens.
        change: Change,
        /// Whether it is up now.
        up: u8,
        /// Whether it has a carrier now.
        carrier: u8,
    }

    /// TCP sends something again.
    struct Retransmit<'a> = c"tcp_retransmit" {
        /// Our address and port.
        local: vesper::Text<'a>,
        /// The other's.
        remote: vesper::Text<'a>,
        /// State of the connection.
        state: State,
        /// Time-outs in a row without an answer, one that this is for included; of an answer to a
        /// SYN, how often it has been sent again.
        retransmits: u32,
        /// Zero, or a negative errno if it could not be sent.
        error: i32,
    }

    /// A connection is reset by us.
    struct ResetSent<'a> = c"tcp_reset_sent" {
        /// Our address and port.
        local: vesper::Text<'a>,
        /// The other's.
        remote: vesper::Text<'a>,
        /// State of the socket; 0 if there is none.
        state: State,
        /// Why.
        reason: ResetReason,
    }

    /// A connection is reset by the other side.
    struct ResetReceived<'a> = c"tcp_reset_received" {
        /// Our address and port.
        local: vesper::Text<'a>,
        /// The other's.
        remote: vesper::Text<'a>,
        /// State of the socket.
        state: State,
    }

    /// A packet is dropped.
    struct Dropped<'a> = c"packet_drop" {
        /// Why.
        reason: vesper::Text<'a>,
        /// The same as a number.
        reason_code: u32,
        /// Where in the kernel.
        location: vesper::Symbol,
        /// Kind of packet: `ETH_P_*`.
        protocol: vesper::Hex,
        /// Its length.
        len: u32,
        /// Number of the device it came in by; 0 if it was made here.
        ifindex: i32,
        /// Where it is from.
        source: vesper::Text<'a>,
        /// Where to.
        dest: vesper::Text<'a>,
    }

    /// A program does not accept connections as fast as they come: once for each that is refused.
    struct Overflow<'a> = c"listen_overflow" {
        /// Where it listens.
        local: vesper::Text<'a>,
        /// Who wants a connection.
        remote: vesper::Text<'a>,
        /// Connections that wait to be accepted.
        backlog: u32,
        /// As many as may.
        limit: u32,
    }

    /// A socket changes its state.
    struct SocketState<'a> = c"socket_state" {
        /// Our address and port.
        local: vesper::Text<'a>,
        /// The other's.
        remote: vesper::Text<'a>,
        /// Its protocol.
        protocol: Protocol,
        /// From.
        old_state: State,
        /// To.
        new_state: State,
        /// Who runs: if it is done by a packet, whoever was interrupted.
        pid: i32,
        /// Its name.
        comm: vesper::Comm,
    }
}

/// State of a socket that listens.
const LISTENS: u32 = 10;

/// Reasons that say nothing: `SKB_DROP_REASON_NOT_SPECIFIED` and what is below.
const NOT_SPECIFIED: u32 = 2;

/// Who was refused and asks again after this is somebody else: TCP doubles its pause up to this.
const AGAIN_NS: u64 = 130_000_000_000;

/// Refused clients that are remembered.
const REFUSED: usize = 512;

struct Probe {
    channel: vesper::Channel<Records>,
    links: Notifier<Probe>,
    /// By [`connection`].
    refused: Recent,
    /// The chain tells of a change, not of what was there at first or is still there at last.
    watching: Atomic<bool>,
}

impl Probe {
    fn watch_links(&self) -> Result {
        // SAFETY: The function puts a block on the chain of network devices. The probe stays where
        // it is while it is attached, and what has begun is ended before.
        unsafe { self.links.begin(self, c::register_netdevice_notifier)? };
        self.watching.store(true, Relaxed);
        Ok(())
    }

    fn unwatch_links(&self) {
        self.watching.store(false, Relaxed);
        // SAFETY: Of the same chain, which holds a lock while it calls.
        unsafe { self.links.end(c::unregister_netdevice_notifier) };
    }

    fn link(&self, change: Change, link: &Link) {
        let record = LinkChange {
            device: vesper::Text(&link.name),
            ifindex: link.ifindex,
            netns: link.netns,
            change,
            up: link.up.into(),
            carrier: link.carrier.into(),
        };
        self.channel.write(&record, true);
    }

    fn retransmit(&self, sk: *const sock, _skb: *const sk_buff, error: c_int) {
        // SAFETY: A full TCP socket, which is locked.
        let retransmits = unsafe { fields::retransmits(sk) };
        // SAFETY: As above.
        unsafe { self.sent_again(sk, retransmits, error) };
    }

    /// The answer to a SYN, which a request sends that has yet to become a socket.
    fn retransmit_answer(&self, _listens: *const sock, req: *const request_sock) {
        // SAFETY: A request, which is held as long as the tracepoint runs.
        let retransmits = unsafe { fields::answers(req) };
        // What could not be sent does not come here.
        // SAFETY: As above; a request is one of the kinds of sockets.
        unsafe { self.sent_again(req.cast(), retransmits, 0) };
    }

    /// # Safety
    ///
    /// `sk` is a socket of any kind, and there.
    unsafe fn sent_again(&self, sk: *const sock, retransmits: u32, error: c_int) {
        // SAFETY: By the contract above.
        let (ends, state) = unsafe { (Ends::of_sock(sk), fields::state(sk)) };
        if !ends.has_port(port()) {
            return;
        }
        let [local, remote] = ends.addresses();
        let record = Retransmit {
            local: vesper::Text(local.bytes()),
            remote: vesper::Text(remote.bytes()),
            state: State(state),
            retransmits,
            error,
        };
        self.channel.write(&record, false);
    }

    /// A socket of any kind, or none; a packet that is answered so, or none.
    fn send_reset(&self, sk: *const sock, skb: *const sk_buff, reason: u32) {
        // SAFETY: What there is of both is held as long as the tracepoint runs.
        let (ends, state) = unsafe {
            let state = match sk.is_null() {
                true => 0,
                false => fields::state(sk),
            };
            // Who listens has no other end; who is reset is in the packet.
            if !skb.is_null() && (sk.is_null() || state == LISTENS) {
                (Ends::of_received(skb), state)
            } else if !sk.is_null() {
                (Ends::of_sock(sk), state)
            } else {
                return;
            }
        };
        if !ends.has_port(port()) {
            return;
        }
        let [local, remote] = ends.addresses();
        let record = ResetSent {
            local: vesper::Text(local.bytes()),
            remote: vesper::Text(remote.bytes()),
            state: State(state),
            reason: ResetReason(reason),
        };
        self.channel.write(&record, false);
    }

    fn receive_reset(&self, sk: *mut sock) {
        // SAFETY: A full socket, which is locked.
        let (ends, state) = unsafe { (Ends::of_sock(sk), fields::state(sk)) };
        if !ends.has_port(port()) {
            return;
        }
        let [local, remote] = ends.addresses();
        let record = ResetReceived {
            local: vesper::Text(local.bytes()),
            remote: vesper::Text(remote.bytes()),
            state: State(state),
        };
        self.channel.write(&record, false);
    }

    fn drop_packet(&self, skb: *mut sk_buff, location: *mut c_void, reason: u32, _sk: *const sock) {
        if reason <= NOT_SPECIFIED && !unspecified() {
            return;
        }
        // SAFETY: The packet is freed only when the tracepoint has run.
        let packet = unsafe { Packet::read(skb) };
        if !packet.ends.has_port(port()) {
            return;
        }
        let [source, dest] = packet.ends.addresses();
        let record = Dropped {
            reason: fields::drop_reason(reason),
            reason_code: reason,
            location: vesper::Symbol(location.addr()),
            protocol: vesper::Hex(packet.protocol.into()),
            len: packet.len,
            ifindex: packet.ifindex,
            source: vesper::Text(source.bytes()),
            dest: vesper::Text(dest.bytes()),
        };
        self.channel.write(&record, false);
    }

    /// `tcp_conn_request(ops, af_ops, sk, skb)`: somebody wants a connection.
    fn request(&self, regs: &mut vesper::Regs) {
        self.overflow(regs.arg(2) as *const sock, regs.arg(3) as *const sk_buff);
    }

    /// `tcp_check_req(sk, skb, ...)`: a connection is there but for being accepted.
    fn check(&self, regs: &mut vesper::Regs) {
        let skb = regs.arg(1) as *const sk_buff;
        // A request that comes once more is none that could be refused here.
        // SAFETY: Argument of a function that is being entered, which holds it.
        if unsafe { fields::completes(skb) } {
            self.overflow(regs.arg(0) as *const sock, skb);
        }
    }

    fn overflow(&self, sk: *const sock, skb: *const sk_buff) {
        // SAFETY: Argument of a function that is being entered, which holds it.
        let Some(backlog) = (unsafe { fields::full_backlog(sk) }) else {
            return;
        };
        // SAFETY: As above.
        let (own, ends) = unsafe { (Ends::of_sock(sk), Ends::of_received(skb)) };
        if !own.has_port(port()) {
            return;
        }
        let ([local, _], [_, remote]) = (own.addresses(), ends.addresses());
        if !self.refused.is_news(connection([&local, &remote])) {
            return;
        }
        let record = Overflow {
            local: vesper::Text(local.bytes()),
            remote: vesper::Text(remote.bytes()),
            backlog: backlog.length,
            limit: backlog.limit,
        };
        self.channel.write(&record, false);
    }

    fn state(&self, sk: *const sock, from: c_int, to: c_int) {
        let Some(task) = vesper::Task::current() else {
            return;
        };
        // SAFETY: A full socket, which is held as long as the tracepoint runs.
        let (ends, protocol) = unsafe { (Ends::of_sock(sk), fields::protocol(sk)) };
        if !ends.has_port(port()) || !wanted(task) {
            return;
        }
        let [local, remote] = ends.addresses();
        let record = SocketState {
            local: vesper::Text(local.bytes()),
            remote: vesper::Text(remote.bytes()),
            protocol: Protocol(protocol),
            old_state: State(from as u32),
            new_state: State(to as u32),
            pid: task.pid(),
            comm: task.comm(),
        };
        self.channel.write(&record, false);
    }
}

impl Notified for Probe {
    /// The chain of network devices: process context.
    fn notified(&self, event: c_ulong, info: *mut c_void) {
        let change = match event as u32 {
            c::netdev_cmd_NETDEV_UP | c::netdev_cmd_NETDEV_DOWN | c::netdev_cmd_NETDEV_CHANGE => {
                Change(event as u32)
            }
            _ => return,
        };
        let is_change = change.0 == c::netdev_cmd_NETDEV_CHANGE;
        // SAFETY: What this chain passes of a change.
        let of_flags = is_change && unsafe { c::net_flags_changed(info) };
        if self.watching.load(Relaxed) && !of_flags {
            // SAFETY: What this chain passes is about a device, which is there.
            let link = unsafe { Link::read(c::net_notified(info)) };
            self.link(change, &link);
        }
    }
}

tracepoint! {
    // SAFETY: As in include/trace/events/tcp.h.
    unsafe fn tcp_retransmit_skb(
        sk: *const sock,
        skb: *const sk_buff,
        error: c_int,
    ) => Probe::retransmit
    // SAFETY: As above.
    unsafe fn tcp_retransmit_synack(
        listens: *const sock,
        req: *const request_sock,
    ) => Probe::retransmit_answer
    // SAFETY: As above.
    unsafe fn tcp_send_reset(
        sk: *const sock,
        skb: *const sk_buff,
        reason: u32,
    ) => Probe::send_reset
    // SAFETY: As above.
    unsafe fn tcp_receive_reset(sk: *mut sock) => Probe::receive_reset
    // SAFETY: As in include/trace/events/skb.h.
    unsafe fn kfree_skb(
        skb: *mut sk_buff,
        location: *mut c_void,
        reason: u32,
        receiver: *const sock,
    ) => Probe::drop_packet
    // SAFETY: As in include/trace/events/sock.h.
    unsafe fn inet_sock_set_state(sk: *const sock, from: c_int, to: c_int) => Probe::state
}

fprobe! { fn tcp_conn_request => Probe::request }
kprobe! { fn requests["tcp_conn_request"] => Probe::request }
fprobe! { fn tcp_check_req => Probe::check }
kprobe! { fn checks["tcp_check_req"] => Probe::check }
source! { fn links => Probe::watch_links, Probe::unwatch_links }

points! {
    /// What this probe watches.
    struct Watched for Probe;

    /// A network device goes up or down, or its carrier changes.
    link = [links];
    /// TCP sends something again.
    retransmit = [tcp_retransmit_skb, tcp_retransmit_synack];
    /// A connection is reset by us.
    reset_sent = [tcp_send_reset];
    /// A connection is reset by the other side.
    reset_received = [tcp_receive_reset];
    /// A packet is dropped, and why.
    drop = [kfree_skb];
    /// A program does not accept connections as fast as they come.
    overflow = [tcp_conn_request | requests, tcp_check_req | checks];
    /// Every change of a socket's state.
    (off) state = [inet_sock_set_state];
}

struct Net {
    _attachment: vesper::Attachment<Probe>,
}

impl kernel::Module for Net {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let probe = Probe {
            channel: vesper::Channel::open(&vesper::Options {
                subbuf_size: subbuf_size(),
                n_subbufs: n_subbufs(),
                ..Default::default()
            })?,
            links: Notifier::new(),
            refused: Recent::new(REFUSED, AGAIN_NS)?,
            watching: Atomic::new(false),
        };
        vesper::filter::check::<Watched>(filtered(), &[c"state"]);
        Ok(Self {
            _attachment: vesper::Attachment::new::<Watched>(Arc::new(probe, GFP_KERNEL)?)?,
        })
    }
}
