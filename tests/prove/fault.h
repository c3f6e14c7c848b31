/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Faults on crash images. Each hits one page (or loss unit). A plan within the redundancy has at
 * most as many as every row survives; one beyond it has up to three more, all near one row; an
 * unlimited one has dozens anywhere.
 */
#ifndef PMKV_TESTS_PROVE_FAULT_H
#define PMKV_TESTS_PROVE_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recovery/media.h"

/* X(name, what): the first ones flip a bit in that area. */
#define FAULT_MAP(X)                                                                               \
    X(FLIP_HEADER, "bit flip: record header")                                                      \
    X(FLIP_KEY, "bit flip: key")                                                                   \
    X(FLIP_VALUE, "bit flip: value")                                                               \
    X(FLIP_PADDING, "bit flip: padding")                                                           \
    X(FLIP_CHECK, "bit flip: check line")                                                          \
    X(FLIP_PARITY, "bit flip: parity")                                                             \
    X(FLIP_TWIN, "bit flip: twin")                                                                 \
    X(FLIP_SUPERBLOCK, "bit flip: superblock")                                                     \
    X(FLIP_TABLE, "bit flip: segment table")                                                       \
    X(FLIP_SEGMENT, "bit flip: segment header")                                                    \
    X(FLIP_SUMMARY, "bit flip: summary")                                                           \
    X(ZERO_LINE, "zeros: line")                                                                    \
    X(ZERO_GROUP, "zeros: 256 B")                                                                  \
    X(ZERO_SECTOR, "zeros: 512 B")                                                                 \
    X(POISON_PAGE, "poison: 4 KiB")                                                                \
    X(POISON_UNIT, "poison: loss unit of 16 KiB")                                                  \
    X(STALE_GROUP, "stale: 256 B")                                                                 \
    X(STALE_PAGE, "stale: page (lost write)")                                                      \
    X(MISDIRECTED, "misdirected record")                                                           \
    X(HALF_REPAIR, "repair left half done")                                                        \
    X(CLEAR_FAILS, "poison that cannot be cleared")                                                \
    X(POISON_LATE, "poison that appears while it reads")

enum fault {
#define FAULT_ENUM(name, what) FAULT_##name,
    FAULT_MAP(FAULT_ENUM)
#undef FAULT_ENUM
        FAULTS
};
extern const char *const fault_names[FAULTS];
#define FAULT_AREAS ((unsigned)FAULT_FLIP_SUMMARY + 1) /* those that flip a bit somewhere */

enum fault_mode { FAULTS_NONE, FAULTS_WITHIN, FAULTS_BEYOND, FAULTS_UNLIMITED, FAULT_MODES };

struct fault_plan {
    enum fault_mode mode;
    bool cannot_clear; /* a page stays bad */
    uint32_t headers;  /* faults in segment headers */
    bool stale_header; /* one of them took a header back to an earlier state */
    uint64_t late_in;  /* poison after so many loads of the recovery; 0: none */
    uint64_t late_off; /* there, or 0: where that load is */
    uint64_t first;    /* where the first one is */
};

struct run;
/* Draws a plan from `salt` and changes the image; says in `text` what was done. When the plan names
 * a first fault, the new ones come near it. */
void fault_plant(struct run *r, struct media *image, enum fault_mode mode, uint64_t salt,
                 struct fault_plan *plan, char *text, size_t room);

#endif
