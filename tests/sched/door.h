/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A door in front of a simulated medium: each call of it is a point of the scheduler, and an
 * instant at which the power may go. */
#ifndef PMKV_TESTS_SCHED_DOOR_H
#define PMKV_TESTS_SCHED_DOOR_H

#include "recovery/media/sim.h"

/* The power may go before a store, a drain or a recovery write. */
typedef void (*door_instant)(void *arg, struct media *m);

/* Puts the door in front of `m`; one medium at a time. */
void door_open(struct media *m, door_instant instant, void *arg);
/* The calling thread is in the medium's own code: its lock is no point. */
bool door_is_inside(void);

#endif
