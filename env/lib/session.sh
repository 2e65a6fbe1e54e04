# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the ways of booting the host VM have in common. Sourced inside the root
# by boot-*, with the variables that env/host-vm sets.

# session_file SCRIPT ARGS: what host-session is to run, with which settings.
session_file() {
	{
		printf '%q ' "VESPER_TOP=$VESPER_TOP" "VESPER_LOG=$VESPER_LOG" \
			"INTERACTIVE=$INTERACTIVE" "TERM=${TERM:-vt100}" "CI=${CI:-}"
		echo
		printf '%q ' "$@"
		echo
	} >"$VESPER_LOG/session"
}

# session_append ACCEL: the words for the kernel command line. no_timer_check: on a
# machine that is busy an emulated kernel may find its timer too slow, and panic.
# With PREEMPT_RT, KVM wants a clock that the emulated processor has, and does not
# say that it has.
session_append() {
	local words="panic=-1 ignore_loglevel no_timer_check $APPEND"
	[[ $RELEASE != *-rt-* || $1 != tcg* ]] || words+=' setcpuid=constant_tsc'
	printf '%s\n' "$words"
}

# session_limited CMD...: run it for at most LIMIT seconds (0: for ever).
session_limited() {
	if ((LIMIT)); then
		timeout --foreground --kill-after=5 "$LIMIT" "$@"
	else
		"$@"
	fi
}

# session_end STATUS: exit with the script's status, given the VMM's.
session_end() {
	if [[ -s $VESPER_LOG/status ]]; then
		exit "$(cat "$VESPER_LOG/status")"
	fi
	[[ $1 == 124 || $1 == 137 ]] && exit 124
	# 0: it was reset, or switched off.
	echo "env: the VMM of the host VM ended with status $1" >&2
	exit 125
}
