/* SPDX-License-Identifier: GPL-2.0 */
/* The heartbeat: what runs on each CPU. */
#ifndef VESPER_GUEST_BEAT_H
#define VESPER_GUEST_BEAT_H

#include <linux/types.h>

struct page;

/* Bytes of a line of the heartbeat's pages. */
#define VESPER_BEAT_LINE	64

void *vesper_beat_alloc(u32 nr_cpus);
void vesper_beat_free(void *lines);
struct page *vesper_beat_page(void *lines, u32 page);
void vesper_beat_shutdown(void);
void vesper_beat_panic(void);
int vesper_beat_start(void *lines);
void vesper_beat_stop(void);

#endif
