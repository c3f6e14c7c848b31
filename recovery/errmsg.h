/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The calling thread's error message. The detector writes the exact fact (err_fact), each caller
 * that adds knowledge puts its phrase in front (err_phrase): "open pool /mnt/p: superblock copy 0:
 * checksum mismatch (stored .., computed ..)".
 */
#ifndef PMKV_RECOVERY_ERRMSG_H
#define PMKV_RECOVERY_ERRMSG_H

/* Replaces the message and returns `code`, so that a detector can return err_fact(-EIO, ...). */
int err_fact(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "phrase: " in front of the message and returns `code`. */
int err_phrase(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* No message: the status says all. */
void err_clear(void);
/* The message; "" when there was none. */
const char *err_message(void);

#endif
