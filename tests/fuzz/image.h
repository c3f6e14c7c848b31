/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Small pools with known contents on simulated media, and where their structures are. An edit can
 * change bytes as they are, or change a structure and put its checks right, so that what follows
 * the checks is reached.
 */
#ifndef PMKV_TESTS_FUZZ_IMAGE_H
#define PMKV_TESTS_FUZZ_IMAGE_H

#include "kv/record.h"
#include "pmkv.h"
#include "recovery/media.h"
#include "recovery/superblock.h"
#include "target.h"

/* A record of the pool. */
struct image_record {
    uint32_t segment, row, offset; /* in the row's payload */
    uint64_t generation;
    struct record_header h;
};

struct image {
    struct media *medium; /* what the pool looks like; edits go to a copy of it */
    struct superblock super;
    struct layout layout;
    uint64_t *generations; /* of each segment: 0 when free */
    struct image_record *records;
    uint32_t record_count;
};

enum { IMAGE_KEYS = 24, IMAGE_VALUE_MAX = 12000 };
size_t image_key(char to[16], unsigned key);
/* Values carry key and version, so that one which was never put is known. */
size_t image_value(uint8_t to[IMAGE_VALUE_MAX], unsigned key, unsigned version);

struct pmkv_options image_options(enum pmkv_geometry geometry);
/* Made at the first call; lives as long as the process. */
const struct image *image_of(enum pmkv_geometry geometry, bool crashed);

/* Applies the next edit of the input to `m`, a copy of the image's medium. Returns whether it put
 * checks right: what the pool then holds is forged. */
bool image_edit(const struct image *image, struct media *m, struct input *in);

#endif
