/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The message of a failure: a fact, and the phrases put in front of it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <wchar.h>

#include "recovery/errmsg.h"

TestSuite(errmsg, .timeout = 60);

enum { ROOM = 1024 };

Test(errmsg, each_caller_puts_its_phrase_in_front)
{
    cr_assert_eq(err_fact(-EIO, "check %#x, computed %#x", 1, 2), -EIO);
    cr_assert_eq(err_phrase(-EBADMSG, "page %d", 7), -EBADMSG);
    cr_assert_eq(err_phrase(-EBADMSG, "open"), -EBADMSG);
    cr_assert_str_eq(err_message(), "open: page 7: check 0x1, computed 0x2");
    err_clear();
    cr_assert_str_eq(err_message(), "");
}

Test(errmsg, what_does_not_fit_is_cut_at_its_end)
{
    char path[2 * ROOM];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = 0;
    err_fact(0, "the fact");
    cr_assert_eq(err_phrase(-EIO, "%s", path), -EIO);
    cr_assert_eq(strlen(err_message()), ROOM - 1);
    cr_assert_eq(strspn(err_message(), "p"), ROOM - 1);
    err_fact(0, "%s", path);
    err_phrase(0, "open");
    cr_assert_eq(strlen(err_message()), ROOM - 1);
    cr_assert_eq(strncmp(err_message(), "open: ppp", 9), 0, "%.20s", err_message());
}

/* A character that the locale cannot write ends the format; the fact must not go with it. */
Test(errmsg, a_phrase_that_cannot_be_written_leaves_the_fact)
{
    static const wchar_t no_character[] = {0x7fffffff, 0};
    err_fact(0, "the fact");
    cr_assert_eq(err_phrase(-EIO, "%ls", no_character), -EIO);
    cr_assert_str_eq(err_message(), "the fact");
}
