/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Linked into Criterion programs under AddressSanitizer. Criterion runs each test in a worker
 * process of its own, which is where our leaks are; its runner leaks a little for each skipped
 * test, and a suppression by the name of its library would hide ours too, since it is on every
 * stack.
 */
#include <stdlib.h>

int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
    return getenv("BXFI_MAP") == NULL; /* set in workers */
}
