/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_THREAD_H
#define _DMAKIT_HELPERS_THREAD_H

#include <linux/atomic.h>
#include <linux/nodemask.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/wait.h>

/* What a thread does: @run is called once, and owns it from then on. */
struct dk_thread {
	void (*run)(struct dk_thread *thread);
	/* Of its maker. */
	void *memcg;
	const void *cred;
	unsigned long memlock;
	nodemask_t nodes;
};

struct task_struct *dk_thread_start(struct dk_thread *thread, const char *name);
bool dk_thread_stop(struct task_struct *task, struct dk_thread *thread);
void dk_thread_renew_nodes(const struct dk_thread *thread);
bool dk_thread_should_stop(void);
bool dk_threads_may_be(u64 count);
void dk_thread_relax(void);

/* Something that a thread sleeps on. */
struct dk_waker {
	wait_queue_head_t wait;
	atomic_t woken;
};

void dk_waker_init(struct dk_waker *waker);
void dk_waker_wake(struct dk_waker *waker);
void dk_waker_sleep(struct dk_waker *waker);

#endif
