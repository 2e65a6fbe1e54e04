// SPDX-License-Identifier: GPL-2.0
/*
 * vesper_host.ko against a VMM that is made up: every ioctl, the relay files,
 * and what becomes of them when guest or VMM go away.
 *
 * usage: vesper_attach_test [TEST]
 */

#include "common.h"

static const struct ktap_test tests[] = {
	{ "attach", test_attach },
	{ "hello_versions", test_hello_versions },
	{ "loud", test_loud },
	{ "open_refusals", test_open_refusals },
	{ "lend", test_lend },
	{ "memlock", test_memlock },
	{ "read", test_read },
	{ "laps", test_laps },
	{ "full", test_full },
	{ "map", test_map },
	{ "poll_wakes", test_poll_wakes },
	{ "unshare", test_unshare },
	{ "unshare_empty", test_unshare_empty },
	{ "reshare", test_reshare },
	{ "panic", test_panic },
	{ "reset", test_reset },
	{ "death", test_death },
	{ "kill", test_kill },
	{ "inherited", test_inherited },
	{ "ctf_tail", test_ctf_tail },
	{ "load", test_load },
	{ "load_abandoned", test_load_abandoned },
	{ "load_late", test_load_late },
	{ "load_leaving", test_load_leaving },
	{ "violations", test_violations },
	{ "lists", test_lists },
	{ "signal", test_signal },
	{ "stuck_reader", test_stuck_reader },
	{ "stuck_dead", test_stuck_dead },
	{ "repeat_unread", test_repeat_unread },
	{ "overwrite", test_overwrite },
	{ "overwrite_race", test_overwrite_race },
	{ "share", test_share },
	{ "foreign", test_foreign },
	{ "reap", test_reap },
	{ "dead_limit", test_dead_limit },
	{ "dead_name", test_dead_name },
	{ "changes", test_changes },
	{ "storm", test_storm },
};

int main(int argc, char **argv)
{
	return ktap_run(tests, sizeof(tests) / sizeof(*tests),
			argc > 1 ? argv[1] : NULL);
}
