/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What is asked of devices, where there are none: refused with a reason, also when asking fails. */
#include <criterion/criterion.h>
#include <sys/sysmacros.h>

#include "fail_kit.h"
#include "recovery/errmsg.h"
#include "recovery/media/nd.h"

TestSuite(fail_devices, .timeout = 60);

static void inject_error(void *arg)
{
    (void)arg;
    kit_forget_message();
    faults_arm();
    int rc = nd_inject_error(makedev(1, 3), 0, 4096);
    faults_disarm();
    kit_that(rc < 0, "an error was injected into /dev/null");
    kit_judge_message(PMKV_E_UNSUPPORTED);
}

Test(fail_devices, an_error_is_not_injected_into_what_is_no_persistent_memory)
{
    kit_every_failure_of("nd_inject_error", FAULTS_ALL, inject_error, NULL);
}
