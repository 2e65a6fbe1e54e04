#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Who may do what: a user without rights neither attaches nor loads nor reads;
# one in the group of the attach node attaches and does nothing else; nobody at all
# writes to what guests have written; and udev gives the nodes their groups and modes.
. lib/vesper.sh
unload_on_exit vesper_seq

GROUP=4711
as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all "$@"; }
as_vmm() { setpriv --reuid=65534 --regid="$GROUP" --clear-groups --bounding-set=-all --inh-caps=-all "$@"; }

load_seq n_subbufs=32
seq_write 0 10 urgent
file=$(relay_file vesper_seq 0)

expect_eq "mode of the operator's node" "$(stat -c '%u %a' /dev/vesper)" "0 600"
expect_match "mode of the VMMs' node" "$(stat -c '%u %a' /dev/vesper-attach)" '^0 6[06]0$'
for path in "$RELAY/$GUEST"/vesper_seq/*; do
	expect_eq "mode of $path" "$(stat -c '%u %a' "$path")" "0 400"
done

# What they must not do, however debugfs itself is mounted.
debugfs=$(stat -c %a /sys/kernel/debug)
attach=$(stat -c '%g %a' /dev/vesper-attach)
restore() {
	chmod "$debugfs" /sys/kernel/debug
	chgrp "${attach% *}" /dev/vesper-attach
	chmod "${attach#* }" /dev/vesper-attach
}
trap 'unload_all; restore' EXIT
chmod 755 /sys/kernel/debug
tool() { # RUN-AS: the tool says so, and what to do
	expect_status 1 "$1" "$(command -v vesper)" domains
	expect_match "$1: domains" "$OUTPUT" 'no permission to open /dev/vesper'
	expect_match "$1: the remedy" "$OUTPUT" 'for root'
	expect_status 1 "$1" "$(command -v vesper)" load "$GUEST" "$SEQ"
	expect_match "$1: load" "$OUTPUT" 'no permission'
	expect_status 1 "$1" "$(command -v vesper)" unload "$GUEST" vesper_seq
	expect_match "$1: unload" "$OUTPUT" 'no permission'
	expect_status 1 "$1" "$(command -v vesper)" cat "$GUEST/vesper_seq"
	expect_match "$1: cat" "$OUTPUT" 'Permission denied|no permission'
}
closed() { # RUN-AS FILE
	expect_status 1 "$1" dd if="$2" of=/dev/null bs=1 count=1
	expect_match "$1: $2" "$OUTPUT" 'Permission denied'
}
# Readable for anybody, so that the tool and its libraries are no obstacle.
for as in as_user as_vmm; do
	tool $as
	closed $as "$file"
	closed $as "$RELAY/$GUEST/vesper_seq/metadata"
	closed $as "$RELAY/$GUEST/vesper_seq/.control/cpu0.consumed"
	closed $as /dev/vesper
done
closed as_user /dev/vesper-attach

# The group attaches, messages and lends, which the fuzzer's first calls do, and
# finds everything else closed, which it checks.
closed as_vmm /dev/vesper-attach
chgrp $GROUP /dev/vesper-attach
chmod 660 /dev/vesper-attach
closed as_user /dev/vesper-attach
as_vmm fuzz/vesper_ioctl_fuzz -u -n 3000 -p fp >"$VESPER_WORK/fuzz" || fail "$(cat "$VESPER_WORK/fuzz")"
for call in attach hello lend share; do
	grep -qE "^$call +done [1-9]" "$VESPER_WORK/fuzz" ||
		fail "the group never got done: $call: $(cat "$VESPER_WORK/fuzz")"
done
find "$RELAY"/fp* -type f -exec cat {} + >/dev/null 2>&1
gone() { [[ $(vesper domains --json) != *'"fp'* ]]; }
wait_for 20 "what the group left" gone

# Root itself: no writable mapping, none that becomes writable, no private one.
python3 - "$file" <<'END' || fail "mappings"
import ctypes, errno, fcntl, mmap, os, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
FAILED = ctypes.c_void_p(-1).value

fd = os.open(sys.argv[1], os.O_RDWR)
pos = fcntl.ioctl(fd, 0x8040b580, bytes(64))
size, n = struct.unpack_from("II", pos, 24)
length = size * n

def refused(what, length, flags, prot, offset=0):
    if libc.mmap(None, length, prot, flags, fd, offset) != FAILED:
        sys.exit(f"{what}: not refused")
    print(f"{what}: {errno.errorcode[ctypes.get_errno()]}")

R, W = mmap.PROT_READ, mmap.PROT_WRITE
refused("shared and writable", length, mmap.MAP_SHARED, R | W)
refused("private", length, mmap.MAP_PRIVATE, R)
refused("private and writable", length, mmap.MAP_PRIVATE, R | W)
refused("shorter", length - 4096, mmap.MAP_SHARED, R)
refused("from the second page on", length - 4096, mmap.MAP_SHARED, R, 4096)
m = libc.mmap(None, length, R, mmap.MAP_SHARED, fd, 0)
if m == FAILED:
    sys.exit("cannot be mapped for reading")
if libc.mprotect(m, 4096, R | W) == 0:
    sys.exit("made writable afterwards: not refused")
print("made writable afterwards:", errno.errorcode[ctypes.get_errno()])
try:
    os.write(fd, b"x")
    sys.exit("write: not refused")
except OSError as e:
    print("write:", errno.errorcode[e.errno])
END

expect_eq "records, after all that" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 10
unload vesper_seq

# The rule that is installed with us, in the hands of an udev of our own: one that runs
# in this VM may have been told to know no groups. Without the rule the nodes are the
# kernel's.
RULE=60-vesper.rules
UDEVD=/usr/lib/systemd/systemd-udevd
udevadm verify "$TOP/host/$RULE" || fail "udev does not like the rule"
mkdir -p /run/udev/rules.d
before=()
if pid=$(pgrep -xo systemd-udevd); then
	mapfile -d '' before <"/proc/$pid/cmdline"
	udevadm control --exit || fail "the udev that runs does not end"
	ended() { ! grep -qs '^State:.[^ZX]' "/proc/$pid/status"; }
	wait_for 20 "the udev that runs to end" ended
fi
$UDEVD >"$VESPER_WORK/udevd" 2>&1 &
udevd=$!
wait_for 20 "udev" udevadm control --ping
nodes() { stat -c '%n %U %G %a' /dev/vesper-attach /dev/vesper; }
again() { # Both nodes appear anew, and udev is done with them.
	rmmod vesper_host || fail "rmmod vesper_host"
	insmod "$HOST_TOP/host/vesper_host.ko" || fail "insmod vesper_host"
	udevadm settle --timeout=60 || fail "udev is not done"
}
end() {
	rm -f "/run/udev/rules.d/$RULE"
	kill $udevd
	wait $udevd
	((${#before[@]} == 0)) || $UDEVD "${before[@]:1}"
	restore
	host_setup
}
trap end EXIT
guest_stop_all
wait_for 20 "the host module to be removed" rmmod vesper_host
insmod "$HOST_TOP/host/vesper_host.ko" || fail "insmod vesper_host"
again
expect_eq "nodes without the rule" "$(nodes)" $'/dev/vesper-attach root root 600\n/dev/vesper root root 600'
cp "$TOP/host/$RULE" /run/udev/rules.d/
udevadm control --reload || fail "udev does not read the rule"
again
expect_eq "nodes" "$(nodes)" $'/dev/vesper-attach root kvm 660\n/dev/vesper root root 600'
expect_match "for systemd" "$(udevadm info --query=property --name=/dev/vesper)" 'TAGS=.*:systemd:'
GROUP=$(getent group kvm | cut -d: -f3)
closed as_user /dev/vesper-attach
closed as_vmm /dev/vesper
as_vmm bash -c 'exec 3<>/dev/vesper-attach' || fail "the group does not get at its node"
