// SPDX-License-Identifier: GPL-2.0
/*
 * Completion queues that are polled by the task that waits for what they have.
 *
 * An event makes a queue due. It wakes those who sleep in dk_poller_wait(), one of
 * which polls all queues that are due; with nobody there, a worker does. Whoever polls
 * has the turn, so that the completions of a queue are handled one by one and in order.
 *
 * Locking: the turn is outside of all that handlers of completions take; the lock is
 * inside of all, as events come in any context. A queue is on the list of those that are
 * due, or on that of whoever has the turn, or on none, and changes lists under the lock.
 */
#include "../helpers.h"

static struct workqueue_struct *dk_poll_wq;

int dk_poller_start(void)
{
	dk_poll_wq = alloc_workqueue("dmaplane_poll", WQ_HIGHPRI | WQ_PERCPU, 0);
	return dk_poll_wq ? 0 : -ENOMEM;
}

void dk_poller_stop(void)
{
	destroy_workqueue(dk_poll_wq);
	dk_poll_wq = NULL;
}

static void dk_cq_make_due(struct dk_cq *c)
{
	struct dk_poller *poller = c->poller;
	bool news = false, slept = false;
	unsigned long flags;

	spin_lock_irqsave(&poller->lock, flags);
	if (!c->dead && list_empty(&c->node)) {
		list_add_tail(&c->node, &poller->due);
		c->used = news = true;
		slept = poller->sleepers;
	}
	spin_unlock_irqrestore(&poller->lock, flags);
	if (slept)
		wake_up(&poller->wait);
	else if (news)
		queue_work(dk_poll_wq, &poller->work);
}

static void dk_cq_event(struct ib_cq *cq, void *context)
{
	dk_cq_make_due(context);
}

#define DK_POLL_MOST 256

static void dk_cq_poll(struct dk_cq *c)
{
	struct ib_wc wc[16];
	int n, total = 0;

	do {
		n = ib_poll_cq(c->cq, ARRAY_SIZE(wc), wc);
		for (int i = 0; i < n; i++)
			wc[i].wr_cqe->done(c->cq, &wc[i]);
		total += max(n, 0);
	} while (n == ARRAY_SIZE(wc) && total < DK_POLL_MOST);
	if (n == ARRAY_SIZE(wc) ||
	    ib_req_notify_cq(c->cq, IB_CQ_NEXT_COMP | IB_CQ_REPORT_MISSED_EVENTS) > 0)
		dk_cq_make_due(c);
}

/* An event from here on makes it due again. */
static struct dk_cq *dk_next_due(struct dk_poller *poller, struct list_head *list)
{
	struct dk_cq *c;

	spin_lock_irq(&poller->lock);
	c = list_first_entry_or_null(list, struct dk_cq, node);
	if (c)
		list_del_init(&c->node);
	spin_unlock_irq(&poller->lock);
	return c;
}

/* Polls once what is due now. The caller has the turn. */
static void dk_poll_all(struct dk_poller *poller)
{
	struct dk_cq *c;
	LIST_HEAD(list);

	WRITE_ONCE(poller->turns, current);
	spin_lock_irq(&poller->lock);
	list_splice_init(&poller->due, &list);
	spin_unlock_irq(&poller->lock);
	while ((c = dk_next_due(poller, &list)))
		dk_cq_poll(c);
	WRITE_ONCE(poller->turns, NULL);
	mutex_unlock(&poller->turn);
}

static void dk_poller_work(struct work_struct *work)
{
	struct dk_poller *poller = container_of(work, struct dk_poller, work);

	mutex_lock(&poller->turn);
	dk_poll_all(poller);
}

void dk_poller_init(struct dk_poller *poller)
{
	spin_lock_init(&poller->lock);
	INIT_LIST_HEAD(&poller->due);
	init_waitqueue_head(&poller->wait);
	mutex_init(&poller->turn);
	INIT_WORK(&poller->work, dk_poller_work);
	atomic_set(&poller->news, 0);
	poller->sleepers = 0;
	poller->turns = NULL;
}

void dk_poller_end(struct dk_poller *poller)
{
	cancel_work_sync(&poller->work);
}

bool dk_poller_has_turn(struct dk_poller *poller)
{
	return READ_ONCE(poller->turns) == current;
}

u32 dk_poller_news(struct dk_poller *poller)
{
	return atomic_read(&poller->news);
}

/* Wakes those who sleep for another reason. */
void dk_poller_tell(struct dk_poller *poller)
{
	atomic_inc(&poller->news);
	if (wq_has_sleeper(&poller->wait))
		wake_up(&poller->wait);
}

/* KTIME_MAX if that is never, or beyond what can be told. */
ktime_t dk_deadline(u64 timeout_ns)
{
	return timeout_ns > KTIME_MAX ? KTIME_MAX : ktime_add_safe(ktime_get(), timeout_ns);
}

/*
 * Sleeps until there is something to poll, which it does, or there are news. -ETIME when
 * it is too late for that, -ERESTARTSYS for a signal, however much there is to poll.
 */
int dk_poller_wait(struct dk_poller *poller, u32 news, ktime_t deadline)
{
	ktime_t left = deadline == KTIME_MAX ? deadline : ktime_sub(deadline, ktime_get());
	bool due;
	int ret;

	spin_lock_irq(&poller->lock);
	poller->sleepers++;
	spin_unlock_irq(&poller->lock);
	if (signal_pending(current))
		ret = -ERESTARTSYS;
	else if (left <= 0)
		ret = -ETIME;
	else
		ret = wait_event_interruptible_hrtimeout(
			poller->wait,
			!list_empty_careful(&poller->due) || atomic_read(&poller->news) != news,
			left);
	spin_lock_irq(&poller->lock);
	poller->sleepers--;
	due = !list_empty(&poller->due);
	spin_unlock_irq(&poller->lock);
	if (!due)
		return ret;
	/* Whoever made it due relies on those who sleep. */
	if (!ret)
		ret = mutex_lock_interruptible(&poller->turn) ? -ERESTARTSYS : 0;
	else if (ret == -ETIME && !mutex_trylock(&poller->turn))
		ret = -EBUSY;
	if (ret == -ERESTARTSYS || ret == -EBUSY)
		queue_work(dk_poll_wq, &poller->work);
	else
		dk_poll_all(poller);
	return ret == -EBUSY ? -ETIME : ret;
}

int dk_cq_create(struct dk_cq *c, struct ib_device *dev, struct dk_poller *poller,
		 void *owner, u32 entries)
{
	static atomic_t next;
	struct ib_cq_init_attr attr = {
		.cqe = entries,
		/* As ib_alloc_cq_any() does. */
		.comp_vector = (u32)atomic_inc_return(&next) %
			       clamp_t(u32, dev->num_comp_vectors, 1, num_online_cpus()),
	};
	struct ib_cq *cq;

	if (dk_fault())
		return -ENOMEM;
	INIT_LIST_HEAD(&c->node);
	c->owner = owner;
	c->poller = poller;
	cq = ib_create_cq(dev, dk_cq_event, NULL, c, &attr);
	if (IS_ERR(cq))
		return PTR_ERR(cq);
	c->cq = cq;
	ib_req_notify_cq(cq, IB_CQ_NEXT_COMP);
	return 0;
}

/* No queue pair uses it any more, and the caller does not have the turn. */
void dk_cq_destroy(struct dk_cq *c)
{
	bool used;

	if (!c->cq)
		return;
	spin_lock_irq(&c->poller->lock);
	c->dead = true;
	used = c->used;
	list_del_init(&c->node);
	spin_unlock_irq(&c->poller->lock);
	/*
	 * Whoever polls it still. One that never had a queue pair is given back under locks
	 * that are inside of the turn.
	 */
	if (used) {
		mutex_lock(&c->poller->turn);
		mutex_unlock(&c->poller->turn);
		/* Nor is it for the last one who drops the poller, under whatever locks, to wait. */
		flush_work(&c->poller->work);
	}
	/* No event comes after that. */
	ib_destroy_cq(c->cq);
	c->cq = NULL;
}

struct dk_cq *dk_cq_of(struct ib_cq *cq)
{
	return cq->cq_context;
}
