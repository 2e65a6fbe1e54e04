// SPDX-License-Identifier: GPL-2.0
/*
 * Test probe: records, urgently, just what the carrying of records to the host
 * makes a kernel do. Loaded into the host itself it could feed itself for ever.
 */
#include <linux/err.h>
#include <linux/module.h>

#include <vesper/probe.h>

static const struct vesper_field fields[] = {
	{ .name = "point", .type = VESPER_TYPE_U32 },
};

static const struct vesper_event events[] = {
	{ .name = "work", .fields = fields, .nr_fields = ARRAY_SIZE(fields) },
};

/* An interrupt for each interrupt would be no news: that one can wait. */
static const struct {
	const char *name;
	u32 flags;
} points[] = {
	{ "irq_work_entry", 0 },
	{ "sched_switch", VESPER_RECORD_URGENT },
	{ "sched_waking", VESPER_RECORD_URGENT },
	{ "sched_wakeup", VESPER_RECORD_URGENT },
	{ "timer_start", VESPER_RECORD_URGENT },
	{ "workqueue_execute_end", VESPER_RECORD_URGENT },
	{ "workqueue_execute_start", VESPER_RECORD_URGENT },
	{ "workqueue_queue_work", VESPER_RECORD_URGENT },
};

static struct vesper_channel *channel;
static struct vesper_hook *hooks[ARRAY_SIZE(points)];

/* Of the tracepoint's own arguments none is looked at. */
static void handler(void *data)
{
	unsigned long point = (unsigned long)data;
	struct vesper_record record;

	if (!vesper_record_begin(channel, 0, sizeof(u32), &record))
		return;
	vesper_put(&record, u32, point);
	vesper_record_commit(&record, points[point].flags);
}

static void detach_all(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(points); i++)
		if (!IS_ERR_OR_NULL(hooks[i]))
			vesper_hook_detach(hooks[i]);
}

static int __init vesper_feed_init(void)
{
	struct vesper_channel_spec spec = {
		.owner = THIS_MODULE,
		.events = events,
		.nr_events = ARRAY_SIZE(events),
		.subbuf_size = 4096,
		.n_subbufs = 64,
	};

	channel = vesper_channel_open(&spec);
	if (IS_ERR(channel))
		return PTR_ERR(channel);
	for (unsigned long i = 0; i < ARRAY_SIZE(points); i++) {
		hooks[i] = vesper_tracepoint_attach(points[i].name, handler,
						    (void *)i);
		if (IS_ERR(hooks[i])) {
			int ret = PTR_ERR(hooks[i]);

			detach_all();
			vesper_channel_close(channel);
			return ret;
		}
	}
	return 0;
}
module_init(vesper_feed_init);

static void __exit vesper_feed_exit(void)
{
	detach_all();
	vesper_channel_close(channel);
}
module_exit(vesper_feed_exit);

MODULE_DESCRIPTION("VESPER test probe: records what carrying records takes");
MODULE_AUTHOR("The VESPER developers");
MODULE_LICENSE("GPL");
