/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_PARAM_H
#define _DMAKIT_HELPERS_PARAM_H

#include <linux/types.h>

u64 dk_max_memory(void);
u64 dk_max_context_memory(void);

#endif
