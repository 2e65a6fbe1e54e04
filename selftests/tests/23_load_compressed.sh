#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Images that are compressed as Debian compresses its modules are unpacked inside
# the guest kernel. One with a checksum that the kernel does not know, as xz
# makes it without options, is refused with the remedy; so is a damaged one.
. lib/vesper.sh
unload_on_exit vesper_seq

image=$VESPER_WORK/vesper_seq.ko.xz
xz --check=crc32 --lzma2=dict=1MiB -c "$SEQ" >"$image" || fail "xz"
vesper load "$GUEST" "$image" len=10 || fail "load"
seq_write 0 2 urgent
expect_eq "records" "$(vesper cat "$GUEST/vesper_seq" --json | wc -l)" 2
unload vesper_seq

xz -c "$SEQ" >"$VESPER_WORK/crc64.ko.xz"
expect_status 3 vesper load "$GUEST" "$VESPER_WORK/crc64.ko.xz" --name vesper_seq
expect_match "the remedy" "$OUTPUT" '--check=crc32'

size=$(stat -c %s "$image")
head -c $((size / 2)) "$image" >"$VESPER_WORK/half.ko.xz"
expect_status 3 vesper load "$GUEST" "$VESPER_WORK/half.ko.xz" --name vesper_seq
note "$OUTPUT"
expect_eq "the host's list" "$(vesper list "$GUEST" --json)" "[]"
