/* SPDX-License-Identifier: GPL-2.0 */
/* C that only a macro or an inline function of the kernel can provide. */
#ifndef VESPER_HOST_HELPERS_H
#define VESPER_HOST_HELPERS_H

void *vesper_helper_alloc_percpu_buf(void);

#endif
