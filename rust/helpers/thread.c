// SPDX-License-Identifier: GPL-2.0
/* Kernel threads: each holds the module, and has its memory charged to who made it. */
#include <linux/cpuset.h>
#include <linux/cred.h>
#include <linux/kthread.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include "../helpers.h"

static int dk_thread_main(void *data)
{
	struct dk_thread *thread = data;
	struct mem_cgroup *memcg = thread->memcg, *old = set_active_memcg(memcg);
	const struct cred *cred = override_creds(thread->cred);

	/* No other task has the same. */
	task_lock(current);
	current->signal->rlim[RLIMIT_MEMLOCK].rlim_cur = thread->memlock;
	task_unlock(current);
	thread->run(thread);
	put_cred(revert_creds(cred));
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	module_put_and_kthread_exit(0);
}

/* All kernel threads are in the cpuset of everything, which gives them what that has when it changes. */
void dk_thread_renew_nodes(const struct dk_thread *thread)
{
	nodemask_t nodes = thread->nodes;

	if (!nodes_equal(cpuset_current_mems_allowed, nodes))
		set_mems_allowed(nodes);
}

static void dk_thread_forget(struct dk_thread *thread)
{
	put_cred(thread->cred);
	mem_cgroup_put(thread->memcg);
	module_put(THIS_MODULE);
}

/* Returns its task, with a reference for the caller, or an error pointer. */
struct task_struct *dk_thread_start(struct dk_thread *thread, const char *name)
{
	struct task_struct *task;

	if (!try_module_get(THIS_MODULE))
		return ERR_PTR(-ENODEV);
	thread->memcg = get_mem_cgroup_from_mm(current->mm);
	thread->cred = get_current_cred();
	thread->memlock = rlimit(RLIMIT_MEMLOCK);
	thread->nodes = cpuset_current_mems_allowed;
	task = kthread_create(dk_thread_main, thread, "%s-%d", name, task_tgid_nr(current));
	if (IS_ERR(task)) {
		dk_thread_forget(thread);
		return task;
	}
	get_task_struct(task);
	set_user_nice(task, task_nice(current));
	wake_up_process(task);
	return task;
}

/*
 * Stops it and waits for its end, unless it is the caller. Puts the reference. False if
 * it never ran: @thread is the caller's then.
 */
bool dk_thread_stop(struct task_struct *task, struct dk_thread *thread)
{
	if (task == current) {
		put_task_struct(task);
		return true;
	}
	/* Nothing that runs returns that. */
	if (kthread_stop_put(task) != -EINTR)
		return true;
	dk_thread_forget(thread);
	return false;
}

/* Whether there may be @count threads that spin, with the one that the caller wants. */
bool dk_threads_may_be(u64 count)
{
	return count <= 4ULL * num_online_cpus() || capable(CAP_SYS_NICE);
}

bool dk_thread_should_stop(void)
{
	return kthread_should_stop();
}

/* For who spins, for long. */
void dk_thread_relax(void)
{
	cpu_relax();
	cond_resched_tasks_rcu_qs();
}

void dk_waker_init(struct dk_waker *waker)
{
	init_waitqueue_head(&waker->wait);
	atomic_set(&waker->woken, 0);
}

void dk_waker_wake(struct dk_waker *waker)
{
	atomic_set(&waker->woken, 1);
	if (wq_has_sleeper(&waker->wait))
		wake_up(&waker->wait);
}

/* Until it was woken since it last slept, or is told to stop. Counts for no load. */
void dk_waker_sleep(struct dk_waker *waker)
{
	wait_event_idle(waker->wait,
			atomic_xchg(&waker->woken, 0) || kthread_should_stop());
}
