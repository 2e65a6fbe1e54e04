/* SPDX-License-Identifier: GPL-2.0 */
/* relay channels of others. */
#ifndef VESPER_GUEST_RELAYS_H
#define VESPER_GUEST_RELAYS_H

#include <linux/types.h>

struct rchan;
struct rchan_buf;

typedef void (*vesper_relay_each_t)(void *data, struct rchan *chan);

struct rchan *vesper_helper_relay_anchor(void);
struct rchan_buf *vesper_helper_relay_buf_get(struct rchan *chan, u32 cpu);
void vesper_helper_relay_buf_put(struct rchan_buf *buf);
int vesper_helper_relay_path(struct rchan_buf *buf, char *text, size_t len);
int vesper_helper_relay_walk(struct rchan *anchor, vesper_relay_each_t each,
			     void *data);

#endif
