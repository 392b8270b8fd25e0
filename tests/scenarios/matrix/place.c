// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a process that holds something, or is the peer of one that does:
 * it goes into its state, says so, and follows orders. Whatever is not as it
 * should be it says, and ends.
 */
#include "matrix.h"

#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>

extern char **environ;

void say(struct place *p, enum word word, uint32_t value)
{
	struct note note = { .word = word, .value = value };

	if (send(p->talk, &note, sizeof(note), MSG_NOSIGNAL) < 0)
		_exit(4);
}

void wrong(struct place *p, const char *format, ...)
{
	struct note note = { .word = FAILED };
	va_list args;

	va_start(args, format);
	vsnprintf(note.text, sizeof(note.text), format, args);
	va_end(args);
	send(p->talk, &note, sizeof(note), MSG_NOSIGNAL);
	_exit(1);
}

void must(struct place *p, const char *what, int ret)
{
	if (ret < 0)
		wrong(p, "%s: %s", what, strerrorname_np(-ret) ?: "?");
}

struct note take_order(struct place *p)
{
	struct pollfd poll_fd = { .fd = p->talk, .events = POLLIN };
	struct note note;

	do {
		while (p->goes && !poll(&poll_fd, 1, 0))
			p->c->row->pump(p);
		if (recv(p->talk, &note, sizeof(note), 0) != sizeof(note))
			_exit(4);	/* whoever gives the orders is gone */
		p->goes |= note.word == GO;
	} while (note.word == GO);
	return note;
}

/* ---- Connections -------------------------------------------------------- */

static bool i_connect(const struct place *p)
{
	return p->holder == p->c->connects;
}

void connect_places(struct place *p)
{
	must(p, DEVICE, side_open(&p->side, 64));
	p->side.send_depth = p->side.recv_depth = 8;
	if (i_connect(p)) {
		struct note order = take_order(p);
		struct dmaplane_addr dst = address(host_address[!p->host], order.value);

		must(p, "ADDRESS", resolve(p->side.fd, &dst, &p->side.endpoint));
		must(p, "CONNECT", side_join(&p->side, DMAPLANE_IOC_ENDPOINT_CONNECT));
	} else {
		struct dmaplane_endpoint_request request;
		struct dmaplane_endpoint_listen listen;

		must(p, "LISTEN", listen_on(p->side.fd, host_address[p->host], 0, 4, &listen));
		say(p, LISTENING, port_of(&listen.addr));
		must(p, "REQUEST", take_request(p->side.fd, listen.handle, limit_ns(), &request));
		p->side.endpoint = request.handle;
		must(p, "ACCEPT", side_join(&p->side, DMAPLANE_IOC_ENDPOINT_ACCEPT));
		must(p, "closing the listener", endpoint_close(p->side.fd, listen.handle));
	}
}

/* ---- A thread that waits ------------------------------------------------ */

static void *run_wait(void *arg)
{
	struct place *p = arg;

	p->waited = p->wait(p);
	return NULL;
}

void in_thread(struct place *p, int (*wait)(struct place *p))
{
	p->wait = wait;
	if (pthread_create(&p->thread, NULL, run_wait, p))
		wrong(p, "no thread");
	p->threaded = true;
}

/* Its call must have returned soon, with an error. */
void join_thread(struct place *p)
{
	struct timespec until;

	if (!p->threaded)
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += limit_ns() / SEC;
	if (pthread_timedjoin_np(p->thread, NULL, &until))
		wrong(p, "a wait was not woken");
	p->threaded = false;
	if (p->waited >= 0)
		wrong(p, "a wait succeeded: %d", p->waited);
}

/* ---- After a device or a peer has gone ----------------------------------- */

static void notice(struct place *p)
{
	uint64_t give_up = now_ns() + limit_ns();
	uint32_t handle = p->side.endpoint ?: p->listener;

	if (!handle || p->side.fd < 0)
		return;
	/* A listener, and a request that waits, belong to one device. */
	if (p->listener && p->host != p->c->victim && p->c->victim != HOSTS)
		return;
	while (state_of(p->side.fd, handle) != DMAPLANE_STATE_ERROR) {
		if (now_ns() > give_up)
			wrong(p, "in state %d, error not noticed", state_of(p->side.fd, handle));
		if (p->c->row->pump)
			p->c->row->pump(p);
		else
			sleep_ms(1);
	}
}

/* ---- The end by calls ---------------------------------------------------- */

enum { CLOSE_ENDPOINT, CLOSE_LISTENER, CLOSE_CHANNEL, UNMAP_CHANNEL, CLOSE_FD, CLOSE_FILE, MEMORY };

static void tolerate(struct place *p, const char *what, int ret, int error)
{
	if (ret != error)
		must(p, what, ret);
}

static void do_end(struct place *p, int step)
{
	struct memory *m = &p->memory[(step - MEMORY) / 3];
	bool open = p->side.fd >= 0;

	switch (step) {
	case CLOSE_ENDPOINT:
		if (open && p->side.endpoint)
			must(p, "closing the endpoint", endpoint_close(p->side.fd, p->side.endpoint));
		break;
	case CLOSE_LISTENER:
		if (open && p->listener)
			must(p, "closing the listener", endpoint_close(p->side.fd, p->listener));
		break;
	case CLOSE_CHANNEL:
		if (open && p->side.ch.handle)
			tolerate(p, "CHANNEL_CLOSE",
				 end(p->side.fd, DMAPLANE_IOC_CHANNEL_CLOSE, p->side.ch.handle),
				 -EBUSY);
		break;
	case UNMAP_CHANNEL:
		if (p->side.ch.ring && munmap(p->side.ch.ring, p->side.ch.length))
			must(p, "munmap", -errno);
		p->side.ch.ring = NULL;
		break;
	case CLOSE_FD:
		if (open && close(p->side.fd))
			must(p, "close", -errno);
		p->side.fd = -1;
		break;
	case CLOSE_FILE:
		if (p->file >= 0 && close(p->file))
			must(p, "close", -errno);
		p->file = -1;
		break;
	default:
		if ((step - MEMORY) % 3 == 0 && m->at && munmap(m->at, m->buffer.length))
			must(p, "munmap", -errno);
		if ((step - MEMORY) % 3 == 1 && open && m->region)
			tolerate(p, "REGION_DEREGISTER", region_deregister(p->side.fd, m->region),
				 -EBUSY);
		if ((step - MEMORY) % 3 == 2 && open && m->buffer.handle)
			must(p, "BUF_DESTROY", buf_destroy(p->side.fd, m->buffer.handle));
	}
}

/* Everything that is held goes, in any order. */
static void end_by_calls(struct place *p)
{
	int steps[MEMORY + 3 * MEMORIES], count = MEMORY + 3 * p->memories;
	struct dmaplane_stats stats;

	for (int i = 0; i < count; i++)
		steps[i] = i;
	/* A wait keeps its file open; so do others that this ends. */
	if (p->threaded) {
		do_end(p, CLOSE_ENDPOINT);
		do_end(p, CLOSE_LISTENER);
		p->side.endpoint = p->listener = 0;
		join_thread(p);
	}
	shuffle(&p->dice, steps, count);
	for (int i = 0; i < count; i++) {
		do_end(p, steps[i]);
		if (steps[i] != CLOSE_ENDPOINT || p->side.fd < 0)
			continue;
		must(p, "STATS", get_stats(p->side.fd, &stats));
		if (stats.submitted != stats.completed)
			wrong(p, "after CLOSE %llu entries of %llu are completed",
			      stats.completed, stats.submitted);
	}
}

/* ---- fork and exec ------------------------------------------------------- */

static void order_check(struct place *p)
{
	p->c->row->check(p);
	say(p, FINE, 0);
}

/* The child goes on when the parent is gone. */
static void fork_parent(struct place *p)
{
	pid_t parent = getpid(), pid = fork();

	must(p, "fork", pid < 0 ? -errno : 0);
	if (pid)
		_exit(0);
	while (getppid() == parent)
		sleep_ms(1);
	p->threaded = false;	/* it was the parent's */
	order_check(p);
}

static void fork_child(struct place *p)
{
	int status;
	pid_t pid = fork();

	must(p, "fork", pid < 0 ? -errno : 0);
	if (!pid) {
		p->threaded = false;
		p->c->row->check(p);
		if (p->c->killed)
			raise(SIGKILL);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != (p->c->killed ? SIGKILL : 0))
		wrong(p, "the child ended with %x", status);
	order_check(p);
}

static void exec_image(struct place *p)
{
	char fd[16], talk[16], regions[16], endpoints[16];
	struct dmaplane_stats stats = { 0 };
	int kept = p->c->inherits ? p->side.fd : -1;
	char *args[] = { "matrix", "--image", talk, fd, regions, endpoints, NULL };

	if (p->side.fd >= 0)
		must(p, "STATS", get_stats(p->side.fd, &stats));
	snprintf(fd, sizeof(fd), "%d", kept);
	snprintf(talk, sizeof(talk), "%d", p->talk);
	snprintf(regions, sizeof(regions), "%u", stats.regions);
	snprintf(endpoints, sizeof(endpoints), "%u", stats.endpoints);
	fcntl(p->talk, F_SETFD, 0);
	if (kept >= 0)
		fcntl(kept, F_SETFD, 0);
	execve("/proc/self/exe", args, environ);
	must(p, "exec", -errno);
}

/* What this program is after exec: it has the descriptor, or nothing. */
int image(char **argv)
{
	static const struct row none;
	static const struct choice choice = { .row = &none };
	struct place place = { .c = &choice, .holder = true, .talk = atoi(argv[0]) }, *p = &place;
	uint32_t regions = atoi(argv[2]), endpoints = atoi(argv[3]);
	struct dmaplane_stats stats;
	int fd = atoi(argv[1]);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	say(p, READY, 0);
	for (;;) {
		switch (take_order(p).word) {
		case CHECK:
			if (fd >= 0) {
				must(p, "STATS", get_stats(fd, &stats));
				/* A request may have come in meanwhile. */
				if (stats.regions != regions || stats.endpoints < endpoints)
					wrong(p, "exec left %u regions of %u, %u endpoints of %u",
					      stats.regions, regions, stats.endpoints, endpoints);
			}
			say(p, FINE, 0);
			break;
		case END:
			if (fd >= 0)
				close(fd);
			say(p, ENDED, 0);
			break;
		case EXIT:
			return 0;
		default:
			wrong(p, "unknown order");
		}
	}
}

/* ---- All of it ----------------------------------------------------------- */

void live_in(struct place *p)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	p->side.fd = p->file = -1;
	enter_host(p->host);
	p->c->row->reach(p);
	say(p, READY, 0);
	for (;;) {
		switch (take_order(p).word) {
		case CHECK:
			order_check(p);
			break;
		case NOTICE:
			notice(p);
			say(p, NOTICED, 0);
			break;
		case END:
			end_by_calls(p);
			say(p, ENDED, 0);
			break;
		case EXIT:
			_exit(0);
		case EXEC:
			exec_image(p);
			break;
		case FORK_PARENT:
			fork_parent(p);
			break;
		case FORK_CHILD:
			fork_child(p);
			break;
		default:
			wrong(p, "unknown order");
		}
	}
}
