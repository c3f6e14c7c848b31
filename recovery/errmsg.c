/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "errmsg.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024];

int err_fact(int code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(message, sizeof message, format, ap);
    va_end(ap);
    return code;
}

int err_phrase(int code, const char *format, ...)
{
    char phrase[sizeof message];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(phrase, sizeof phrase, format, ap);
    va_end(ap);
    if (n < 0)
        return code;
    size_t used = (size_t)n < sizeof phrase ? (size_t)n : sizeof phrase - 1;
    snprintf(phrase + used, sizeof phrase - used, ": %s", message);
    memcpy(message, phrase, sizeof message);
    return code;
}

void err_clear(void)
{
    message[0] = 0;
}

const char *err_message(void)
{
    return message;
}
