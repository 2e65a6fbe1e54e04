// SPDX-License-Identifier: GPL-2.0
/*
 * The heartbeat: a timer on each CPU counts in pages that the host looks at.
 *
 * A CPU that is idle says so, and its timer is not started again when it has
 * run out. It starts again when the CPU stops being idle, also if that was
 * because of the timer; then it is stopped when the CPU is idle again, so that
 * it wakes an idle CPU once at most. The host may write what it likes into the
 * pages: what is read of them is the period, which is bounded here.
 */

#include <linux/cpuhotplug.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/tracepoint.h>
#include <linux/vmalloc.h>
#include <trace/events/power.h>

#include <linux/vesper.h>
#include <linux/virtio_vesper.h>

#include "beat.h"

/* Where the host has no wish. */
#define DEFAULT_PERIOD_MS	100

struct beat_cpu {
	struct hrtimer timer;
	struct virtio_vesper_beat *slot;
	u64 beats;
	bool idle;
	bool running;
	/* The timer has ended an idleness. */
	bool woken;
};

static DEFINE_PER_CPU(struct beat_cpu, beat_cpus);
static struct virtio_vesper_beat_head *head;
static int hotplug_state;

static_assert(sizeof(struct virtio_vesper_beat_head) == VESPER_BEAT_LINE);
static_assert(sizeof(struct virtio_vesper_beat) == VESPER_BEAT_LINE);

static ktime_t next_period(struct beat_cpu *cpu)
{
	u32 ms = le32_to_cpu(READ_ONCE(head->period_ms));

	ms = clamp(ms ?: DEFAULT_PERIOD_MS, VESPER_BEAT_MIN_PERIOD_MS,
		   VESPER_BEAT_MAX_PERIOD_MS);
	WRITE_ONCE(cpu->slot->period_ms, cpu_to_le32(ms));
	return ms_to_ktime(ms);
}

static void count(struct beat_cpu *cpu)
{
	WRITE_ONCE(cpu->slot->beats, cpu_to_le64(++cpu->beats));
}

static void say(struct beat_cpu *cpu, u32 state)
{
	WRITE_ONCE(cpu->slot->state, cpu_to_le32(state));
}

/* Hard interrupt, on the CPU that started it. */
static enum hrtimer_restart beat(struct hrtimer *timer)
{
	struct beat_cpu *cpu = container_of(timer, struct beat_cpu, timer);

	/* The CPU goes, see below. */
	if (!cpu->slot)
		return HRTIMER_NORESTART;
	count(cpu);
	if (cpu->idle) {
		cpu->running = false;
		cpu->woken = true;
		return HRTIMER_NORESTART;
	}
	hrtimer_forward_now(timer, next_period(cpu));
	return HRTIMER_RESTART;
}

static void start(struct beat_cpu *cpu)
{
	cpu->running = true;
	hrtimer_start(&cpu->timer, next_period(cpu),
		      HRTIMER_MODE_REL_PINNED_HARD);
}

/*
 * A CPU begins to be idle, or ends it: interrupts are off. In state 0 it polls,
 * and uses up its time, which is not what the host takes for idle.
 */
static void idle_changed(void *data, unsigned int state, unsigned int id)
{
	struct beat_cpu *cpu = this_cpu_ptr(&beat_cpus);

	/* Not yet online, or no more. */
	if (!cpu->slot || !state)
		return;
	if (state != PWR_EVENT_EXIT) {
		cpu->idle = true;
		say(cpu, VIRTIO_VESPER_CPU_IDLE);
		/* On this CPU, with interrupts off: it is not in the middle of it. */
		if (cpu->woken && cpu->running &&
		    hrtimer_try_to_cancel(&cpu->timer) >= 0)
			cpu->running = false;
		cpu->woken = false;
	} else if (cpu->idle) {
		cpu->idle = false;
		count(cpu);
		say(cpu, VIRTIO_VESPER_CPU_RUNNING);
		if (!cpu->running)
			start(cpu);
		else if (hrtimer_expires_remaining(&cpu->timer) <= 0)
			/* Its interrupt is still to come, where idling keeps them off. */
			cpu->woken = true;
	}
}

/* On the CPU that comes, in a thread. */
static int come(unsigned int id)
{
	struct beat_cpu *cpu = this_cpu_ptr(&beat_cpus);
	unsigned long flags;

	hrtimer_setup(&cpu->timer, beat, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_PINNED_HARD);
	local_irq_save(flags);
	cpu->idle = false;
	cpu->woken = false;
	cpu->slot = (struct virtio_vesper_beat *)(head + 1) + id;
	say(cpu, VIRTIO_VESPER_CPU_RUNNING);
	start(cpu);
	local_irq_restore(flags);
	return 0;
}

/* On the CPU that goes, in a thread: interrupts still come. */
static int go(unsigned int id)
{
	struct beat_cpu *cpu = this_cpu_ptr(&beat_cpus);
	struct virtio_vesper_beat *slot = cpu->slot;
	unsigned long flags;

	local_irq_save(flags);
	cpu->slot = NULL;
	local_irq_restore(flags);
	/* A beat that comes in between finds no slot. */
	hrtimer_cancel(&cpu->timer);
	cpu->running = false;
	if (slot)
		WRITE_ONCE(slot->state, cpu_to_le32(VIRTIO_VESPER_CPU_OFFLINE));
	return 0;
}

/* Lines for the head and for so many CPUs, and their pages. */
void *vesper_beat_alloc(u32 nr_cpus)
{
	struct virtio_vesper_beat_head *lines;

	lines = vzalloc(VESPER_BEAT_LINE * (1 + (size_t)nr_cpus));
	if (!lines)
		return NULL;
	lines->version = cpu_to_le32(VIRTIO_VESPER_BEAT_VERSION);
	lines->nr_cpus = cpu_to_le32(nr_cpus);
	return lines;
}

struct page *vesper_beat_page(void *lines, u32 page)
{
	return vmalloc_to_page(lines + page * PAGE_SIZE);
}

void vesper_beat_free(void *lines)
{
	vfree(lines);
}

static void say_all(u32 state)
{
	struct virtio_vesper_beat_head *lines = READ_ONCE(head);

	if (lines)
		WRITE_ONCE(lines->state, cpu_to_le32(state));
}

/* Process context; one at a time, by the caller's lock. */
int vesper_beat_start(void *lines)
{
	int ret;

	WRITE_ONCE(head, lines);
	ret = register_trace_cpu_idle(idle_changed, NULL);
	if (ret)
		goto out;
	ret = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "vesper/beat:online",
				come, go);
	if (ret < 0) {
		unregister_trace_cpu_idle(idle_changed, NULL);
		tracepoint_synchronize_unregister();
		goto out;
	}
	hotplug_state = ret;
	say_all(VIRTIO_VESPER_BEAT_ALIVE);
	return 0;
out:
	WRITE_ONCE(head, NULL);
	return ret;
}

/* Process context, after a start that was good. Nothing touches the lines after this. */
void vesper_beat_stop(void)
{
	say_all(VIRTIO_VESPER_BEAT_STOPPED);
	unregister_trace_cpu_idle(idle_changed, NULL);
	tracepoint_synchronize_unregister();
	cpuhp_remove_state(hotplug_state);
	WRITE_ONCE(head, NULL);
}

/*
 * The machine goes down. The timers stay: to stop them, each CPU would have to run a
 * thread, and one that does not is no reason not to go down.
 */
void vesper_beat_shutdown(void)
{
	say_all(VIRTIO_VESPER_BEAT_STOPPED);
}

/* In a panic, all other CPUs are stopped. */
void vesper_beat_panic(void)
{
	say_all(VIRTIO_VESPER_BEAT_PANICKED);
}
