/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Errors of the RDMA core on demand, in a test build for a kernel with fault
 * injection: /sys/kernel/debug/dmaplane/fail_verbs, with the files that all of the
 * kernel's own have, and /proc/TASK/fail-nth counts these calls with the others.
 *
 * Not by error injection with kprobes: their handlers are in no task as the kernel
 * sees it, and so fail-nth does not reach them.
 */
#ifndef _DMAKIT_HELPERS_FAULT_H
#define _DMAKIT_HELPERS_FAULT_H

#include <linux/debugfs.h>

#if defined(DMAPLANE_TEST) && defined(CONFIG_FAULT_INJECTION_DEBUG_FS)

/* Whether the caller is to fail now. */
bool dk_fault(void);
void dk_fault_debugfs(struct dentry *dir);
void dk_fault_debugfs_end(const struct dentry *dir);

#else

static inline bool dk_fault(void)
{
	return false;
}

static inline void dk_fault_debugfs(struct dentry *dir)
{
}

static inline void dk_fault_debugfs_end(const struct dentry *dir)
{
}

#endif

#endif
