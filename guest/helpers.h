/* SPDX-License-Identifier: GPL-2.0 */
/* C that only a macro or an inline function of the kernel can provide. */
#ifndef VESPER_GUEST_HELPERS_H
#define VESPER_GUEST_HELPERS_H

#endif
