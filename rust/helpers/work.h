/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_WORK_H
#define _DMAKIT_HELPERS_WORK_H

#include <linux/workqueue.h>

void dk_init_work(struct work_struct *work, work_func_t func);
void dk_init_delayed_work(struct delayed_work *work, work_func_t func);
struct delayed_work *dk_to_delayed_work(struct work_struct *work);
void dk_schedule_delayed_work(struct delayed_work *work, unsigned long delay);

int dk_workers_start(void);
void dk_workers_stop(void);
void dk_reap(struct work_struct *work);
bool dk_work(int node, struct work_struct *work);

#endif
