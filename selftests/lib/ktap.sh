# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# KTAP output for the runner, and what a test may say about itself.

KTAP_PASS=0 KTAP_FAIL=0 KTAP_SKIP=0 KTAP_NR=0

ktap_header() { # COUNT
	echo "KTAP version 1"
	echo "1..$1"
}

ktap_diag() { sed 's/^/# /'; }

# One result line. A test exits with 0, with 4 (kselftest's skip) or anything
# else for a failure.
ktap_result() { # NAME STATUS
	KTAP_NR=$((KTAP_NR + 1))
	case $2 in
	0)
		KTAP_PASS=$((KTAP_PASS + 1))
		echo "ok $KTAP_NR $1"
		;;
	4)
		KTAP_SKIP=$((KTAP_SKIP + 1))
		echo "ok $KTAP_NR $1 # SKIP"
		;;
	*)
		KTAP_FAIL=$((KTAP_FAIL + 1))
		echo "not ok $KTAP_NR $1"
		;;
	esac
}

ktap_totals() {
	echo "# Totals: pass:$KTAP_PASS fail:$KTAP_FAIL xfail:0 xpass:0 skip:$KTAP_SKIP error:0"
	((KTAP_FAIL == 0))
}
