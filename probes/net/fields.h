/* SPDX-License-Identifier: GPL-2.0 */
/* What only C can read of the structures that the probe points pass. */
#ifndef VESPER_NET_FIELDS_H
#define VESPER_NET_FIELDS_H

#include <linux/notifier.h>
#include <linux/types.h>

struct net_device;
struct request_sock;
struct sk_buff;
struct sock;

/* One end of a connection or of a packet. */
struct net_end {
	u8 address[16];		/* of IPv4 the first four */
	u16 port;
};

/* Both ends. */
struct net_ends {
	u16 family;		/* AF_INET, AF_INET6; any other: they have no addresses */
	struct net_end local;
	struct net_end remote;
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
u32 net_answers(const struct request_sock *req);
bool net_backlog_full(const struct sock *sk, struct net_backlog *backlog);
bool net_completes(const struct sk_buff *skb);
const char *net_drop_reason(u32 reason);
void net_read_link(const struct net_device *dev, struct net_link *link);
struct net_device *net_notified(void *info);
bool net_flags_changed(void *info);

#endif
