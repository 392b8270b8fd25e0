// SPDX-License-Identifier: GPL-2.0
/*
 * A DMA engine that is none: its channel copies by a work item, and fails as it is told to. Built for
 * tests only. /sys/module/dmaplane/parameters/soft_dma makes it, and 0 takes it away; it is there until
 * the module ends, at the latest. Nobody may be using it then.
 */
#include <linux/device/faux.h>
#include <linux/dmaengine.h>
#include <linux/dma-mapping.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "../helpers.h"

#if IS_ENABLED(CONFIG_DMA_ENGINE)

/* How it is. */
enum kind {
	NONE,
	WORKS,
	/* Takes three at a time. */
	SMALL,
	/* Fails: to be had, to prepare the fourth, to submit it, to do it, and says so otherwise. */
	NO_CHANNEL,
	NO_PREP,
	NO_SUBMIT,
	FAILS,
	SAYS_FAILED,
	/* Does not end one, but can be stopped; or can not. */
	SLEEPS,
	HANGS,
	KINDS,
};

struct soft_tx {
	struct dma_async_tx_descriptor tx;
	struct list_head node;
	dma_addr_t to, from;
	size_t length;
	unsigned int number;
};

static struct soft_dma {
	struct dma_device device;
	struct dma_chan chan;
	struct faux_device *faux;
	enum kind kind;
	/* Prepared, submitted. */
	struct list_head queue;
	spinlock_t lock;
	struct work_struct work;
	unsigned int prepared, queued, ended;
	bool failed;
} soft;

/* Pages copied by it, ever. */
static unsigned int soft_dma_pages;
module_param(soft_dma_pages, uint, 0444);

static bool is_odd_one(const struct soft_tx *tx)
{
	return tx->number == 4;
}

static dma_cookie_t soft_submit(struct dma_async_tx_descriptor *desc)
{
	struct soft_tx *tx = container_of(desc, struct soft_tx, tx);

	if (soft.kind == NO_SUBMIT && is_odd_one(tx)) {
		kfree(tx);
		return -ENOMEM;
	}
	guard(spinlock_irqsave)(&soft.lock);
	desc->cookie = ++soft.chan.cookie;
	list_add_tail(&tx->node, &soft.queue);
	soft.queued++;
	return desc->cookie;
}

static struct dma_async_tx_descriptor *soft_prep(struct dma_chan *chan, dma_addr_t to,
						 dma_addr_t from, size_t length, unsigned long flags)
{
	struct soft_tx *tx;

	if (soft.kind == SMALL && soft.queued >= 3)
		return NULL;
	tx = kzalloc(sizeof(*tx), GFP_NOWAIT);
	if (!tx)
		return NULL;
	tx->number = ++soft.prepared;
	if (soft.kind == NO_PREP && tx->number >= 4) {
		kfree(tx);
		return NULL;
	}
	dma_async_tx_descriptor_init(&tx->tx, chan);
	tx->tx.tx_submit = soft_submit;
	tx->to = to;
	tx->from = from;
	tx->length = length;
	return &tx->tx;
}

static void soft_run(struct work_struct *work)
{
	for (;;) {
		struct dmaengine_result result = { .result = DMA_TRANS_NOERROR };
		struct soft_tx *tx = NULL;

		scoped_guard(spinlock_irqsave, &soft.lock) {
			/* The last first: nobody said that they end in order. */
			if (!list_empty(&soft.queue)) {
				tx = list_last_entry(&soft.queue, struct soft_tx, node);
				list_del(&tx->node);
				soft.queued--;
			}
		}
		if (!tx)
			return;
		if ((soft.kind == SLEEPS || soft.kind == HANGS) && is_odd_one(tx)) {
			kfree(tx);
			continue;
		}
		memcpy(phys_to_virt(tx->to), phys_to_virt(tx->from), tx->length);
		if ((soft.kind == FAILS || soft.kind == SAYS_FAILED) && is_odd_one(tx)) {
			memset(phys_to_virt(tx->to), 0xee, tx->length);
			soft.failed = soft.kind == SAYS_FAILED;
			result.result = soft.failed ? DMA_TRANS_NOERROR : DMA_TRANS_WRITE_FAILED;
		} else {
			WRITE_ONCE(soft_dma_pages, soft_dma_pages + (tx->length >> PAGE_SHIFT));
		}
		tx->tx.callback_result(tx->tx.callback_param, &result);
		kfree(tx);
	}
}

static void soft_issue(struct dma_chan *chan)
{
	schedule_work(&soft.work);
}

static enum dma_status soft_status(struct dma_chan *chan, dma_cookie_t cookie,
				   struct dma_tx_state *state)
{
	return soft.failed ? DMA_ERROR : DMA_COMPLETE;
}

static int soft_terminate(struct dma_chan *chan)
{
	return soft.kind == HANGS ? -EINVAL : 0;
}

static void soft_synchronize(struct dma_chan *chan)
{
	flush_work(&soft.work);
}

static int soft_alloc(struct dma_chan *chan)
{
	soft.prepared = 0;
	soft.failed = false;
	return soft.kind == NO_CHANNEL ? -ENOMEM : 0;
}

static void soft_free(struct dma_chan *chan)
{
	flush_work(&soft.work);
}

static void soft_release(struct dma_device *device)
{
}

static void soft_end(void)
{
	if (soft.kind == NONE)
		return;
	dma_async_device_unregister(&soft.device);
	faux_device_destroy(soft.faux);
	soft.kind = NONE;
}

static int soft_begin(enum kind kind)
{
	int error;

	memset(&soft, 0, sizeof(soft));
	soft.faux = faux_device_create("dmakit-dma", NULL, NULL);
	if (!soft.faux)
		return -ENODEV;
	spin_lock_init(&soft.lock);
	INIT_LIST_HEAD(&soft.queue);
	INIT_WORK(&soft.work, soft_run);
	dma_cap_set(DMA_MEMCPY, soft.device.cap_mask);
	dma_cap_set(DMA_PRIVATE, soft.device.cap_mask);
	soft.device.dev = &soft.faux->dev;
	soft.device.device_prep_dma_memcpy = soft_prep;
	soft.device.device_issue_pending = soft_issue;
	soft.device.device_tx_status = soft_status;
	soft.device.device_terminate_all = soft_terminate;
	soft.device.device_synchronize = soft_synchronize;
	soft.device.device_alloc_chan_resources = soft_alloc;
	soft.device.device_free_chan_resources = soft_free;
	soft.device.device_release = soft_release;
	INIT_LIST_HEAD(&soft.device.channels);
	soft.chan.device = &soft.device;
	list_add_tail(&soft.chan.device_node, &soft.device.channels);
	error = dma_coerce_mask_and_coherent(soft.device.dev, DMA_BIT_MASK(64));
	if (!error)
		error = dma_async_device_register(&soft.device);
	if (error) {
		faux_device_destroy(soft.faux);
		return error;
	}
	soft.kind = kind;
	return 0;
}

static int set_soft_dma(const char *text, const struct kernel_param *param)
{
	unsigned int kind;
	int error = kstrtouint(text, 0, &kind);

	if (error || kind >= KINDS)
		return -EINVAL;
	/* It is in use forever. */
	if (soft.kind == HANGS)
		return kind == HANGS ? 0 : -EBUSY;
	soft_end();
	return kind == NONE ? 0 : soft_begin(kind);
}

static int get_soft_dma(char *text, const struct kernel_param *param)
{
	return sysfs_emit(text, "%u\n", soft.kind);
}

static const struct kernel_param_ops soft_dma_ops = { .set = set_soft_dma, .get = get_soft_dma };
module_param_cb(soft_dma, &soft_dma_ops, NULL, 0644);

void dk_soft_dma_stop(void)
{
	soft_end();
}

#else

void dk_soft_dma_stop(void)
{
}

#endif
