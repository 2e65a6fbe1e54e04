/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the plugins of the host VM's emulator have in common.
 */
#ifndef PLUGIN_OUTPUT_H
#define PLUGIN_OUTPUT_H

#include <stdio.h>
#include <string.h>

/* Of the one argument that the plugins here take, output=FILE: that; else it is said. */
static inline char *plugin_output(const char *plugin, int argc, char **argv)
{
	if (argc == 1 && !strncmp(argv[0], "output=", 7))
		return strdup(argv[0] + 7);
	fprintf(stderr, "%s: wants output=FILE\n", plugin);
	return NULL;
}

#endif
