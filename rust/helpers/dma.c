// SPDX-License-Identifier: GPL-2.0
/*
 * Pages copied by a channel of a DMA engine, if the machine has one.
 *
 * A channel is its user's alone from dk_dma_get() to dk_dma_put(), and so is all here; there are no locks.
 * What is told to the device is mapped for it until it has ended. A device that neither ends nor can be
 * stopped has it forever, with the channel and this module.
 */
#include <linux/dmaengine.h>
#include <linux/dma-mapping.h>
#include <linux/llist.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "../helpers.h"

#if IS_ENABLED(CONFIG_DMA_ENGINE)

/* Pieces in flight. */
#define PIECES 32
/* Longer than it takes by far: whoever uses the pages waits for it. */
#define PATIENCE (HZ / 2)

/* Some drivers do not say that a copy failed, which nobody here would notice. */
static bool copy_dma;
module_param(copy_dma, bool, 0644);
MODULE_PARM_DESC(copy_dma, "Copy pages by a DMA channel if there is one");

/* Whether what is in flight can be stopped, and is over then. */
static bool can_be_stopped(const struct dma_device *device)
{
	return device->device_terminate_all && device->device_synchronize;
}

struct piece {
	dma_addr_t to, from;
	unsigned long pages;
};

struct dk_dma {
	struct dma_chan *chan;
	struct device *dev;
	/* Most pages of a piece. */
	unsigned long longest;
	struct piece pieces[PIECES];
	/* Those in flight, and one more while others may come. */
	atomic_t left;
	bool failed;
	struct completion done;
	struct llist_node node;
};

/* What devices may go on with. */
static LLIST_HEAD(dk_hung);

/* A channel, or NULL. */
struct dk_dma *dk_dma_get(void)
{
	struct dk_dma *dma;
	dma_cap_mask_t mask;

	if (!READ_ONCE(copy_dma))
		return NULL;
	dma = kzalloc(sizeof(*dma), GFP_KERNEL_ACCOUNT);
	if (!dma)
		return NULL;
	dma_cap_zero(mask);
	dma_cap_set(DMA_MEMCPY, mask);
	dma->chan = dma_request_chan_by_mask(&mask);
	if (IS_ERR(dma->chan))
		goto free;
	dma->dev = dmaengine_get_dma_device(dma->chan);
	dma->longest = min(dma_get_max_seg_size(dma->dev), dma_max_mapping_size(dma->dev)) >> PAGE_SHIFT;
	init_completion(&dma->done);
	if (dma->longest && can_be_stopped(dma->chan->device) &&
	    is_dma_copy_aligned(dma->chan->device, PAGE_SIZE, 0, 0))
		return dma;
	dma_release_channel(dma->chan);
free:
	kfree(dma);
	return NULL;
}

/* Not one that dk_dma_copy() said EBUSY of. */
void dk_dma_put(struct dk_dma *dma)
{
	dma_release_channel(dma->chan);
	kfree(dma);
}

static void ended(void *param, const struct dmaengine_result *result)
{
	struct dk_dma *dma = param;

	if (result && result->result != DMA_TRANS_NOERROR)
		WRITE_ONCE(dma->failed, true);
	if (atomic_dec_and_test(&dma->left))
		complete(&dma->done);
}

/* Of drivers that know no results. */
static void ended_somehow(void *param)
{
	ended(param, NULL);
}

static bool map_piece(struct dk_dma *dma, struct piece *p, struct page *to, struct page *from)
{
	size_t length = p->pages << PAGE_SHIFT;

	p->from = dma_map_page(dma->dev, from, 0, length, DMA_TO_DEVICE);
	if (dma_mapping_error(dma->dev, p->from))
		return false;
	p->to = dma_map_page(dma->dev, to, 0, length, DMA_FROM_DEVICE);
	if (!dma_mapping_error(dma->dev, p->to))
		return true;
	dma_unmap_page(dma->dev, p->from, length, DMA_TO_DEVICE);
	return false;
}

static void unmap_piece(struct dk_dma *dma, const struct piece *p)
{
	dma_unmap_page(dma->dev, p->to, p->pages << PAGE_SHIFT, DMA_FROM_DEVICE);
	dma_unmap_page(dma->dev, p->from, p->pages << PAGE_SHIFT, DMA_TO_DEVICE);
}

/* Pages from the first on that follow each other on both sides. */
static unsigned long both_run(struct page *const *to, struct page *const *from, unsigned long count)
{
	unsigned long run = 1;

	while (run < count && to[run] == to[0] + run && from[run] == from[0] + run)
		run++;
	return run;
}

/* 0; EAGAIN: the channel takes no more now; EIO. */
static int submit(struct dk_dma *dma, struct piece *p, dma_cookie_t *cookie)
{
	struct dma_async_tx_descriptor *tx;

	tx = dmaengine_prep_dma_memcpy(dma->chan, p->to, p->from, p->pages << PAGE_SHIFT,
				       DMA_PREP_INTERRUPT | DMA_CTRL_ACK);
	if (!tx)
		return -EAGAIN;
	tx->callback = ended_somehow;
	tx->callback_result = ended;
	tx->callback_param = dma;
	atomic_inc(&dma->left);
	*cookie = dmaengine_submit(tx);
	if (!dma_submit_error(*cookie))
		return 0;
	atomic_dec(&dma->left);
	return -EIO;
}

/* Waits for those that were submitted, the last with @cookie. */
static int wait(struct dk_dma *dma, dma_cookie_t cookie)
{
	dma_async_issue_pending(dma->chan);
	if (!atomic_dec_and_test(&dma->left) && !wait_for_completion_timeout(&dma->done, PATIENCE))
		return dmaengine_terminate_sync(dma->chan) ? -EBUSY : -ETIMEDOUT;
	if (dmaengine_tx_status(dma->chan, cookie, NULL) == DMA_ERROR)
		return -EIO;
	return READ_ONCE(dma->failed) ? -EIO : 0;
}

/* Copies some pages, and says how many. */
static long copy_some(struct dk_dma *dma, struct page *const *to, struct page *const *from,
		      unsigned long count)
{
	unsigned long done = 0, n = 0;
	dma_cookie_t cookie = 0;
	int error = 0, waited;

	atomic_set(&dma->left, 1);
	dma->failed = false;
	reinit_completion(&dma->done);
	while (done < count && n < PIECES) {
		struct piece *p = &dma->pieces[n];

		p->pages = min(dma->longest, both_run(to + done, from + done, count - done));
		error = map_piece(dma, p, to[done], from[done]) ? 0 : -EIO;
		if (error)
			break;
		error = submit(dma, p, &cookie);
		if (error) {
			unmap_piece(dma, p);
			break;
		}
		done += p->pages;
		n++;
	}
	waited = n ? wait(dma, cookie) : 0;
	if (waited == -EBUSY)
		return waited;
	while (n--)
		unmap_piece(dma, &dma->pieces[n]);
	if (waited)
		return waited;
	return error && (error != -EAGAIN || !done) ? -EIO : done;
}

/*
 * Copies @count pages. EBUSY: the device may go on reading and writing them, and nobody has the channel
 * any more. All else: it has ended, and has copied some of them.
 */
int dk_dma_copy(struct dk_dma *dma, struct page *const *to, struct page *const *from,
		unsigned long count)
{
	/* Processors know how to survive that. */
	if (dk_are_bad(from, count))
		return -EHWPOISON;
	for (unsigned long i = 0; i < count;) {
		long done = copy_some(dma, to + i, from + i, count - i);

		if (done == -EBUSY) {
			__module_get(THIS_MODULE);
			llist_add(&dma->node, &dk_hung);
		}
		if (done < 0)
			return done;
		i += done;
	}
	return 0;
}

#else

struct dk_dma *dk_dma_get(void)
{
	return NULL;
}

void dk_dma_put(struct dk_dma *dma)
{
}

int dk_dma_copy(struct dk_dma *dma, struct page *const *to, struct page *const *from,
		unsigned long count)
{
	return -EIO;
}

#endif
