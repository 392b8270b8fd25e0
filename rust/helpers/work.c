// SPDX-License-Identifier: GPL-2.0
/* Work items: macros, and queues for what must be waited for. */
#include "../helpers.h"

void dk_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

void dk_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

struct delayed_work *dk_to_delayed_work(struct work_struct *work)
{
	return to_delayed_work(work);
}

void dk_schedule_delayed_work(struct delayed_work *work, unsigned long delay)
{
	schedule_delayed_work(work, delay);
}

/*
 * Ends connections that were dropped where they cannot be ended. Stopping it waits
 * for all of them, and with them for the callbacks that they were dropped in.
 */
static struct workqueue_struct *dk_reaper;

/* What entries of channels have to do that nobody waits in. */
static struct workqueue_struct *dk_worker;

int dk_workers_start(void)
{
	dk_worker = alloc_workqueue("dmaplane", WQ_UNBOUND, 0);
	if (!dk_worker)
		return -ENOMEM;
	dk_reaper = alloc_workqueue("dmaplane_reaper", WQ_UNBOUND, 0);
	if (!dk_reaper)
		goto no_reaper;
	if (dk_copier_start())
		goto no_copier;
	if (dk_poller_start())
		goto no_poller;
	return 0;

no_poller:
	dk_copier_stop();
no_copier:
	destroy_workqueue(dk_reaper);
no_reaper:
	destroy_workqueue(dk_worker);
	return -ENOMEM;
}

/*
 * The reaper waits for completions of what it ends, entries go on when others are
 * complete.
 */
void dk_workers_stop(void)
{
	destroy_workqueue(dk_reaper);
	dk_reaper = NULL;
	dk_poller_stop();
	destroy_workqueue(dk_worker);
	dk_worker = NULL;
	dk_copier_stop();
	dk_soft_dma_stop();
}

void dk_reap(struct work_struct *work)
{
	queue_work(dk_reaper, work);
}

/* False if it is queued already. */
bool dk_work(int node, struct work_struct *work)
{
	return queue_work_node(node, dk_worker, work);
}
