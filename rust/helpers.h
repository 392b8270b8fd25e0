/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything that the kernel crate's bindings lack and dmakit needs; bindgen
 * reads this file, the helpers include it.
 */
#ifndef _DMAKIT_HELPERS_H
#define _DMAKIT_HELPERS_H

#include <linux/anon_inodes.h>
#include <linux/eventfd.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

#include "helpers/copy.h"
#include "helpers/debugfs.h"
#include "helpers/dmabuf.h"
#include "helpers/fault.h"
#include "helpers/import.h"
#include "helpers/mm.h"
#ifdef DMAPLANE_TEST
#include "helpers/exporter.h"
#include "helpers/mock.h"
#endif
#include "helpers/param.h"
#include "helpers/poll.h"
#include "helpers/rdma.h"
#include "helpers/thread.h"
#include "helpers/uring.h"
#include "helpers/work.h"

#endif
