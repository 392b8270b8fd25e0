/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_POLL_H
#define _DMAKIT_HELPERS_POLL_H

#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>

/*
 * Whose completions are handled by whoever waits for them, or by a worker if nobody
 * does.
 */
struct dk_poller {
	spinlock_t lock;
	struct list_head due;
	u32 sleepers;
	wait_queue_head_t wait;
	struct mutex turn;
	struct task_struct *turns;	/* who has it */
	struct work_struct work;
	atomic_t news;
};

/* A completion queue of a poller's; @owner is for those who handle completions. */
struct dk_cq {
	struct ib_cq *cq;
	void *owner;
	struct dk_poller *poller;
	struct list_head node;
	bool used;
	bool dead;
};

int dk_poller_start(void);
void dk_poller_stop(void);

void dk_poller_init(struct dk_poller *poller);
void dk_poller_end(struct dk_poller *poller);
u32 dk_poller_news(struct dk_poller *poller);
void dk_poller_tell(struct dk_poller *poller);
bool dk_poller_has_turn(struct dk_poller *poller);
ktime_t dk_deadline(u64 timeout_ns);
int dk_poller_wait(struct dk_poller *poller, u32 news, ktime_t deadline);

int dk_cq_create(struct dk_cq *c, struct ib_device *dev, struct dk_poller *poller,
		 void *owner, u32 entries);
void dk_cq_destroy(struct dk_cq *c);
struct dk_cq *dk_cq_of(struct ib_cq *cq);

#endif
