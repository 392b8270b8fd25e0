// SPDX-License-Identifier: GPL-2.0
/* Parameters of the module that may change while it is loaded; `module!` has none of these. */
#include <linux/moduleparam.h>

#include "../helpers.h"

static unsigned long max_memory_mib;
module_param(max_memory_mib, ulong, 0644);
MODULE_PARM_DESC(max_memory_mib, "Most memory of all open files together, in MiB (0: no limit)");

static unsigned long max_context_mib;
module_param(max_context_mib, ulong, 0644);
MODULE_PARM_DESC(max_context_mib, "Most memory of one open file, in MiB (0: no limit)");

/* As bytes; none is as much as a file can tell. */
static u64 bytes(unsigned long mib)
{
	return mib && mib <= S64_MAX >> 20 ? (u64)mib << 20 : S64_MAX;
}

u64 dk_max_memory(void)
{
	return bytes(READ_ONCE(max_memory_mib));
}

u64 dk_max_context_memory(void)
{
	return bytes(READ_ONCE(max_context_mib));
}
