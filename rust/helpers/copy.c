// SPDX-License-Identifier: GPL-2.0
/*
 * Pages copied by processors. The caller copies, and has others near the pages help if there is
 * enough to do: each takes the next piece until there are none. Whoever has not begun by then is not
 * waited for, so that it takes no longer than by the caller alone.
 *
 * What helpers use is on the caller's stack; none is left when the call ends. They take no locks.
 */
#include <linux/highmem.h>
#include <linux/moduleparam.h>
#include <linux/topology.h>
#include <linux/workqueue.h>

#include "../helpers.h"

/* Most that copy at a time, the caller among them. */
#define MOST 8
/* Pages of a piece. */
#define PIECE 32
/* Fewest pages for one of them: to be woken takes as long as to copy some. */
#define WORTH 128

static unsigned int copy_threads = MOST;
module_param(copy_threads, uint, 0644);
MODULE_PARM_DESC(copy_threads, "Most threads that copy pages of one buffer (8 at most)");

/* Its work is waited for where memory may be short: page faults wait for it. */
static struct workqueue_struct *dk_copier;

struct copying {
	struct page *const *to, *const *from;
	unsigned long count;
	unsigned long *bad, first;
	atomic_long_t next;
	atomic_t threads;
};

struct helper {
	struct work_struct work;
	struct copying *copying;
};

int dk_copier_start(void)
{
	dk_copier = alloc_workqueue("dmaplane_copy", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return dk_copier ? 0 : -ENOMEM;
}

void dk_copier_stop(void)
{
	destroy_workqueue(dk_copier);
	dk_copier = NULL;
}

static void copy_pieces(struct copying *c)
{
	bool any = false;
	unsigned long at;

	while ((at = atomic_long_fetch_add(PIECE, &c->next)) < c->count) {
		unsigned long end = min(c->count, at + PIECE);

		any = true;
		for (unsigned long i = at; i < end; i++)
			if (copy_mc_highpage(c->to[i], c->from[i]))
				set_bit(c->first + i, c->bad);
	}
	if (any)
		atomic_inc(&c->threads);
}

static void help(struct work_struct *work)
{
	copy_pieces(container_of(work, struct helper, work)->copying);
}

/* Processors of a node, or none. */
static unsigned int cpus_of(int node)
{
	return cpumask_weight_and(cpumask_of_node(node), cpu_online_mask);
}

/*
 * Copies @count pages. Of one whose memory is bad a bit of @bad is set, that of the first of them being
 * @first. Threads run on @node if it has processors, or on that of the first page,
 * or anywhere. How many there were.
 */
unsigned int dk_copy_by_threads(struct page *const *to, struct page *const *from,
				unsigned long count, int node, unsigned long *bad,
				unsigned long first)
{
	struct copying c = { .to = to, .from = from, .count = count, .bad = bad, .first = first };
	unsigned long threads = min(READ_ONCE(copy_threads), (unsigned int)MOST);
	struct helper helpers[MOST - 1];
	unsigned int cpus = cpus_of(node);
	unsigned long n = 0;

	if (!cpus) {
		node = page_to_nid(from[0]);
		cpus = cpus_of(node);
	}
	if (!cpus) {
		node = NUMA_NO_NODE;
		cpus = num_online_cpus();
	}
	threads = min3(threads, count / WORTH, cpus);
	for (; n + 1 < threads; n++) {
		helpers[n].copying = &c;
		INIT_WORK_ONSTACK(&helpers[n].work, help);
		queue_work_node(node, dk_copier, &helpers[n].work);
	}
	copy_pieces(&c);
	while (n--) {
		cancel_work_sync(&helpers[n].work);
		destroy_work_on_stack(&helpers[n].work);
	}
	return atomic_read(&c.threads);
}
