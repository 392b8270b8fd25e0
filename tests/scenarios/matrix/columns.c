// SPDX-License-Identifier: GPL-2.0
/*
 * How it ends. Each column gives the orders of one cycle and looks at what
 * becomes of holder, peer and objects; run_cycles() is what all cycles have in
 * common. A further one is a function and a line of the table.
 */
#include "matrix.h"

#include <stdarg.h>
#include <sys/socket.h>

static bool __attribute__((format(printf, 2, 3))) fail(struct cycle *y, const char *format, ...)
{
	va_list args;

	if (!*y->wrong) {
		va_start(args, format);
		vsnprintf(y->wrong, sizeof(y->wrong), format, args);
		va_end(args);
	}
	return false;
}

/* ---- Orders -------------------------------------------------------------- */

static const char *who(const struct cycle *y, int talk)
{
	return talk == y->to_holder ? "the holder" : "the peer";
}

static bool tell(struct cycle *y, int talk, enum word word, uint32_t value)
{
	struct note note = { .word = word, .value = value };

	if (send(talk, &note, sizeof(note), MSG_NOSIGNAL) > 0)
		return true;
	/* Why it ended it may have said before. */
	while (recv(talk, &note, sizeof(note), MSG_DONTWAIT) == sizeof(note))
		if (note.word == FAILED)
			return fail(y, "%s: %.*s", who(y, talk), (int)sizeof(note.text), note.text);
	return fail(y, "%s takes no orders any more", who(y, talk));
}

static bool hear(struct cycle *y, int talk, enum word word, uint32_t *value)
{
	struct pollfd poll_fd = { .fd = talk, .events = POLLIN };
	uint64_t begin = now_ns();
	struct note note;
	ssize_t got;

	if (poll(&poll_fd, 1, limit_ns() / MS) != 1) {
		show_process(talk == y->to_holder ? y->holder : y->peer);
		return fail(y, "%s hangs (word %d)", who(y, talk), word);
	}
	got = recv(talk, &note, sizeof(note), 0);
	if (got != sizeof(note))
		return fail(y, "%s ended before its time", who(y, talk));
	if (note.word == FAILED)
		return fail(y, "%s: %.*s", who(y, talk), (int)sizeof(note.text), note.text);
	if (note.word != word)
		return fail(y, "%s says %d, not %d", who(y, talk), note.word, word);
	if (value)
		*value = note.value;
	if (now_ns() - begin > y->slowest)
		y->slowest = now_ns() - begin;
	return true;
}

static bool ask(struct cycle *y, int talk, enum word order, enum word answer)
{
	return tell(y, talk, order, 0) && hear(y, talk, answer, NULL);
}

/* ---- Parts of ends -------------------------------------------------------- */

static bool ends_with(struct cycle *y, pid_t *pid, int wanted)
{
	uint64_t begin = now_ns();
	int status = reap(*pid);

	if (status != -1)
		*pid = 0;
	if (now_ns() - begin > y->slowest)
		y->slowest = now_ns() - begin;
	return status == wanted || fail(y, "a process ended with %x, not %x", status, wanted);
}

static bool killed(struct cycle *y, pid_t *pid)
{
	kill(*pid, SIGKILL);
	return ends_with(y, pid, SIGKILL);
}

static bool zero(struct cycle *y)
{
	if (y->crowded || nothing_lives())
		return true;
	show_lives();
	return fail(y, "objects are left");
}

/* The peer, if there is one: it learns that the holder is gone, and ends. */
static bool peer_ends(struct cycle *y, bool notices)
{
	if (!y->c->has_peer)
		return true;
	return (!notices || ask(y, y->to_peer, NOTICE, NOTICED)) &&
	       ask(y, y->to_peer, END, ENDED) && tell(y, y->to_peer, EXIT, 0) &&
	       ends_with(y, &y->peer, 0);
}

/* The holder ends what it holds; nothing is left although it still lives. */
static bool holder_ends(struct cycle *y, bool peer_notices)
{
	return ask(y, y->to_holder, END, ENDED) && peer_ends(y, peer_notices) && zero(y) &&
	       tell(y, y->to_holder, EXIT, 0);
}

static bool holder_is_killed(struct cycle *y, bool peer_notices)
{
	return killed(y, &y->holder) && peer_ends(y, peer_notices) && zero(y);
}

/* In a column that is about something else. */
static bool all_end(struct cycle *y, bool peer_notices)
{
	if (y->c->killed)
		return holder_is_killed(y, peer_notices);
	return holder_ends(y, peer_notices) && ends_with(y, &y->holder, 0);
}

/* ---- The ends of processes ------------------------------------------------- */

static bool end_close(struct cycle *y)
{
	return holder_ends(y, true) && ends_with(y, &y->holder, 0);
}

static bool end_kill(struct cycle *y)
{
	return holder_is_killed(y, true);
}

static bool end_exec(struct cycle *y)
{
	if (!ask(y, y->to_holder, EXEC, READY))
		return false;
	if (y->c->inherits && !ask(y, y->to_holder, CHECK, FINE))
		return false;
	return end_close(y);
}

static bool end_fork_parent(struct cycle *y)
{
	return ask(y, y->to_holder, FORK_PARENT, FINE) && ends_with(y, &y->holder, 0) &&
	       holder_ends(y, true);
}

static bool end_fork_child(struct cycle *y)
{
	return ask(y, y->to_holder, FORK_CHILD, FINE) && end_close(y);
}

/* ---- What they hold on to goes ---------------------------------------------- */

static bool lost(const struct choice *c, int host)
{
	return c->victim == host || c->victim == HOSTS;
}

/*
 * Whether whoever is at @host waits until it knows that the connection has
 * ended. With its own device gone that is soon. Else the peer just does not
 * answer any more, which takes a while; a request for a connection, much longer.
 */
static bool notices(const struct cycle *y, int host, bool device_went)
{
	if (device_went && lost(y->c, host))
		return y->c->notices;
	return y->c->rare && y->c->row->connects;
}

static bool after_loss(struct cycle *y, bool device_went)
{
	if (notices(y, y->c->home, device_went) && !ask(y, y->to_holder, NOTICE, NOTICED))
		return false;
	return all_end(y, notices(y, !y->c->home, device_went));
}

static bool end_deviceless(struct cycle *y)
{
	return after_loss(y, true);
}

static bool end_cut_off(struct cycle *y)
{
	return after_loss(y, false);
}

static int strike_link_del(const struct choice *c)
{
	int ret = 0;

	for (int host = 0; host < HOSTS && !ret; host++)
		if (lost(c, host))
			ret = rdma_link_del(host);
	return ret;
}

static int strike_netdev_down(const struct choice *c)
{
	int ret = 0;

	for (int host = 0; host < HOSTS && !ret; host++)
		if (lost(c, host))
			ret = netdev_set(host, false);
	return ret;
}

static int strike_netdev_del(const struct choice *c)
{
	(void)c;
	return netdev_del();
}

static bool reload(struct cycle *y, bool retry)
{
	uint64_t give_up = now_ns() + limit_ns();
	int ret;

	while ((ret = module_unload()) == -EWOULDBLOCK && retry && now_ns() < give_up)
		sleep_ms(1);
	if (ret)
		return fail(y, "unloading: %s", strerrorname_np(-ret) ?: "?");
	ret = module_load();
	return !ret || fail(y, "loading again: %s", strerrorname_np(-ret) ?: "?");
}

/* Refused while it is held, without a trace; now and then tried on until it is not. */
static bool end_unload(struct cycle *y)
{
	int ret = module_unload();

	if (ret != -EWOULDBLOCK) {
		if (!ret)
			module_load();
		return fail(y, "unloading while it is held: %s", strerrorname_np(-ret) ?: "?");
	}
	if (!ask(y, y->to_holder, CHECK, FINE))
		return false;
	if (!y->c->rare)
		return all_end(y, true);
	kill(y->holder, SIGKILL);
	if (y->peer)
		kill(y->peer, SIGKILL);
	return reload(y, true) && ends_with(y, &y->holder, SIGKILL) &&
	       (!y->peer || ends_with(y, &y->peer, SIGKILL));
}

const struct column columns[] = {
	{ "close", NULL, end_close },
	{ "kill -9", NULL, end_kill, .dies = true },
	{ "exec", NULL, end_exec, .dies = true },
	{ "fork, then the parent exits", NULL, end_fork_parent, .dies = true },
	{ "fork, then the child exits", NULL, end_fork_child },
	{ "rdma link del", strike_link_del, end_deviceless },
	{ "interface down", strike_netdev_down, end_cut_off, .new_links = true },
	{ "interface deleted", strike_netdev_del, end_deviceless, .takes_all = true },
	{ "unload attempt", NULL, end_unload },
};
const uint32_t column_count = ARRAY_LEN(columns);

/* ---- A cycle ------------------------------------------------------------------ */

static bool start(struct cycle *y, pid_t *pid, int *talk, bool holder)
{
	struct place place = {
		.c = y->c, .holder = holder, .host = holder ? y->c->home : !y->c->home,
		.dice = { y->c->seed + holder },
	};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return fail(y, "socketpair: %m");
	*pid = fork();
	if (*pid < 0)
		return fail(y, "fork: %m");
	if (!*pid) {
		place.talk = pair[1];
		close(pair[0]);
		live_in(&place);
	}
	close(pair[1]);
	*talk = pair[0];
	return true;
}

/* Both processes are where the row wants them. */
static bool begin(struct cycle *y)
{
	bool connects = y->c->connects;
	uint32_t port;

	if (!start(y, &y->holder, &y->to_holder, true))
		return false;
	if (!y->c->has_peer)
		return hear(y, y->to_holder, READY, NULL);
	return start(y, &y->peer, &y->to_peer, false) &&
	       hear(y, connects ? y->to_peer : y->to_holder, LISTENING, &port) &&
	       tell(y, connects ? y->to_holder : y->to_peer, CONNECT, port) &&
	       hear(y, y->to_holder, READY, NULL) && hear(y, y->to_peer, READY, NULL);
}

/*
 * What moves begins to when the end is near: the pairs of a crowd would keep those
 * from coming up that are not there yet.
 */
static bool go(struct cycle *y)
{
	return !y->c->row->pump || (tell(y, y->to_holder, GO, 0) &&
				    (!y->c->has_peer || tell(y, y->to_peer, GO, 0)));
}

/* Whatever went wrong, the next one begins with nothing. */
static void clean_up(struct cycle *y)
{
	if (y->holder > 0)
		kill(y->holder, SIGKILL);
	if (y->peer > 0)
		kill(y->peer, SIGKILL);
	close(y->to_holder);
	close(y->to_peer);
}

/* One cycle, or a crowd that loses its devices together. */
void run_cycles(struct cycle *list, uint32_t count, const struct column *column)
{
	struct cycle *last = &list[count - 1];
	int struck = 0;
	uint32_t i;

	for (i = 0; i < count; i++) {
		list[i].to_holder = list[i].to_peer = -1;
		list[i].crowded = count > 1;
		list[i].good = begin(&list[i]);
		list[i].slowest = 0;
	}
	for (i = 0; i < count; i++)
		list[i].good = list[i].good && go(&list[i]);
	usleep(list->c->delay_us);
	if (column->strike)
		struck = column->strike(list->c);
	if (struck)
		fail(last, "%s: %s", column->name, strerrorname_np(-struck) ?: "?");
	for (i = 0; i < count; i++) {
		list[i].good = list[i].good && !struck && column->end(&list[i]);
		clean_up(&list[i]);
	}
	last->crowded = false;
	if (!reap_all())
		last->good = fail(last, "a process is left");
	last->good &= zero(last);
	if (column->strike) {
		const char *lacks = net_restore(column->new_links);

		if (lacks)
			last->good = fail(last, "%s: %m", lacks);
	}
}
