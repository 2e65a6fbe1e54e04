// SPDX-License-Identifier: GPL-2.0
/*
 * Points whose hooks can't all be attached, each in another way: for tests of what
 * takes their place. A record says which point it is of, "wrong" if it is of a hook
 * that must not be there.
 */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <vesper/probe.h>

#define CALLED_FIELDS(F, event)	F(event, STRING, point, NULL, "which")
VESPER_FIELDS(called, CALLED_FIELDS);

#define REMOUNTED_FIELDS(F, event) \
	F(event, SYMBOL, function, NULL, "the function that was found")
VESPER_FIELDS(remounted, REMOUNTED_FIELDS);

static const struct vesper_event events[] = {
	VESPER_EVENT(called), VESPER_EVENT(remounted),
};

static struct vesper_channel *channel;
static struct vesper_points *attached;

static void called(const char *point)
{
	struct vesper_record record;
	u32 len = strlen(point);

	if (!vesper_record_begin(channel, 0, len + 1, &record))
		return;
	vesper_put_string(&record, point, len);
	vesper_record_commit(&record, 0);
}

static void on_name(void *data, struct vesper_regs *regs)
{
	called("other_name");
}

static void on_hook(void *data, struct vesper_regs *regs)
{
	called("other_hook");
}

static void on_wrong(void *data, struct vesper_regs *regs)
{
	called("wrong");
}

static void on_remount(void *data, struct vesper_regs *regs)
{
	struct vesper_record record;

	if (!vesper_record_begin(channel, 1, sizeof(regs->function), &record))
		return;
	vesper_put_symbols(&record, &regs->function, 1);
	vesper_record_commit(&record, 0);
}

static void on_exit(void *data, struct task_struct *task, bool last)
{
	called("other_kind");
}

static void on_wrong_exit(void *data, struct task_struct *task, bool last)
{
	called("wrong");
}

static int begin(void *data)
{
	called("source begins");
	return 0;
}

static void end(void *data)
{
	called("source ends");
}

static int refuse(void *data)
{
	return -EOPNOTSUPP;
}

static void end_wrong(void *data)
{
	called("wrong");
}

#define NOWHERE		"no_such_function"
#define SLEEP		"hrtimer_nanosleep"
#define EXIT		"sched_process_exit"
/* What two functions were called once, and what they are called now. */
#define REMOUNT		"do_remount_sb|reconfigure_super"
#define WARN_POINT	"warn_alloc_failed|warn_alloc"

#define POINTS(P) \
	P(other_name, ON, "the second name is one of this kernel", \
	  VESPER_FPROBE(NOWHERE "|" SLEEP, on_name, NULL)) \
	P(other_hook, ON, "the second hook can be attached, the third could", \
	  VESPER_FPROBE(NOWHERE, on_wrong, NULL), \
	  VESPER_ELSE(KPROBE, SLEEP, on_hook), \
	  VESPER_ELSE(KPROBE, SLEEP, on_wrong)) \
	P(other_kind, ON, "a source does not begin, a tracepoint takes its place", \
	  VESPER_SOURCE(refuse, end_wrong), \
	  VESPER_ELSE(TRACEPOINT, "no_such_tracepoint|" EXIT, on_exit)) \
	P(remount, ON, "a function that was renamed, at a kprobe", \
	  VESPER_KPROBE(REMOUNT, on_remount)) \
	P(warn, ON, "another one, at an fprobe", \
	  VESPER_FPROBE(WARN_POINT, on_wrong, NULL)) \
	P(source, ON, "something of the probe's own", \
	  VESPER_SOURCE(begin, end)) \
	P(half, ON, "one of two hooks can't be attached: none is", \
	  VESPER_TRACEPOINT(EXIT, on_wrong_exit), \
	  VESPER_FPROBE(NOWHERE, on_wrong, NULL))
VESPER_POINTS(points, POINTS);

static int __init vesper_hooks_init(void)
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
module_init(vesper_hooks_init);

static void __exit vesper_hooks_exit(void)
{
	vesper_points_detach(attached);
	vesper_channel_close(channel);
}
module_exit(vesper_hooks_exit);

MODULE_DESCRIPTION("VESPER selftest: hooks that take the place of others");
MODULE_LICENSE("GPL");
