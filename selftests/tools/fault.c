// SPDX-License-Identifier: GPL-2.0
/*
 * Faults, and is killed for it. Runs in a guest, where there are no libraries,
 * and is small, for the guest's port is slow.
 */

void _start(void)
{
	__asm__ volatile("movl $1, 0x123450");
	__builtin_unreachable();
}
