/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/cpus.h"

#include <stdio.h>

#include "lib/util/cleanup.h"

uint32_t weir_cpus_possible(void)
{
	_cleanup_fclose_ FILE *f = fopen("/sys/devices/system/cpu/possible", "re"); /* "0-3,8" */
	unsigned int first, last;
	uint32_t n = 0;
	int r;

	while (f && (r = fscanf(f, "%u-%u", &first, &last)) >= 1) {
		n += r == 2 && last >= first ? last - first + 1 : 1;
		if (fgetc(f) != ',')
			break;
	}
	return n ? n : 1;
}
