# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Makes small initramfs images of busybox and modules. Sourced inside the root.

# initramfs_base DIR: directories and busybox.
initramfs_base() {
	local applet
	chmod 755 "$1"
	mkdir -p "$1"/{bin,sbin,dev,proc,sys,tmp,run,etc,root,usr,lib,mnt,new}
	ln -s ../bin "$1/usr/bin"
	ln -s ../bin "$1/usr/sbin"
	for applet in $(/bin/busybox --list); do
		ln -sf busybox "$1/bin/$applet"
	done
	# Its own name is among the applets: put the program there last.
	rm "$1/bin/busybox"
	cp /bin/busybox "$1/bin/busybox"
	mknod "$1/dev/console" c 5 1
}

# initramfs_modules DIR RELEASE NAME...: these modules and what they depend on,
# uncompressed, with modules.dep and modules.alias made for just them. A NAME
# with a slash is a file, not a module of the kernel package; its debug information, most
# of its size, is left out.
initramfs_modules() {
	local dir=$1 release=$2 target name file
	shift 2
	target=$dir/lib/modules/$release
	mkdir -p "$target/kernel" "$target/extra"
	for name in "$@"; do
		if [[ $name == */* ]]; then
			strip --strip-debug -o "$target/extra/${name##*/}" "$name"
			continue
		fi
		modprobe --set-version "$release" --show-depends "$name" |
			sed -n 's/^insmod \([^ ]*\).*/\1/p' | while read -r file; do
			case $file in
			*.xz) xz -dc "$file" >"$target/kernel/$(basename "$file" .xz)" ;;
			*.zst) zstd -qdc "$file" >"$target/kernel/$(basename "$file" .zst)" ;;
			*) cp "$file" "$target/kernel/" ;;
			esac
		done
	done
	cp "/usr/lib/modules/$release/modules.builtin" "/usr/lib/modules/$release/modules.builtin.modinfo" \
		"/usr/lib/modules/$release/modules.order" "$target/"
	depmod -b "$dir" "$release"
	rm -f "$target"/modules.{order,builtin.modinfo}
}

# initramfs_program DIR FILE...: programs with the libraries they are linked to.
initramfs_program() {
	local dir=$1 file library
	shift
	for file in "$@"; do
		install -D "$file" "$dir$file"
		ldd "$file" | grep -o '/[^ ]*' | while read -r library; do
			install -D "$library" "$dir$library"
		done
	done
}

# initramfs_pack DIR FILE: not compressed, as it is only read from memory.
initramfs_pack() { (cd "$1" && find . | cpio --quiet -o -H newc -R 0:0) >"$2"; }
