// SPDX-License-Identifier: GPL-2.0
/* See fault.h. Built for tests only. */
#include <linux/dcache.h>
#include <linux/fault-inject.h>

#include "../helpers.h"

#ifdef CONFIG_FAULT_INJECTION_DEBUG_FS

static DECLARE_FAULT_ATTR(dk_fault_attr);

bool dk_fault(void)
{
	return should_fail(&dk_fault_attr, 1);
}

void dk_fault_debugfs(struct dentry *dir)
{
	fault_create_debugfs_attr("fail_verbs", dir, &dk_fault_attr);
}

/* After the directory is gone: what others leak, as they never go. */
void dk_fault_debugfs_end(void)
{
	dput(dk_fault_attr.dname);
	dk_fault_attr.dname = NULL;
}

#endif
