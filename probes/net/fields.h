/* SPDX-License-Identifier: GPL-2.0 */
/* What only C can read of the structures that the probe points pass. */
#ifndef VESPER_NET_FIELDS_H
#define VESPER_NET_FIELDS_H

#include <linux/notifier.h>
#include <linux/types.h>

struct net_device;
struct sk_buff;
struct sock;

/* An IPv6 address in brackets, a port, and what ends the text. */
#define NET_ADDRESS_LEN	56

/* Both ends of a connection or of a packet; empty where they are not known. */
struct net_ends {
	char local[NET_ADDRESS_LEN];
	char remote[NET_ADDRESS_LEN];
	u16 local_port;
	u16 remote_port;
};

/* A packet at any stage of its life; its source is the local end. */
struct net_packet {
	struct net_ends ends;
	u32 protocol;		/* ETH_P_* */
	u32 len;
	s32 ifindex;		/* of the device it came in by */
};

/* A network device. */
struct net_link {
	char name[16];
	s32 ifindex;
	u32 netns;
	bool up;
	bool carrier;
};

/* Queue of a listening socket. */
struct net_backlog {
	u32 length;
	u32 limit;
};

void net_read_sock(const struct sock *sk, struct net_ends *ends);
void net_read_received(const struct sk_buff *skb, struct net_ends *ends);
void net_read_packet(const struct sk_buff *skb, struct net_packet *packet);
u32 net_sock_state(const struct sock *sk);
u32 net_sock_protocol(const struct sock *sk);
u32 net_retransmits(const struct sock *sk);
bool net_backlog_full(const struct sock *sk, struct net_backlog *backlog);
bool net_completes(const struct sk_buff *skb);
const char *net_drop_reason(u32 reason);
void net_read_link(const struct net_device *dev, struct net_link *link);
struct net_device *net_notified(void *info);

#endif
