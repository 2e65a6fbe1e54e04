// SPDX-License-Identifier: GPL-2.0
/* VESPER probe: tasks, as they end. A template for probes in C. */

#include <linux/err.h>
#include <vesper/probe.h>

#define EXIT_FIELDS(F, event)				\
	F(event, S32, tgid, NULL, "its process")	\
	F(event, STRING, comm, NULL, "its name")
VESPER_FIELDS(exit, EXIT_FIELDS);

static const struct vesper_event events[] = { VESPER_EVENT(exit) };
static struct vesper_channel *channel;
static struct vesper_points *attached;

VESPER_FILTERS();

static void on_exit(void *data, struct task_struct *task, bool last)
{
	struct vesper_record record;

	if (!vesper_wanted(task) ||
	    !vesper_record_begin(channel, 0, sizeof(s32) + TASK_COMM_LEN + 1, &record))
		return;
	vesper_put(&record, s32, task->tgid);
	vesper_put_string(&record, task->comm, TASK_COMM_LEN);
	vesper_record_commit(&record, 0);
}

#define POINTS(P) \
	P(exit, ON, "a task ends", VESPER_TRACEPOINT("sched_process_exit", on_exit))
VESPER_POINTS(points, POINTS);

static int __init exits_init(void)
{
	const struct vesper_channel_spec spec = {
		.owner = THIS_MODULE, .events = events, .nr_events = ARRAY_SIZE(events),
	};

	channel = vesper_channel_open(&spec);
	if (IS_ERR(channel))
		return PTR_ERR(channel);
	attached = vesper_attach(points, NULL);
	if (IS_ERR(attached))
		vesper_channel_close(channel);
	return PTR_ERR_OR_ZERO(attached);
}
module_init(exits_init);

static void __exit exits_exit(void)
{
	vesper_points_detach(attached);
	vesper_channel_close(channel);
}
module_exit(exits_exit);
MODULE_DESCRIPTION("VESPER probe: tasks, as they end");
MODULE_LICENSE("GPL");
