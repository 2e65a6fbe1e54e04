# SPDX-License-Identifier: GPL-2.0
#
# VESPER: what there is to do. 'make help' lists it. Everything that needs a
# tool chain or a virtual machine runs inside a Debian root that 'make setup'
# prepares in a cache outside the clone; see env/.

SHELL := /bin/bash
TOP := $(CURDIR)
IN_ROOT := env/in-root --
# Where the kernel tree is seen inside the root.
ROOT_KDIR := /opt/vesper/kernel/build
PREFIX ?= /usr/local
UDEVRULESDIR ?= /etc/udev/rules.d
UNITDIR ?= /etc/systemd/system
export KERNEL V W

.DEFAULT_GOAL := help
.PHONY: help setup modules modules_install headers_install probes_install tools install guest demo \
	selftests newer test test-long test-debug coverage soak bench eval qtest \
	shell check clean prune env-update

help: ## list the targets
	@echo 'usage: make TARGET [KDIR=kernel-tree] [KERNEL=release-or-flavour] [V=1]'
	@sed -n 's/^\([a-z_-]*\):.*## /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo 'The cache is in $${VESPER_CACHE:-~/.cache/vesper}; logs of runs are in build/logs.'

setup: ## prepare root, kernel tree and QEMU in the cache (all others do it, too)
	@env/setup

modules: ## kernel modules, for the stock Debian kernel or for KDIR
ifdef KDIR
	$(MAKE) -C $(KDIR) M=$(TOP) modules
else
	@env/setup root kernel
	@env/lib/modules-for
	@$(IN_ROOT) bash -c 'make -j$$(nproc) -C $(ROOT_KDIR) M=$(TOP) \
		CONFIG_VESPER_SELFTESTS=m modules'
endif

headers_install: ## install the headers for probes of one's own (DESTDIR, PREFIX)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/include/,vesper linux)
	install -m 644 include/vesper/* $(DESTDIR)$(PREFIX)/include/vesper
	install -m 644 include/uapi/linux/*.h $(DESTDIR)$(PREFIX)/include/linux

probes_install: modules ## install the groups of probe points (DESTDIR, PREFIX)
	@env/install-probes $(DESTDIR)$(PREFIX)/lib/vesper/probes

modules_install: modules ## install the modules below INSTALL_MOD_PATH
ifdef KDIR
	$(MAKE) -C $(KDIR) M=$(TOP) modules_install
else
	@env/install-modules
endif

tools: ## the command-line tools, into build/bin
	@env/setup root
	@$(IN_ROOT) env/lib/cargo-build

install: tools headers_install probes_install ## install tools, headers, probes, udev rule, units, examples (DESTDIR, PREFIX)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin share/man/man1 share/man/man5 \
		share/bash-completion/completions share/zsh/site-functions \
		share/fish/vendor_completions.d)
	install -m 755 build/bin/vesper build/bin/vesper-ha $(DESTDIR)$(PREFIX)/bin
	sed 's|@PREFIX@|$(PREFIX)|' host/vesper-ha-monitor >$(DESTDIR)$(PREFIX)/bin/vesper-ha-monitor
	chmod 755 $(DESTDIR)$(PREFIX)/bin/vesper-ha-monitor
	install -m 644 build/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 build/man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
	for name in vesper vesper-ha; do \
		install -m 644 build/completion/$$name.bash \
			$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$name && \
		install -m 644 build/completion/_$$name $(DESTDIR)$(PREFIX)/share/zsh/site-functions && \
		install -m 644 build/completion/$$name.fish \
			$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d || exit; \
	done
	install -d $(DESTDIR)$(PREFIX)/share/vesper
	install -m 644 tools/vesper-ha/ha.toml $(DESTDIR)$(PREFIX)/share/vesper
	install -d $(DESTDIR)$(PREFIX)/share/vesper/examples/two-nodes
	for file in examples/two-nodes/*; do \
		sed 's|@PREFIX@|$(PREFIX)|' $$file \
			>$(DESTDIR)$(PREFIX)/share/vesper/examples/two-nodes/$${file##*/} || exit; \
	done
	install -d $(DESTDIR)$(UDEVRULESDIR)
	install -m 644 host/60-vesper.rules $(DESTDIR)$(UDEVRULESDIR)
	install -d $(DESTDIR)$(UNITDIR)
	for unit in vesper-keep vesper-ha; do \
		sed 's|@PREFIX@|$(PREFIX)|' host/$$unit.service >$(DESTDIR)$(UNITDIR)/$$unit.service || exit; \
	done

guest: modules ## the guest VM's initramfs, into build/
	@env/setup
	@$(IN_ROOT) env/guest-initramfs

demo: guest tools selftests ## the main job, shown step by step
	@env/host-vm --boot fast --name demo --timeout 900 -- demo/run

selftests: modules ## programs that the selftests need
	@env/setup root
	@$(IN_ROOT) make -C selftests

newer: modules
	@$(IN_ROOT) make -C selftests newer

test: guest tools selftests ## every test, or the selftests T=...; the last line has the totals
	@env/test $(T)

test-long: guest tools selftests ## selftests that are too long for 'make test'
	@env/test $$(ls selftests/long | sed 's/^[0-9]*_//; s/\.sh$$//')

test-debug: guest tools selftests ## the selftests with kernels that look for errors, one side at a time; goes on where it stopped
	@env/test-debug $(T)

coverage: guest tools selftests ## which lines of the modules the hostile tests (or T=...) never reach
	@env/coverage/run $(T)

soak: guest tools selftests ## fuzzers, load cycles and faults for MINUTES=n, or until CALLS_MIN=n and others are reached; the last line has the totals
	@env/soak $(MINUTES) $(T)

bench: guest tools selftests ## what a record costs, for each group (T=...), beside ftrace
	@env/bench/run $(T)

eval: guest tools selftests ## failover with Heartbeat, Pacemaker, VESPER, compared: results in OUT=build/eval; QUICK=1: three faults
	@env/eval

qtest: ## the QEMU device's own test
	@env/setup root qemu
	@$(IN_ROOT) env/lib/qtest

shell: guest tools ## a host VM to try things in, with a guest running
	@env/host-vm --boot fast --name shell --timeout 0 --interactive -- env/shell-init

check: modules tools ## formatting, lints and style of everything
	@env/setup
	@env/check

clean: ## remove what was built in the clone; the cache stays
	@if [ -d "$$(env/cache-entry kernel)" ]; then \
		$(IN_ROOT) make -C $(ROOT_KDIR) M=$(TOP) clean; fi
	rm -rf build

prune: ## remove from the cache what other versions of the clone needed
	@env/prune

env-update: ## move the pins of env/versions.lock to what the archive has now
	@env/update
