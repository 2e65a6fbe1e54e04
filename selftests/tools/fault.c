// SPDX-License-Identifier: GPL-2.0
/*
 * Faults, and is killed for it. Runs in a guest, where there are no libraries,
 * and is small, for the guest's port is slow.
 */

void _start(void)
{
	*(volatile int *)0x123450 = 1;
	for (;;)
		;
}
