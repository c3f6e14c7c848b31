/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A copy-on-write image of a medium: leaves of pages, both counted. What is counted more than once
 * is never written; what was never written is NULL and reads as zeros. Images may share with images
 * of other threads; one image is used by one thread at a time.
 */
#ifndef PMKV_RECOVERY_MEDIA_SIM_IMAGE_H
#define PMKV_RECOVERY_MEDIA_SIM_IMAGE_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

struct sim_leaf;

struct sim_image {
    struct sim_leaf **leaves;
    size_t leaf_count;
};

void image_init(struct sim_image *image, uint64_t bytes);
/* Shares everything; *to is not initialised. */
void image_copy(struct sim_image *to, const struct sim_image *from);
void image_free(struct sim_image *image);
void image_read(const struct sim_image *image, uint64_t off, void *dst, size_t bytes);
void image_write(struct sim_image *image, uint64_t off, const void *src, size_t bytes);
/* Of whole pages; kept with the pages, which images share, so that it costs little. */
uint64_t image_hash(const struct sim_image *image, uint64_t off, uint64_t bytes);

/* Memory or abort: a test that runs out of it must not go on as if the medium had failed. */
void *sim_alloc(size_t bytes); /* zeroed */
void *sim_realloc(void *old, size_t bytes);

#endif
