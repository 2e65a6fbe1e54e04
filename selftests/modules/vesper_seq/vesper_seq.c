// SPDX-License-Identifier: GPL-2.0
/*
 * Test probe: writes numbered records, so that a test can say of each whether
 * it arrived, once, in order, whole.
 *
 * Each CPU numbers its own, and a number is used up when the record is dropped,
 * too: what is missing must be what was counted as lost. Byte i of the payload
 * of record n is (n + i) & 0xff.
 *
 * debugfs, below vesper_seq/:
 *   write    "CPU COUNT [urgent] [nested] [big]": COUNT more records on CPU
 *   flush    anything: publish what lies waiting
 *   consume  "CPU COUNT": stand in for a host that is done with sub-buffers
 *   numbers  next number of each CPU
 */
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/nmi.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <vesper/probe.h>

#include "ledger.h"

#define MAX_LEN		4096
#define MAX_COUNT	1000000

static uint count;
module_param(count, uint, 0444);
MODULE_PARM_DESC(count, "records that each CPU writes at load");

static uint len = 16;
module_param(len, uint, 0444);
MODULE_PARM_DESC(len, "bytes of payload, at most 4096");

static uint rate;
module_param(rate, uint, 0444);
MODULE_PARM_DESC(rate, "records that each CPU writes every tick (0: none)");

static uint tick_us = 10000;
module_param(tick_us, uint, 0444);
MODULE_PARM_DESC(tick_us, "microseconds of a tick");

static bool urgent;
module_param(urgent, bool, 0444);
MODULE_PARM_DESC(urgent, "each record is urgent");

static bool overwrite;
module_param(overwrite, bool, 0444);
MODULE_PARM_DESC(overwrite, "when full, write over the oldest");

static bool nmi;
module_param(nmi, bool, 0444);
MODULE_PARM_DESC(nmi, "write a record at each NMI, whoever it is for");

static uint subbuf_size;
module_param(subbuf_size, uint, 0444);
MODULE_PARM_DESC(subbuf_size, "bytes in a sub-buffer");

static uint n_subbufs;
module_param(n_subbufs, uint, 0444);
MODULE_PARM_DESC(n_subbufs, "sub-buffers of each CPU");

static uint switch_ms;
module_param(switch_ms, uint, 0444);
MODULE_PARM_DESC(switch_ms, "milliseconds that a record waits at most");

static ulong ledger;
module_param(ledger, ulong, 0444);
MODULE_PARM_DESC(ledger, "physical address to keep the ledger at (0: none)");

static struct vesper_channel *channel;
static struct dentry *dir;
static struct ledger *ledgers;
static DEFINE_PER_CPU(atomic64_t, next_number);
static DEFINE_PER_CPU(struct hrtimer, ticker);

static const struct vesper_label context_labels[] = {
	{ 0, "task" }, { 1, "irq" }, { 2, "nmi" }, { 3, "nested" },
};

static const struct vesper_labels contexts = {
	.name = "context",
	.labels = context_labels,
	.nr_labels = ARRAY_SIZE(context_labels),
};

static const struct vesper_field fields[] = {
	{ "number", VESPER_TYPE_U64 },
	{ "cpu", VESPER_TYPE_U32 },
	{ "context", VESPER_TYPE_U8, &contexts },
	{ "payload", VESPER_TYPE_BYTES },
};

static const struct vesper_event events[] = {
	{ "seq", fields, ARRAY_SIZE(fields) },
};

struct request {
	u32 count;
	bool urgent;
	bool nested;
	bool big;
};

/* The number is used up: called before anything else is done with it. */
static struct ledger *enter_begun(u64 number)
{
	struct ledger *own;

	if (!ledgers || number >= LEDGER_RECORDS)
		return NULL;
	own = &ledgers[smp_processor_id()];
	WRITE_ONCE(own->begun, number + 1);
	return own;
}

static void enter_written(struct ledger *own, u64 number)
{
	if (!own)
		return;
	set_bit(number, (unsigned long *)own->map);
	/* Whoever finds the count finds the bit. */
	smp_store_release(&own->written, own->written + 1);
}

static void enter_lost(struct ledger *own)
{
	if (own)
		WRITE_ONCE(own->lost, own->lost + 1);
}

static void write_one(u8 context, bool now, bool nested, u32 size)
{
	u64 number = atomic64_fetch_inc(this_cpu_ptr(&next_number));
	struct ledger *own = enter_begun(number);
	struct vesper_record record;
	u32 i;

	if (!vesper_record_begin(channel, 0, 8 + 4 + 1 + 4 + size, &record)) {
		enter_lost(own);
		return;
	}
	vesper_put(&record, u64, number);
	vesper_put(&record, u32, smp_processor_id());
	vesper_put(&record, u8, context);
	vesper_put(&record, u32, size);
	for (i = 0; i < size; i++)
		vesper_put(&record, u8, number + i);
	if (nested)
		write_one(3, now, false, size);
	vesper_record_commit(&record, now ? VESPER_RECORD_URGENT : 0);
	enter_written(own, number);
}

/* Called on the CPU that is to write, by IPI: interrupts are off. */
static void write_some(void *data)
{
	struct request *request = data;
	u32 i;

	for (i = 0; i < request->count; i++)
		write_one(in_hardirq() ? 1 : 0, urgent || request->urgent,
			  request->nested, request->big ? 1 << 20 : len);
}

static ssize_t write_write(struct file *file, const char __user *user,
			   size_t size, loff_t *pos)
{
	struct request request = {};
	char text[64];
	uint cpu;
	int ret;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, size))
		return -EFAULT;
	text[size] = '\0';
	if (sscanf(text, "%u %u", &cpu, &request.count) != 2 ||
	    request.count > MAX_COUNT)
		return -EINVAL;
	request.urgent = strstr(text, "urgent");
	request.nested = strstr(text, "nested");
	request.big = strstr(text, "big");
	ret = smp_call_function_single(cpu, write_some, &request, 1);
	return ret ?: size;
}

static const struct file_operations write_fops = {
	.owner = THIS_MODULE,
	.write = write_write,
};

static ssize_t consume_write(struct file *file, const char __user *user,
			     size_t size, loff_t *pos)
{
	char text[64];
	uint cpu, n;
	int ret;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, size))
		return -EFAULT;
	text[size] = '\0';
	if (sscanf(text, "%u %u", &cpu, &n) != 2)
		return -EINVAL;
	ret = vesper_test_consume(channel, cpu, n);
	return ret ?: size;
}

static const struct file_operations consume_fops = {
	.owner = THIS_MODULE,
	.write = consume_write,
};

static ssize_t flush_write(struct file *file, const char __user *user,
			   size_t size, loff_t *pos)
{
	vesper_channel_flush(channel);
	return size;
}

static const struct file_operations flush_fops = {
	.owner = THIS_MODULE,
	.write = flush_write,
};

static int numbers_show(struct seq_file *seq, void *data)
{
	int cpu;

	for_each_possible_cpu(cpu)
		seq_printf(seq, "%d %lld\n", cpu,
			   atomic64_read(per_cpu_ptr(&next_number, cpu)));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(numbers);

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	struct request request = { .count = rate };

	/* What the ledger has no room for is not written. */
	if (ledgers && atomic64_read(this_cpu_ptr(&next_number)) + rate > LEDGER_RECORDS)
		return HRTIMER_NORESTART;
	write_some(&request);
	hrtimer_forward_now(timer, us_to_ktime(tick_us));
	return HRTIMER_RESTART;
}

static void start_ticker(void *unused)
{
	struct hrtimer *timer = this_cpu_ptr(&ticker);

	hrtimer_setup(timer, tick, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	hrtimer_start(timer, us_to_ktime(tick_us), HRTIMER_MODE_REL_PINNED_HARD);
}

static int nmi_handler(unsigned int type, struct pt_regs *regs)
{
	write_one(2, urgent, false, len);
	return NMI_DONE;
}

/* A ledger for each CPU, empty. */
static int ledgers_open(void)
{
	uint cpu;

	if (!ledger)
		return 0;
	ledgers = memremap(ledger, (size_t)nr_cpu_ids * LEDGER_SIZE, MEMREMAP_WB);
	if (!ledgers)
		return -ENOMEM;
	memset(ledgers, 0, (size_t)nr_cpu_ids * LEDGER_SIZE);
	for (cpu = 0; cpu < nr_cpu_ids; cpu++)
		WRITE_ONCE(ledgers[cpu].magic, LEDGER_MAGIC);
	return 0;
}

static void ledgers_close(void)
{
	if (ledgers)
		memunmap(ledgers);
}

static int __init vesper_seq_init(void)
{
	struct vesper_channel_spec spec = {
		.owner = THIS_MODULE,
		.events = events,
		.nr_events = ARRAY_SIZE(events),
		.flags = overwrite ? VESPER_CHANNEL_OVERWRITE : 0,
		.subbuf_size = subbuf_size,
		.n_subbufs = n_subbufs,
		.switch_ms = switch_ms,
	};
	struct request request = { .count = count };
	int ret;

	BUILD_BUG_ON(sizeof(struct ledger) != LEDGER_SIZE);
	if (len > MAX_LEN || count > MAX_COUNT || !tick_us)
		return -EINVAL;
	ret = ledgers_open();
	if (ret)
		return ret;
	channel = vesper_channel_open(&spec);
	if (IS_ERR(channel)) {
		ret = PTR_ERR(channel);
		goto no_channel;
	}
	if (nmi) {
		ret = register_nmi_handler(NMI_LOCAL, nmi_handler, 0, "vesper_seq");
		if (ret)
			goto no_nmi;
	}
	dir = debugfs_create_dir("vesper_seq", NULL);
	debugfs_create_file("write", 0200, dir, NULL, &write_fops);
	debugfs_create_file("consume", 0200, dir, NULL, &consume_fops);
	debugfs_create_file("flush", 0200, dir, NULL, &flush_fops);
	debugfs_create_file("numbers", 0400, dir, NULL, &numbers_fops);
	on_each_cpu(write_some, &request, 1);
	if (rate)
		on_each_cpu(start_ticker, NULL, 1);
	return 0;

no_nmi:
	vesper_channel_close(channel);
no_channel:
	ledgers_close();
	return ret;
}
module_init(vesper_seq_init);

static void __exit vesper_seq_exit(void)
{
	int cpu;

	if (rate) {
		for_each_possible_cpu(cpu) {
			struct hrtimer *timer = per_cpu_ptr(&ticker, cpu);

			if (timer->base)
				hrtimer_cancel(timer);
		}
	}
	debugfs_remove(dir);
	if (nmi)
		unregister_nmi_handler(NMI_LOCAL, "vesper_seq");
	vesper_channel_close(channel);
	ledgers_close();
}
module_exit(vesper_seq_exit);

MODULE_DESCRIPTION("VESPER test probe: numbered records");
MODULE_AUTHOR("The VESPER developers");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("VESPER_TEST");
