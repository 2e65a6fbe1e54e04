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
	exit 125
}
