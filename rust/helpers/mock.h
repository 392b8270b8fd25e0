/* SPDX-License-Identifier: GPL-2.0 */
/* What the mock fabric of a test build needs: memory as the adapter sees it, a control file. */
#ifndef _DMAKIT_HELPERS_MOCK_H
#define _DMAKIT_HELPERS_MOCK_H

#include <linux/mm_types.h>
#include <linux/seq_file.h>

/* Longest command. */
#define DK_CONTROL_BYTES 64

/* What a control file shows, and what it does with a command; that returns 0 or -errno. */
struct dk_control {
	int (*show)(struct seq_file *seq, void *unused);
	int (*command)(const u8 *text, size_t len);
};

void dk_control_create(const char *dir, const char *file, const struct dk_control *control);
void dk_control_remove(const char *dir, const char *file);
void dk_copy_page(struct page *to, size_t to_offset, struct page *from, size_t from_offset,
		  size_t len);

#endif
