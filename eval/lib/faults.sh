# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016 # the guest's shell is to expand it
#
# The faults: what is arranged in the guest, and what it is told to do when the order
# comes. Behind the order is what the shell does itself, as far as that goes, so that no
# program has to be started first. Sourced behind selftests/lib/vesper.sh.

INJECT=/sys/kernel/debug/mce-inject

# What is left of the memory is little, and the hog needs no time for the rest.
FILL='mkdir -p /tmp/fill; mount -t tmpfs -o size=90% fill /tmp/fill
	free=$(sed -n "s/^MemAvailable: *\([0-9]*\) kB/\1/p" /proc/meminfo)
	dd if=/dev/zero of=/tmp/fill/file bs=1M count=$((free / 1024 - 24)) 2>/dev/null'

fault_arm() { # FAULT GUEST
	local first='' order
	case $1 in
	sigterm)
		first='pid=$(cat /run/nginx.pid)'
		order='kill -TERM $pid'
		;;
	panic) order='echo c >/proc/sysrq-trigger' ;;
	oom-service)
		first="echo 1000 >/proc/\$(cat /run/nginx.pid)/oom_score_adj; $FILL"
		order='exec tail /dev/zero'
		;;
	oom-hog)
		first="echo 1000 >/proc/\$\$/oom_score_adj; $FILL"
		order='exec tail /dev/zero'
		;;
	hang)
		guest_put "$2" "$GUEST_TOP/selftests/modules/vesper_fault/vesper_fault.ko" /tmp/vesper_fault.ko
		first='insmod /tmp/vesper_fault.ko'
		order='echo 60000 >/sys/kernel/debug/vesper_fault/hang'
		;;
	block)
		# A disk with a sector, 0x1234, that cannot be read.
		first='modprobe sd_mod; modprobe scsi_debug dev_size_mb=8 opts=2
			while ! [ -e /dev/sda ]; do sleep 0.1; done'
		order='for i in 1 2 3 4 5 6; do
				dd if=/dev/sda of=/dev/null iflag=direct bs=512 skip=4660 count=1
			done'
		;;
	machine-check)
		# An error that was not corrected, of software's making; the bank number is the order.
		modprobe mce_inject || fail "no mce_inject"
		echo sw >$INJECT/flags
		echo 0xbc00000000000000 >$INJECT/status
		echo 0 >$INJECT/cpu
		return
		;;
	*) fail "no fault is called '$1'" ;;
	esac
	"$TOP/eval/guest" arm "$2" "$first" "$order" || fail "the guest is not ready for $1"
}

# Prints when.
fault_do() { # FAULT GUEST
	[[ $1 != machine-check ]] || {
		echo "${EPOCHREALTIME/./}000"
		echo 1 >$INJECT/bank
		return
	}
	"$TOP/eval/guest" fire "$2"
}
