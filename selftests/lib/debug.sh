# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For the tests that want a kernel of env/test-debug on one side. Which one that
# is they find out; the other is a stock kernel. Sourced after lib/vesper.sh.

# Runs a command on the side that has a file of debugfs, and says which it is.
side_with() { # FILE BELOW debugfs
	if [[ -e /sys/kernel/debug/$1 ]]; then
		SIDE=host SIDE_MODULE=vesper_host SIDE_KO=$HOST_TOP/host/vesper_host.ko
	elif guest_exec "$GUEST" "test -e /sys/kernel/debug/$1"; then
		SIDE=guest SIDE_MODULE=vesper_guest SIDE_KO=$GUEST_TOP/guest/vesper_guest.ko
	else
		fail "neither side's kernel has $1: run this with 'make test-debug'"
	fi
	note "the $SIDE's kernel is the one that looks for errors"
}

on_side() { # SHELL COMMAND
	if [[ $SIDE == host ]]; then
		sh -c "$1"
	else
		guest_exec "$GUEST" "$1"
	fi
}

# Where the code of our module is: the addresses, in START and END.
text_of_module() {
	local name size address from='' to='' first='' last=''
	while read -r name size; do
		address=$(on_side "cat /sys/module/$SIDE_MODULE/sections/$name" 2>/dev/null) || continue
		# As strings, all of the same length: the numbers are too large for the shell.
		from=$address
		to=$(printf '0x%016x' $((address + 16#$size)))
		[[ -n $first && ! $from < $first ]] || first=$from
		[[ -n $last && ! $to > $last ]] || last=$to
	done < <(readelf -SW "$SIDE_KO" | sed 's/^ *\[ *[0-9]*\] *//' |
		awk '$1 ~ /^\.text/ && $2 == "PROGBITS" { print $1, $5 }')
	[[ -n $first ]] || fail "no code of $SIDE_MODULE"
	START=$first END=$last
}

FAULTS='failslab fail_page_alloc'

# From now on allocations count if the module is among the callers.
faults_begin() {
	local fault
	text_of_module
	note "allocations of $SIDE_MODULE, at $START to $END"
	for fault in $FAULTS; do
		on_side "cd /sys/kernel/debug/$fault && echo 0 >probability && echo 0 >verbose &&
			echo N >ignore-gfp-wait && echo 32 >stacktrace-depth &&
			echo $START >require-start && echo $END >require-end" ||
			fail "no fault injection: $fault"
	done
	on_side "cd /sys/kernel/debug/fail_page_alloc && echo N >ignore-gfp-highmem && echo 0 >min-order" ||
		fail "fail_page_alloc"
}

# The next but NTH - 1 of them fails, and no other.
faults_arm() { # NTH
	local fault cmd=''
	for fault in $FAULTS; do
		cmd+="cd /sys/kernel/debug/$fault; echo $1 >interval; echo 0 >space; echo 1 >times; echo 100 >probability;"
	done
	on_side "$cmd" || fail "faults"
}

# None fails any more. Adds to HITS how many have.
faults_disarm() {
	local fault cmd='' left
	for fault in $FAULTS; do
		cmd+="cd /sys/kernel/debug/$fault; echo 0 >probability; cat times;"
	done
	left=$(on_side "$cmd") || fail "faults"
	HITS=$((HITS + $(grep -cx 0 <<<"$left")))
}
