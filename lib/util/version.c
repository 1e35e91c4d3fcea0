/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/version.h"

const char *weir_version(void)
{
	return WEIR_VERSION;
}
