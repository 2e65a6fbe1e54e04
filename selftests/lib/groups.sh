# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What tests of the groups of probe points are made of. Sourced behind vesper.sh.

# Loads a group by its name; none of its points may be left out.
load_group() { # GROUP [PARAM=VALUE...]
	local said
	said=$(vesper load "$GUEST" "$@" 2>&1) || fail "cannot load $*: $said"
	[[ $said != *"is not attached"* && $said != *"no parameter"* ]] ||
		fail "$1: $said"
}

# What a group has written since the last time, behind what was there.
collect() { # MODULE
	vesper cat "$GUEST/$1" --json >>"$VESPER_WORK/$1.json" || fail "cannot read $1"
}

# So many records of an event there are among those collected.
count_records() { # MODULE EVENT [EXPRESSION]
	records "$VESPER_WORK/$1.json" "${@:2}"
}

have_record() {
	collect "$1"
	(($(count_records "$@") > 0))
}

# Waits for a record: urgent ones are there at once, others within the switch time.
expect_record() { # MODULE EVENT [EXPRESSION]
	local end=$((SECONDS + 20 * ${TIME_SCALE:-1}))
	until have_record "$@"; do
		if ((SECONDS >= end)); then
			tail -n 20 "$VESPER_WORK/$1.json"
			fail "no record: $*"
		fi
		sleep 0.2
	done
	note "there: $2 ${3:-}"
}

# Nothing of the kind among what has been collected, and what there is now.
expect_none() { # MODULE EVENT [EXPRESSION]
	# Longer than an ordinary record may wait.
	sleep 0.5
	collect "$1"
	expect_eq "records of $*" "$(count_records "$@")" 0
}

# Something in a guest that is called "service", or otherwise, is killed.
kill_service() { # GUEST [NAME]
	local file=/tmp/${2:-service}
	guest_exec "$1" "printf '#!/bin/sh\nwhile :; do sleep 1; done\n' >$file
		chmod +x $file; $file & sleep 0.5; kill -9 \$!"
}
