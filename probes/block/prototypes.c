// SPDX-License-Identifier: GPL-2.0
/* The tracepoints of blockio_main.rs. */
#include <linux/blk-mq.h>
#include <trace/events/block.h>

#include "../prototypes.h"

PROTOTYPE(block_rq_issue, struct request *);
PROTOTYPE(block_rq_complete, struct request *, blk_status_t, unsigned int);
