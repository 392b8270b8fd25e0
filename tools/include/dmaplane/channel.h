/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Channels for C11 and C++17, as liburing has io_uring's rings: functions over the structs
 * of <dmaplane.h>. Both headers are found with -I include/uapi -I tools/include, and there
 * is nothing to link. tools/examples/copy.c is a whole program.
 *
 * What can fail returns -errno, else 0 or a count; what is left in errno means nothing.
 * Times are in nanoseconds. A channel is for one thread at a time, but for dmaplane_enter()
 * and dmaplane_file_enter(), which others may call meanwhile.
 */
#ifndef DMAPLANE_CHANNEL_H
#define DMAPLANE_CHANNEL_H

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <dmaplane.h>
#include <dmaplane/entry.h>

/**
 * struct dmaplane_channel - an open channel, for reading only
 * @fd: the context, which stays the caller's
 * @file: the channel's own file, e.g. for poll(); -1 if it has none
 * @handle: the channel
 * @sq_entries: places in the submission ring
 * @cq_entries: places in the completion ring
 * @prepared: entries got of which the kernel does not know yet
 * @flags: DMAPLANE_CHANNEL_*
 * @length: bytes mapped at @ring
 * @ring: the mapping
 * @sqes: the submission ring in it
 * @cqes: the completion ring in it
 * @times: those of the completions in it, NULL without DMAPLANE_CHANNEL_TIMES
 */
struct dmaplane_channel {
	int fd;
	int file;
	__u32 handle;
	__u32 sq_entries;
	__u32 cq_entries;
	__u32 prepared;
	__u32 flags;
	size_t length;
	struct dmaplane_ring *ring;
	struct dmaplane_sqe *sqes;
	struct dmaplane_cqe *cqes;
	struct dmaplane_times *times;
};

/* Any command: ioctl() with the result that functions here have. */
static inline int dmaplane_ioctl(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

/* One more descriptor of the channel's own file, or -errno: EMFILE, ENFILE, ENOMEM. */
static inline int dmaplane_file_open(const struct dmaplane_channel *ch)
{
	struct dmaplane_channel_file arg;
	int ret;

	memset(&arg, 0, sizeof(arg));
	arg.size = sizeof(arg);
	arg.channel = ch->handle;
	ret = dmaplane_ioctl(ch->fd, DMAPLANE_IOC_CHANNEL_FILE, &arg);
	return ret ? ret : arg.fd;
}

/**
 * dmaplane_channel_close() - end a channel, unmap its rings and close its file
 * @ch: the channel
 *
 * Return: 0, or -errno. After -EBUSY (an endpoint delivers to it) it is as it was; whatever
 * else CHANNEL_CLOSE says, mapping and file are gone.
 */
static inline int dmaplane_channel_close(struct dmaplane_channel *ch)
{
	struct dmaplane_handle arg;
	int ret;

	memset(&arg, 0, sizeof(arg));
	arg.size = sizeof(arg);
	arg.handle = ch->handle;
	ret = dmaplane_ioctl(ch->fd, DMAPLANE_IOC_CHANNEL_CLOSE, &arg);
	if (ret == -EBUSY)
		return ret;
	if (ch->ring)
		munmap(ch->ring, ch->length);
	if (ch->file >= 0)
		close(ch->file);
	return ret;
}

/* What opens: with a file, or without one and then mapped by the context's. Fills @arg. */
static inline int dmaplane_channel_make(int fd, struct dmaplane_channel_create *arg,
					int with_file, struct dmaplane_channel *ch)
{
	void *map = MAP_FAILED;
	__u64 offset;
	int ret;

	arg->size = sizeof(*arg);
	ret = dmaplane_ioctl(fd, DMAPLANE_IOC_CHANNEL_CREATE, arg);
	if (ret)
		return ret;
	memset(ch, 0, sizeof(*ch));
	ch->fd = fd;
	ch->handle = arg->handle;
	ch->sq_entries = arg->sq_entries;
	ch->cq_entries = arg->cq_entries;
	ch->flags = arg->flags;
	ch->length = (size_t)arg->mmap_length;
	ch->file = with_file ? dmaplane_file_open(ch) : -1;
	/* In its own file the rings are where 32-bit programs can map them, too. */
	offset = with_file ? 0 : arg->mmap_offset;
	if (with_file && ch->file < 0) {
		ret = ch->file;
	} else if ((__u64)(off_t)offset != offset) {
		ret = -EOVERFLOW;
	} else {
		map = mmap(NULL, ch->length, PROT_READ | PROT_WRITE, MAP_SHARED,
			   with_file ? ch->file : fd, (off_t)offset);
		ret = map == MAP_FAILED ? -errno : 0;
	}
	if (ret) {
		dmaplane_channel_close(ch);
		return ret;
	}
	ch->ring = (struct dmaplane_ring *)map;
	ch->sqes = (struct dmaplane_sqe *)((char *)map + arg->sqes_offset);
	ch->cqes = (struct dmaplane_cqe *)((char *)map + arg->cqes_offset);
	if (arg->times_offset)
		ch->times = (struct dmaplane_times *)((char *)map + arg->times_offset);
	return 0;
}

/* dmaplane_channel_open() with DMAPLANE_CHANNEL_*. */
static inline int dmaplane_channel_open_flags(int fd, __u32 sq_entries, __u32 cq_entries,
					      __u32 flags, struct dmaplane_channel *ch)
{
	struct dmaplane_channel_create arg;

	memset(&arg, 0, sizeof(arg));
	arg.flags = flags;
	arg.sq_entries = sq_entries;
	arg.cq_entries = cq_entries;
	return dmaplane_channel_make(fd, &arg, 1, ch);
}

/**
 * dmaplane_channel_open() - create a channel, make its own file and map its rings
 * @fd: a descriptor of /dev/dmaplane
 * @sq_entries: places in the submission ring, a power of two
 * @cq_entries: places in the completion ring, a power of two
 * @ch: filled on success
 *
 * Return: 0, or -errno of CHANNEL_CREATE, CHANNEL_FILE or mmap().
 */
static inline int dmaplane_channel_open(int fd, __u32 sq_entries, __u32 cq_entries,
					struct dmaplane_channel *ch)
{
	return dmaplane_channel_open_flags(fd, sq_entries, cq_entries, 0, ch);
}

/**
 * dmaplane_channel_open_sqpoll() - the same, with a thread that takes entries
 * @fd: a descriptor of /dev/dmaplane
 * @sq_entries: places in the submission ring, a power of two
 * @cq_entries: places in the completion ring, a power of two
 * @sq_idle_ms: how long it looks for entries before it sleeps; 0: the kernel's choice
 * @ch: filled on success
 *
 * Functions that submit make a call only if the thread has to be woken, or to wait.
 *
 * Return: as dmaplane_channel_open(); -EINVAL from kernels without DMAPLANE_FEATURE_SQPOLL.
 */
static inline int dmaplane_channel_open_sqpoll(int fd, __u32 sq_entries, __u32 cq_entries,
					       __u32 sq_idle_ms, struct dmaplane_channel *ch)
{
	struct dmaplane_channel_create arg;

	memset(&arg, 0, sizeof(arg));
	arg.flags = DMAPLANE_CHANNEL_SQPOLL;
	arg.sq_entries = sq_entries;
	arg.cq_entries = cq_entries;
	arg.sq_idle_ms = sq_idle_ms;
	return dmaplane_channel_make(fd, &arg, 1, ch);
}

/*
 * The same for thousands of channels: it takes no descriptor, but calls into the kernel cost
 * more, and to poll there is @fd, for all of them together. -EOVERFLOW if off_t has 32 bits.
 */
static inline int dmaplane_channel_open_nofile(int fd, __u32 sq_entries, __u32 cq_entries,
					       struct dmaplane_channel *ch)
{
	struct dmaplane_channel_create arg;

	memset(&arg, 0, sizeof(arg));
	arg.sq_entries = sq_entries;
	arg.cq_entries = cq_entries;
	return dmaplane_channel_make(fd, &arg, 0, ch);
}

/* DMAPLANE_RING_*, no older than the last cq_head and sq_tail that were stored. */
static inline __u32 dmaplane_channel_flags(const struct dmaplane_channel *ch)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&ch->ring->flags, __ATOMIC_ACQUIRE);
}

/* Peers get no credits until completions were taken and a call that submits was made. */
static inline int dmaplane_channel_needs_enter(const struct dmaplane_channel *ch)
{
	return !!(dmaplane_channel_flags(ch) & DMAPLANE_RING_NEED_ENTER);
}

/* After dmaplane_sq_flush(): the thread that takes entries sleeps, DMAPLANE_ENTER_SQ_WAKEUP wakes it. */
static inline int dmaplane_sq_needs_wakeup(const struct dmaplane_channel *ch)
{
	return !!(dmaplane_channel_flags(ch) & DMAPLANE_RING_NEED_WAKEUP);
}

/* The rings were corrupted: only closing is left. */
static inline int dmaplane_channel_poisoned(const struct dmaplane_channel *ch)
{
	return !!(dmaplane_channel_flags(ch) & DMAPLANE_RING_POISONED);
}

/* How many entries got the kernel has not taken. */
static inline __u32 dmaplane_channel_pending(const struct dmaplane_channel *ch)
{
	return ch->ring->sq_tail + ch->prepared -
	       __atomic_load_n(&ch->ring->sq_head, __ATOMIC_ACQUIRE);
}

/* How many entries can be got now. */
static inline __u32 dmaplane_channel_room(const struct dmaplane_channel *ch)
{
	__u32 pending = dmaplane_channel_pending(ch);

	return pending < ch->sq_entries ? ch->sq_entries - pending : 0;
}

/* How many completions can be taken now. */
static inline __u32 dmaplane_channel_available(const struct dmaplane_channel *ch)
{
	return __atomic_load_n(&ch->ring->cq_tail, __ATOMIC_ACQUIRE) - ch->ring->cq_head;
}

/**
 * dmaplane_sqe_get() - take the next free entry, to fill it
 * @ch: the channel
 *
 * The next call that submits hands it to the kernel, so it must be filled by then: until a
 * function of entry.h is called for it, it is still what it was the last time.
 *
 * Return: the entry, or NULL if the submission ring is full.
 */
static inline struct dmaplane_sqe *dmaplane_sqe_get(struct dmaplane_channel *ch)
{
	if (!dmaplane_channel_room(ch))
		return NULL;
	return &ch->sqes[(ch->ring->sq_tail + ch->prepared++) & (ch->sq_entries - 1)];
}

/*
 * Lets the kernel see the entries got: for those who then call dmaplane_enter(), or with a
 * thread that takes them dmaplane_sq_needs_wakeup().
 */
static inline void dmaplane_sq_flush(struct dmaplane_channel *ch)
{
	__atomic_store_n(&ch->ring->sq_tail, ch->ring->sq_tail + ch->prepared, __ATOMIC_RELEASE);
	ch->prepared = 0;
}

/* Copies an entry to the next free one, and flushes: 0, or -EAGAIN if the ring is full. */
static inline int dmaplane_sqe_push(struct dmaplane_channel *ch, const struct dmaplane_sqe *sqe)
{
	struct dmaplane_sqe *entry = dmaplane_sqe_get(ch);

	if (!entry)
		return -EAGAIN;
	*entry = *sqe;
	dmaplane_sq_flush(ch);
	return 0;
}

/**
 * dmaplane_enter() - CHANNEL_ENTER as it is, for entries that were flushed
 * @ch: the channel
 * @to_submit: entries to take at most
 * @min_complete: completions to wait for
 * @flags: DMAPLANE_ENTER_*
 * @timeout_ns: how long to wait, or with DMAPLANE_ENTER_ABSTIME until when
 *
 * Return: how many entries were taken, with SQPOLL 0, or -errno: EBUSY, EBADFD, ETIME, EINTR,
 * EINVAL.
 */
static inline int dmaplane_enter(const struct dmaplane_channel *ch, __u32 to_submit,
				 __u32 min_complete, __u32 flags, __u64 timeout_ns)
{
	struct dmaplane_channel_enter arg;

	memset(&arg, 0, sizeof(arg));
	arg.size = sizeof(arg);
	arg.flags = flags;
	arg.channel = ch->handle;
	arg.to_submit = to_submit;
	arg.min_complete = min_complete;
	arg.timeout_ns = timeout_ns;
	return dmaplane_ioctl(ch->fd, DMAPLANE_IOC_CHANNEL_ENTER, &arg);
}

/* The same by a channel's file, which is cheaper: of all entries flushed, without a timeout. */
static inline int dmaplane_file_enter(int file, __u32 min_complete)
{
	off_t ret = lseek(file, (off_t)min_complete, SEEK_SET);

	return ret < 0 ? -errno : (int)ret;
}

/* What the next function does when a thread takes the entries, @shown of them new. */
static inline int dmaplane_sqpoll_wait(const struct dmaplane_channel *ch, __u32 pending,
				       __u32 shown, __u32 min_complete, __u32 flags,
				       __u64 timeout_ns)
{
	__u32 news = dmaplane_channel_flags(ch);
	int ret;

	if (!pending)
		news &= ~DMAPLANE_RING_NEED_WAKEUP;
	if (!news && dmaplane_channel_available(ch) >= min_complete)
		return (int)shown;
	if (ch->file >= 0 && !flags && (!min_complete || timeout_ns == DMAPLANE_FOREVER))
		ret = dmaplane_file_enter(ch->file, min_complete);
	else
		ret = dmaplane_enter(ch, 0, min_complete, flags | DMAPLANE_ENTER_SQ_WAKEUP,
				     timeout_ns);
	/* What was shown must be told: there is more to find in the ring. */
	if (!ret || (shown && (ret == -ETIME || ret == -EINTR)))
		return (int)shown;
	return ret;
}

/**
 * dmaplane_submit_and_wait_timeout() - submit the entries got, wait for completions
 * @ch: the channel
 * @min_complete: how many shall be available, cq_entries at most; 0: do not wait
 * @flags: DMAPLANE_ENTER_*
 * @timeout_ns: how long to wait, or with DMAPLANE_ENTER_ABSTIME until when (CLOCK_MONOTONIC)
 *
 * Also gives credits back that wait for it; makes no call if there is nothing to do. With
 * SQPOLL, taken is what the thread was shown, which it takes when there is room: no EBUSY.
 *
 * Return: how many entries were taken, which is less than dmaplane_channel_pending() was if
 * the completion ring has no room for more. If any were, the wait may have ended early:
 * dmaplane_channel_available() tells. Else -errno: EBUSY (there is no room for the first
 * one: take completions, or if there are none wait for one, then submit again), ETIME,
 * EINTR, EBADFD (poisoned), EINVAL.
 */
static inline int dmaplane_submit_and_wait_timeout(struct dmaplane_channel *ch,
						   __u32 min_complete, __u32 flags,
						   __u64 timeout_ns)
{
	__u32 pending = dmaplane_channel_pending(ch), shown = ch->prepared;

	dmaplane_sq_flush(ch);
	if (ch->flags & DMAPLANE_CHANNEL_SQPOLL)
		return dmaplane_sqpoll_wait(ch, pending, shown, min_complete, flags, timeout_ns);
	if (!pending && dmaplane_channel_available(ch) >= min_complete &&
	    !dmaplane_channel_flags(ch))
		return 0;
	if (ch->file >= 0 && !flags && (!min_complete || timeout_ns == DMAPLANE_FOREVER))
		return dmaplane_file_enter(ch->file, min_complete);
	return dmaplane_enter(ch, pending, min_complete, flags, timeout_ns);
}

/* The same without a timeout. */
static inline int dmaplane_submit_and_wait(struct dmaplane_channel *ch, __u32 min_complete)
{
	return dmaplane_submit_and_wait_timeout(ch, min_complete, 0, DMAPLANE_FOREVER);
}

/* The same without waiting. */
static inline int dmaplane_submit(struct dmaplane_channel *ch)
{
	return dmaplane_submit_and_wait_timeout(ch, 0, 0, 0);
}

/* The completion of an index, or NULL if it is not there yet. */
static inline struct dmaplane_cqe *dmaplane_cqe_at(const struct dmaplane_channel *ch, __u32 index)
{
	if (__atomic_load_n(&ch->ring->cq_tail, __ATOMIC_ACQUIRE) == index)
		return NULL;
	return &ch->cqes[index & (ch->cq_entries - 1)];
}

/* When the entry of a completion that was not taken yet was taken and complete; or NULL. */
static inline const struct dmaplane_times *
dmaplane_channel_times(const struct dmaplane_channel *ch, const struct dmaplane_cqe *cqe)
{
	return ch->times ? &ch->times[cqe - ch->cqes] : NULL;
}

/* The oldest completion, which stays: 0, or -EAGAIN and NULL if there is none. */
static inline int dmaplane_peek_cqe(const struct dmaplane_channel *ch, struct dmaplane_cqe **cqe)
{
	*cqe = dmaplane_cqe_at(ch, ch->ring->cq_head);
	return *cqe ? 0 : -EAGAIN;
}

/**
 * dmaplane_wait_cqe_timeout() - wait for a completion, without submitting anything
 * @ch: the channel
 * @cqe: set to the oldest one, which stays; NULL on failure
 * @flags: DMAPLANE_ENTER_*
 * @timeout_ns: how long to wait, or with DMAPLANE_ENTER_ABSTIME until when (CLOCK_MONOTONIC)
 *
 * Makes no call if there is one. Whoever always finds one, and submits nothing, has to look
 * at dmaplane_channel_needs_enter().
 *
 * Return: 0, or -errno: ETIME, EINTR, EBADFD (poisoned), EINVAL.
 */
static inline int dmaplane_wait_cqe_timeout(const struct dmaplane_channel *ch,
					    struct dmaplane_cqe **cqe, __u32 flags,
					    __u64 timeout_ns)
{
	int ret = 0;

	while (ret >= 0 && dmaplane_peek_cqe(ch, cqe)) {
		/* By the file only if it has nothing to take, for which there might be no room. */
		if (ch->file >= 0 && !flags && timeout_ns == DMAPLANE_FOREVER &&
		    dmaplane_channel_pending(ch) == ch->prepared)
			ret = dmaplane_file_enter(ch->file, 1);
		else
			ret = dmaplane_enter(ch, 0, 1, flags, timeout_ns);
	}
	return ret < 0 ? ret : 0;
}

/* The same without a timeout. */
static inline int dmaplane_wait_cqe(const struct dmaplane_channel *ch, struct dmaplane_cqe **cqe)
{
	return dmaplane_wait_cqe_timeout(ch, cqe, 0, DMAPLANE_FOREVER);
}

/* Takes the oldest completions: their places are the kernel's again. */
static inline void dmaplane_cq_advance(struct dmaplane_channel *ch, __u32 count)
{
	__atomic_store_n(&ch->ring->cq_head, ch->ring->cq_head + count, __ATOMIC_RELEASE);
}

/* Takes the oldest one. */
static inline void dmaplane_cqe_seen(struct dmaplane_channel *ch)
{
	dmaplane_cq_advance(ch, 1);
}

/**
 * dmaplane_for_each_cqe() - all completions that are there
 * @ch: the channel
 * @head: a __u32 of the caller's
 * @cqe: a pointer to struct dmaplane_cqe of the caller's
 *
 * They stay; afterwards dmaplane_cq_advance() takes as many as the caller has counted.
 */
#define dmaplane_for_each_cqe(ch, head, cqe) \
	for ((head) = (ch)->ring->cq_head; \
	     ((cqe) = dmaplane_cqe_at((ch), (head))) != NULL; (head)++)

#endif /* DMAPLANE_CHANNEL_H */
