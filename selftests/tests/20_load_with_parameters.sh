#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A probe is loaded from the host, its parameters arrive, host and guest list it.
. lib/vesper.sh
unload_on_exit signal

vesper load "$GUEST" "$SIGNAL" sig=10 comm=sleep || fail "load"
expect_match "the guest's list of modules" "$(guest_exec "$GUEST" lsmod)" $'\nsignal '
expect_match "the host's list" "$(vesper list "$GUEST")" 'signal +live'
for cpu in 0 1; do
	[[ -f $(relay_file signal $cpu) ]] || fail "no $(relay_file signal $cpu)"
	expect_eq "its mode" "$(stat -c %a "$(relay_file signal $cpu)")" 400
done
[[ $(cat "$RELAY/$GUEST/signal/metadata") == *signal_generate* ]] || fail "no metadata"

# Both parameters choose: another signal, or another target, leaves no record.
# (Until it has called exec, the child bears the shell's name.)
guest_exec "$GUEST" 'sleep 100 & sleep 1; kill -TERM $!; sleep 100 & sleep 1; kill -USR1 $!; sh -c "kill -USR1 \$\$"; true'
written() { (($(guest_count signal written all) >= 1)); }
wait_for 10 "the record" written
records=$(vesper cat "$GUEST/signal")
note "$records"
expect_eq "records" "$(grep -c 'signal_generate:' <<<"$records")" 1
expect_match "the record" "$records" 'SIGUSR1\(10\)'
expect_match "the record" "$records" 'target_comm="sleep"'
expect_match "its call stack" "$records" '__send_signal|send_signal'
unload signal
[[ ! -e $RELAY/$GUEST/signal ]] || fail "the files are still there"

# One of two processes of the same name gets the same signal.
# shellcheck disable=SC2016 # the guest's shell is to expand it
victims=$(guest_exec "$GUEST" 'for n in 1 2; do sleep 100 >/dev/null 2>&1 & echo $!; done')
read -r other victim <<<"${victims//$'\n'/ }"
vesper load "$GUEST" "$SIGNAL" sig=15 "pid=$victim" || fail "load for a process"
guest_exec "$GUEST" "kill -TERM $other $victim" || fail "kill"
unload signal
records=$(vesper cat "$GUEST/signal")
note "$records"
expect_eq "records" "$(grep -c 'signal_generate:' <<<"$records")" 1
expect_match "the record" "$records" " target_pid=$victim target_tgid=$victim .*SIGTERM\\(15\\)"

# The kernel ignores a parameter that a module does not have; the operator hears
# of it.
expect_match "a parameter that there is not" "$(vesper load "$GUEST" "$SIGNAL" sig=10 com=sleep)" \
	"no parameter 'com'"
unload signal
