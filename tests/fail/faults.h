/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Calls that fail. The programs of this folder are linked with --wrap for each call of calls.txt
 * that can fail; while armed, calls of the program and the static library are counted over all
 * threads, and the Nth fails as planned. Criterion, in a library of its own, is not touched.
 *
 * Success of fsync and fdatasync is not waited for: no test here cuts the power.
 */
#ifndef PMKV_TESTS_FAIL_FAULTS_H
#define PMKV_TESTS_FAIL_FAULTS_H

#include <stdbool.h>

enum faults_class {
    FAULTS_MEMORY = 1, /* what gives memory */
    FAULTS_SYSTEM = 2, /* all other calls */
    FAULTS_ALL = 3,
};

/* The next arming: of the classes the call `nth`, from 1. Variants below half of a call's count
 * fail it once, each with another error; the others do the same again to every later call of the
 * same function (an interruption and a short count: a few times). */
void faults_plan(enum faults_class classes, unsigned nth, unsigned variant);
/* The same, but the first call of that function, once, with its first error. */
void faults_plan_call(const char *call);
void faults_arm(void);
void faults_disarm(void);

/* Of the last arming. */
struct faults_report {
    bool reached;      /* there was an Nth call */
    unsigned variants; /* of the call that was reached */
    bool transient;    /* interrupted or short: the caller must get over it */
    bool lasting;      /* all later calls of the kind failed too */
    bool sync; /* it was fsync or fdatasync: the file is in doubt until it is opened again */
    const char *call;
};
struct faults_report faults_report(void);
/* "call 17 (pwrite) fails with ENOSPC from then on" */
const char *faults_text(void);

#endif
