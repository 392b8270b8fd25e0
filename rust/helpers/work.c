// SPDX-License-Identifier: GPL-2.0
/* Work items: macros, and a queue for what must be waited for. */
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

int dk_workers_start(void)
{
	dk_reaper = alloc_workqueue("dmaplane_reaper", WQ_UNBOUND, 0);
	if (!dk_reaper)
		return -ENOMEM;
	if (dk_poller_start()) {
		destroy_workqueue(dk_reaper);
		return -ENOMEM;
	}
	return 0;
}

/* The reaper waits for completions of what it ends. */
void dk_workers_stop(void)
{
	destroy_workqueue(dk_reaper);
	dk_reaper = NULL;
	dk_poller_stop();
}

void dk_reap(struct work_struct *work)
{
	queue_work(dk_reaper, work);
}
