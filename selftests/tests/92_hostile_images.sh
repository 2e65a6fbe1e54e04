#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Images and parameters that are wrong in every way that one may be: each is
# refused with its cause and what to do about it, the guest stays as it was, and
# nothing is left on either side.
. lib/vesper.sh
unload_on_exit vesper_seq signal

cd "$VESPER_WORK" || exit 1
modules() { guest_exec "$GUEST" "cut -d' ' -f1,3 /proc/modules | sort"; }

# MemAvailable leaves out the free pages that the page allocator keeps for each CPU, and in a
# guest of this size those alone can be 32 MiB just after much has been freed.
free_kb() {
	guest_exec "$GUEST" "awk '
		/^MemAvailable:/ { kb += \$2 }
		\$1 == \"count:\" { kb += 4 * \$2 }
		END { print kb }' /proc/meminfo /proc/zoneinfo"
}
locked() { awk '/^VmLck:/ { print $2 }' "/proc/$("$TOP/env/guest-vm" pid "$GUEST")/status"; }
before=$(modules) locked=$(locked)

# Exit status 1: refused on the host; 3: by the guest.
refused() { # STATUS CAUSE REMEDY FILE [OPTIONS...]
	local status=$1 cause=$2 remedy=$3
	shift 3
	expect_status "$status" vesper load "$GUEST" "$@"
	note "$OUTPUT"
	expect_match "the cause" "$OUTPUT" "$cause"
	expect_match "the remedy" "$OUTPUT" "$remedy"
	[[ $OUTPUT != *panicked* ]] || fail "the tool panicked"
	expect_eq "the host's list" "$(vesper list "$GUEST" --json)" "[]"
	expect_eq "files" "$(ls "$RELAY/$GUEST")" ""
}
# Writes BYTES (printf's escapes) at OFFSET of a copy of the probe.
damage() { # COPY OFFSET BYTES
	cp "$SEQ" "$1"
	# shellcheck disable=SC2059
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
size=$(stat -c %s "$SEQ")

# No module at all.
: >empty.ko
refused 1 'the file is empty' 'build it again' empty.ko
refused 1 'No such file' 'hint|No such file' nowhere.ko
for bytes in 1 16 63 64 5000; do
	head -c $bytes /dev/urandom | tr '\375\037\050' 'xyz' >random.ko
	refused 3 'ENOEXEC' 'not a kernel module for x86-64' random.ko --name random
done
printf '\x7fELF' | cat - <(head -c 100000 /dev/urandom) >elf.ko
refused 3 'ENOEXEC' 'not a kernel module' elf.ko --name elf

# Cut off, everywhere.
for bytes in 10 64 1000 $((size / 4)) $((size / 2)) $((size - 1)); do
	head -c $bytes "$SEQ" >short.ko
	refused 3 'ENOEXEC' 'build the module for the kernel|try again' short.ko --name vesper_seq
done

# Headers that lie: offset, number and size of sections.
damage shoff.ko 40 '\xff\xff\xff\xff\xff\xff\xff\x7f'
refused 3 'ENOEXEC' 'dmesg' shoff.ko --name vesper_seq
damage shnum.ko 60 '\xff\xff'
refused 3 'ENOEXEC' 'dmesg' shnum.ko --name vesper_seq
damage shstrndx.ko 62 '\xf0\xff'
refused 3 'ENOEXEC' 'dmesg' shstrndx.ko --name vesper_seq

# For another machine, for another kernel, for a kernel with other symbols.
damage arm.ko 18 '\xb7\x00'
refused 1 'AArch64|aarch64|arm64' "build it for the guest's kernel" arm.ko
sed 's/vermagic=7.[0-9]/vermagic=6.6/' "$SEQ" >other.ko
refused 1 '6\.6\..*7\.[0-9]' 'headers of the guest' other.ko
sed 's/vermagic=7.[0-9]/vermagik=6.6/' "$SEQ" >none.ko
refused 3 'ENOEXEC' 'damaged|for which kernel' none.ko
sed 's/vesper_channel_open/vesper_channel_opfn/g' "$SEQ" >symbol.ko
refused 3 'ENOENT.*symbol' 'load the modules it depends on' symbol.ko

# An init function that fails.
refused 3 'EINVAL' 'check the parameters' "$SEQ" subbuf_size=12345

# Names that are paths, or would play with a terminal.
for name in ../../etc/passwd /etc/passwd .hidden 'a b' a/b '' "$(printf '\033[2J')" \
	"$(printf 'x%.0s' {1..64})"; do
	expect_status 2 vesper load "$GUEST" "$SEQ" --name "$name"
	expect_match "the name" "$OUTPUT" 'name|character'
	[[ $OUTPUT != *$'\033[2J'* ]] || fail "the tool prints control characters"
done
cp "$SEQ" "$(printf 'x\033[2J.ko')"
sed -i 's/name=vesper_seq/name=..\/..\/etc\/x/' "$(printf 'x\033[2J.ko')"
expect_status 1 vesper load "$GUEST" "$(printf 'x\033[2J.ko')"
expect_match "no name" "$OUTPUT" 'name'
[[ $OUTPUT != *$'\033[2J'* ]] || fail "the tool prints control characters"

# Parameters: too many bytes, no value, no end of a string, no number.
expect_status 1 vesper load "$GUEST" "$SEQ" "len=$(head -c 5000 /dev/zero | tr '\0' 1)"
expect_match "too long" "$OUTPUT" 'more than 4096 bytes'
refused 3 'EINVAL|ERANGE' 'check the parameters|dmesg' "$SEQ" "len=$(head -c 4000 /dev/zero | tr '\0' 1)"
refused 3 'EINVAL' 'check the parameters' "$SEQ" len=abc
refused 3 'EINVAL' 'check the parameters' "$SEQ" 'len="16 x'
refused 3 'EINVAL' 'check the parameters' "$SEQ" len=
refused 3 'ERANGE|EINVAL' 'check the parameters|dmesg' "$SEQ" len=99999999999999999999

# As large as can be, and a byte more. The kernel takes what is behind the end.
# Twice, because the first time leaves caches behind.
cp "$SEQ" large.ko
truncate -s 64M large.ko
for round in 1 2; do
	free=$(free_kb)
	vesper load "$GUEST" large.ko n_subbufs=8 --timeout 120s || fail "64 MiB"
	seq_write 0 3 urgent
	expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 3
	unload vesper_seq
	note "round $round: the guest had $free kB, has $(free_kb) kB"
done
(($(free_kb) > free - 4096)) || fail "64 MiB left a hole in the guest's memory"
truncate -s $(((64 << 20) + 1)) large.ko
refused 1 'more than 64 MiB' 'strip --strip-debug' large.ko
rm -f large.ko

# Images of 4 MiB that are refused again and again: one that is no module, one that the
# guest's kernel begins to link, one that begins to run. Nothing of them stays on either
# side; were it but one in eight, it would be seen.
host_kb() { # without what the guest has touched of its memory
	awk '
		/^MemAvailable:|^VmRSS:/ { kb += $2 }
		$1 == "count:" { kb += 4 * $2 }
		END { print kb }' /proc/meminfo /proc/zoneinfo "/proc/$("$TOP/env/guest-vm" pid "$GUEST")/status"
}
references() { awk '$1 == "vesper_host" { print $3 }' /proc/modules; }
cp "$SEQ" fails.ko
truncate -s 4M elf.ko symbol.ko fails.ko
refuse() { # TIMES, each
	local i
	for ((i = 0; i < $1; i++)); do
		expect_status 3 vesper load "$GUEST" elf.ko --name elf
		expect_status 3 vesper load "$GUEST" symbol.ko
		expect_status 3 vesper load "$GUEST" fails.ko subbuf_size=12345
	done
}
# The first leave caches behind.
refuse 2
host=$(host_kb) free=$(free_kb) held=$(references) files=$(find "$RELAY" | sort)
refuse 10
note "30 refusals: the host had $host kB, has $(host_kb) kB; the guest had $free kB, has $(free_kb) kB"
(($(host_kb) > host - 16 * 1024)) || fail "refused images stay on the host"
(($(free_kb) > free - 16 * 1024)) || fail "refused images stay in the guest"
expect_eq "references to the host module" "$(references)" "$held"
expect_eq "the host's files" "$(find "$RELAY" | sort)" "$files"
rm -f elf.ko symbol.ko fails.ko

# Nothing has happened.
expect_eq "the guest's modules" "$(modules)" "$before"
expect_eq "locked memory" "$(locked)" "$locked"
load_seq n_subbufs=8
seq_write 1 7 urgent
expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 7
unload vesper_seq
