/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's test harness, with time enough for emulation and for an instrumented
 * kernel; what hangs is ended by scenarios/run before that.
 */
#ifndef DMAPLANE_TEST_HARNESS_H
#define DMAPLANE_TEST_HARNESS_H

#include "kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 1800

#endif /* DMAPLANE_TEST_HARNESS_H */
