// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU: how many instructions were executed in each translated block.
 * At the end it writes lines "address instructions" to the file named by out=.
 *
 * Debian ships no header for plugins; what is used of the interface (version 1, of
 * QEMU 6 and later) is declared here. It is built in the build root and loaded by
 * the host's QEMU, so it wants nothing that an older C library lacks.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
enum { INLINE_ADD_U64 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
					   void (*cb)(plugin_id id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *ptr,
					      uint64_t imm);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*cb)(plugin_id id, void *arg), void *arg);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);

/* A block is translated again whenever QEMU forgot it: then it has another entry. */
struct entry {
	uint64_t address, executed;
	struct entry *next;
};

static struct entry *entries;
static const char *out;

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	struct entry *e = calloc(1, sizeof(*e));

	(void)id;
	if (!e)
		abort();
	e->address = qemu_plugin_tb_vaddr(tb);
	e->next = entries;
	entries = e;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &e->executed,
						 qemu_plugin_tb_n_insns(tb));
}

static void finish(plugin_id id, void *arg)
{
	FILE *file = fopen(out, "w");

	(void)id;
	(void)arg;
	if (!file)
		abort();
	for (const struct entry *e = entries; e; e = e->next)
		if (e->executed)
			fprintf(file, "%" PRIx64 " %" PRIu64 "\n", e->address, e->executed);
	if (fclose(file))
		abort();
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4))
			out = argv[i] + 4;
	if (!out)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
