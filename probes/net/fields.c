// SPDX-License-Identifier: GPL-2.0
/*
 * What only C can read of the structures that the probe points pass: macros,
 * inline functions, types that the kernel crate does not have.
 */
#include <linux/bitfield.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/minmax.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/dropreason.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/request_sock.h>
#include <net/sock.h>
#include <net/tcp_states.h>
#include <trace/events/skb.h>
#include <trace/events/sock.h>
#include <trace/events/tcp.h>

#include "../prototypes.h"
#include "fields.h"

static void set(struct net_end *end, const void *address, size_t len, __be16 port)
{
	memcpy(end->address, address, len);
	end->port = ntohs(port);
}

static void set_v4(struct net_ends *ends, __be32 local, __be16 from, __be32 remote, __be16 to)
{
	ends->family = AF_INET;
	set(&ends->local, &local, sizeof(local), from);
	set(&ends->remote, &remote, sizeof(remote), to);
}

static void set_v6(struct net_ends *ends, const struct in6_addr *local, __be16 from,
		   const struct in6_addr *remote, __be16 to)
{
	ends->family = AF_INET6;
	set(&ends->local, local, sizeof(*local), from);
	set(&ends->remote, remote, sizeof(*remote), to);
}

/*
 * Any kind of socket, full or not: what is read here is common to all of them.
 */
void net_read_sock(const struct sock *sk, struct net_ends *ends)
{
	__be16 port = htons(sk->sk_num);

	if (sk->sk_family == AF_INET)
		set_v4(ends, sk->sk_rcv_saddr, port, sk->sk_daddr, sk->sk_dport);
#if IS_ENABLED(CONFIG_IPV6)
	else if (sk->sk_family == AF_INET6)
		set_v6(ends, &sk->sk_v6_rcv_saddr, port, &sk->sk_v6_daddr, sk->sk_dport);
#endif
	else
		ends->family = AF_UNSPEC;
}

/* A number of bytes at @at lie in the linear part of a packet. */
static bool within(const struct sk_buff *skb, const void *at, size_t len)
{
	const u8 *start = at;

	return start >= skb->head && start + len <= skb_tail_pointer(skb);
}

/*
 * The ends of a packet at any stage of its life, source as local. Its headers may be
 * set or not, so nothing but what lies in the packet is looked at, and only if it
 * has the form of a header.
 */
static void put_packet(const struct sk_buff *skb, struct net_ends *ends)
{
	const struct ipv6hdr *ip6;
	const struct iphdr *ip;
	const __be16 *ports;
	__be16 from = 0, to = 0;
	u8 protocol;

	ends->family = AF_UNSPEC;
	ip = (const void *)skb_network_header(skb);
	if (skb->protocol == htons(ETH_P_IP)) {
		if (!within(skb, ip, sizeof(*ip)) || ip->version != 4 || ip->ihl < 5)
			return;
		ports = (const void *)ip + ip->ihl * 4;
		protocol = ip->frag_off & htons(IP_OFFSET) ? 0 : ip->protocol;
	} else if (skb->protocol == htons(ETH_P_IPV6)) {
		ip6 = (const void *)ip;
		if (!within(skb, ip6, sizeof(*ip6)) || ip6->version != 6)
			return;
		ports = (const void *)(ip6 + 1);
		protocol = ip6->nexthdr;
	} else {
		return;
	}

	if ((protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) &&
	    within(skb, ports, 2 * sizeof(*ports))) {
		from = ports[0];
		to = ports[1];
	}
	if (skb->protocol == htons(ETH_P_IP))
		set_v4(ends, ip->saddr, from, ip->daddr, to);
	else
		set_v6(ends, &ip6->saddr, from, &ip6->daddr, to);
}

/* A packet that came in: what it was sent to is ours. */
void net_read_received(const struct sk_buff *skb, struct net_ends *ends)
{
	put_packet(skb, ends);
	swap(ends->local, ends->remote);
}

void net_read_packet(const struct sk_buff *skb, struct net_packet *packet)
{
	put_packet(skb, &packet->ends);
	packet->protocol = ntohs(skb->protocol);
	packet->len = skb->len;
	packet->ifindex = skb->skb_iif;
}

u32 net_sock_state(const struct sock *sk)
{
	return READ_ONCE(sk->sk_state);
}

u32 net_sock_protocol(const struct sock *sk)
{
	return sk->sk_protocol;
}

/* Of a full TCP socket. */
u32 net_retransmits(const struct sock *sk)
{
	return READ_ONCE(inet_csk(sk)->icsk_retransmits);
}

/* How often the answer to a request has been sent again. */
u32 net_answers(const struct request_sock *req)
{
	return READ_ONCE(req->num_retrans);
}

/* Whether a socket listens and has no room for one more connection. */
bool net_backlog_full(const struct sock *sk, struct net_backlog *backlog)
{
	if (READ_ONCE(sk->sk_state) != TCP_LISTEN)
		return false;
	backlog->length = READ_ONCE(sk->sk_ack_backlog);
	backlog->limit = READ_ONCE(sk->sk_max_ack_backlog);
	return sk_acceptq_is_full(sk);
}

/* Whether a packet that TCP looks at is the last of three that make a connection. */
bool net_completes(const struct sk_buff *skb)
{
	const struct tcphdr *th = tcp_hdr(skb);

	return th->ack && !th->syn && !th->rst;
}

/* Name of why a packet was dropped, valid for ever, or %NULL. */
const char *net_drop_reason(u32 reason)
{
	const struct drop_reason_list *list;
	u32 nr = reason & 0xffff;

	/* Those of the kernel proper: what a module registered goes with it. */
	if (u32_get_bits(reason, SKB_DROP_REASON_SUBSYS_MASK) != SKB_DROP_REASON_SUBSYS_CORE)
		return NULL;
	list = rcu_dereference_raw(drop_reasons_by_subsys[SKB_DROP_REASON_SUBSYS_CORE]);
	return list && nr < list->n_reasons ? list->reasons[nr] : NULL;
}

void net_read_link(const struct net_device *dev, struct net_link *link)
{
	strscpy(link->name, dev->name, sizeof(link->name));
	link->ifindex = dev->ifindex;
	link->netns = dev_net(dev)->ns.inum;
	link->up = dev->flags & IFF_UP;
	link->carrier = netif_carrier_ok(dev);
}

/* The device that a notification of the network devices is about. */
struct net_device *net_notified(void *info)
{
	return netdev_notifier_info_to_dev(info);
}

/*
 * Whether a notification of a change is of the device's flags, and not of its
 * carrier or what else the other side has to do with.
 */
bool net_flags_changed(void *info)
{
	return ((struct netdev_notifier_change_info *)info)->flags_changed;
}

/* The tracepoints of net_main.rs. */
PROTOTYPE(tcp_retransmit_skb, const struct sock *, const struct sk_buff *, int);
PROTOTYPE(tcp_retransmit_synack, const struct sock *, const struct request_sock *);
PROTOTYPE(tcp_send_reset, const struct sock *, const struct sk_buff *, const enum sk_rst_reason);
PROTOTYPE(tcp_receive_reset, struct sock *);
PROTOTYPE(kfree_skb, struct sk_buff *, void *, enum skb_drop_reason, const struct sock *);
PROTOTYPE(inet_sock_set_state, const struct sock *, const int, const int);
