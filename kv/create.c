/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Creating a pool: headers of free segments, the table, then the superblock, which makes it a pool.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "open.h"
#include "segment.h"
#include "super.h"

static const struct {
    uint32_t data, parity;
} columns_of[] = {
    [PMKV_PARITY] = {8, 1}, [PMKV_DOUBLE] = {8, 2}, [PMKV_MIRROR] = {1, 1}, [PMKV_NONE] = {1, 0}};

enum { DEFAULT_ROW_PAGES = 32 };
#define DEFAULT_POOL_BYTES (256ull << 20)

/* Segments grow with the pool, so that cleaning stays fine-grained and headers stay few. */
static uint32_t default_segment_rows(uint64_t pool_bytes)
{
    return pool_bytes < 256ull << 20 ? 8 : pool_bytes < 4ull << 30 ? 16 : 32;
}

static enum pmkv_status plan(const struct pmkv_options *opts, uint64_t bytes, uint64_t medium_unit,
                             struct layout *out)
{
    uint32_t data = columns_of[opts->geometry].data, parity = columns_of[opts->geometry].parity;
    uint32_t row_pages = opts->row_pages ? opts->row_pages : DEFAULT_ROW_PAGES;
    uint32_t rows = opts->segment_rows ? opts->segment_rows : default_segment_rows(bytes);
    uint64_t unit = opts->loss_unit_bytes ? opts->loss_unit_bytes : medium_unit;
    if (unit < medium_unit)
        return fail(PMKV_E_INVALID, "a loss unit of %llu bytes is less than the medium's, %llu",
                    (unsigned long long)unit, (unsigned long long)medium_unit);
    /* The twins of an open row, row_pages in one column, must fit in a slice. */
    if (data > 1 && rows % data != 0)
        return fail(PMKV_E_INVALID, "segment_rows is %u; it must be a multiple of %u here", rows,
                    data);
    int rc = layout_compute(out, bytes & ~(uint64_t)(PAGE_BYTES - 1), unit, data, parity, row_pages,
                            rows);
    return rc ? status_of(rc) : PMKV_OK;
}

static enum pmkv_status fresh_superblock(const struct layout *l, struct superblock *sb)
{
    *sb = (struct superblock){.magic = SUPERBLOCK_MAGIC,
                              .format_version = FORMAT_VERSION,
                              .version = 1,
                              .pool_bytes = l->pool_bytes,
                              .loss_unit = l->loss_unit,
                              .data_columns = l->data_columns,
                              .parity_columns = l->parity_columns,
                              .row_pages = l->row_pages,
                              .segment_rows = l->segment_rows,
                              .created_time = (uint64_t)time(NULL),
                              .counter_ceiling = 16,
                              .table_version = 1,
                              .clean = 1};
    if (TEMP_FAILURE_RETRY(getrandom(sb->uuid, sizeof sb->uuid, 0)) != sizeof sb->uuid ||
        TEMP_FAILURE_RETRY(getrandom(&sb->secret, sizeof sb->secret, 0)) != sizeof sb->secret)
        return fail(PMKV_E_IO, "no random bytes for the pool's identity");
    sb->uuid[6] = (sb->uuid[6] & 0x0f) | 0x40; /* RFC 4122, version 4 */
    sb->uuid[8] = (sb->uuid[8] & 0x3f) | 0x80;
    return PMKV_OK;
}

/* The whole page is stored, so that what a device held before is gone. */
static int store_free_header(struct pmkv *kv, uint32_t segment, uint32_t column)
{
    _Alignas(64) uint8_t page[PAGE_BYTES] = {0};
    struct segment_header h;
    segment_header_encode(kv, segment, (uint16_t)column, &h);
    memcpy(page + segment_header_line(h.version), &h, sizeof h);
    uint64_t off = layout_slice_off(&kv->vol.layout, segment, column);
    if (media_store(kv->vol.media, off, page, PAGE_BYTES) == PAGE_BYTES)
        return 0;
    return media_recovery_write(media_recover(kv->vol.media, off), page);
}

static int store_empty_pool(struct pmkv *kv)
{
    int rc = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        atomic_store(&kv->segments[i].state, SEGMENT_FREE);
        kv->segments[i].header_version = 1;
        for (uint32_t c = 0; c < kv->vol.layout.columns && rc == 0; c++)
            rc = store_free_header(kv, i, c);
    }
    if (rc == 0)
        rc = media_drain(kv->vol.media);
    if (rc == 0)
        rc = table_write(kv);
    if (rc == 0)
        rc = superblock_write(kv->vol.media, &kv->vol.layout, &kv->super);
    return rc;
}

enum pmkv_status store_format(struct media *media, const struct pmkv_options *opts)
{
    struct pmkv *kv = NULL;
    if (posix_memalign((void **)&kv, 64, sizeof *kv))
        return fail(PMKV_E_NO_MEMORY, "no memory to make a pool");
    memset(kv, 0, sizeof *kv);
    kv->vol.media = media;
    pthread_mutex_init(&kv->work_lock, NULL);
    pthread_mutex_init(&kv->event_lock, NULL);
    enum pmkv_status s = plan(opts, media->size, media->loss_unit, &kv->vol.layout);
    if (s == PMKV_OK)
        s = fresh_superblock(&kv->vol.layout, &kv->super);
    if (s == PMKV_OK) {
        kv->vol.secret = kv->super.secret;
        kv->segments = calloc(kv->vol.layout.segments, sizeof *kv->segments);
        int rc = kv->segments
                     ? store_empty_pool(kv)
                     : err_fact(-ENOMEM, "no memory for %u segments", kv->vol.layout.segments);
        s = rc ? status_of(rc) : PMKV_OK;
    }
    free(kv->segments);
    free(kv->pending.pages);
    free(kv);
    return s;
}

/* A device that holds a pool already is left alone. */
static enum pmkv_status refuse_pool(struct media *media)
{
    struct superblock sb;
    struct layout l;
    uint32_t good;
    if (media->backend == MEDIA_DEVDAX &&
        superblock_find(media, &sb, &l, &good) != SUPERBLOCK_FOREIGN)
        return fail(PMKV_E_EXISTS, "the device holds a pool already");
    return PMKV_OK;
}

enum pmkv_status pmkv_create(const char *path, const struct pmkv_options *given)
{
    struct pmkv_options opts;
    struct layout wanted;
    enum pmkv_status s = path ? options_take(given, &opts) : fail(PMKV_E_INVALID, "path is NULL");
    if (s)
        return s;
    if (opts.pool_bytes == 0)
        opts.pool_bytes = DEFAULT_POOL_BYTES;
    struct media_probe probe;
    int rc = media_probe(path, &probe);
    if (rc) {
        err_phrase(0, "create pool %s", path);
        return status_of(rc);
    }
    if (probe.backend != MEDIA_DEVDAX) /* before anything is made: the size is known */
        s = plan(&opts, opts.pool_bytes, probe.loss_unit, &wanted);
    struct media *media = NULL;
    if (s == PMKV_OK) {
        struct media_args args = {.backend = (enum media_backend)opts.backend,
                                  .filter_only = opts.sigbus == PMKV_SIGBUS_FILTER_ONLY,
                                  .create_bytes = opts.pool_bytes};
        rc = media_create(path, &args, &media);
        s = rc == -EISDIR ? PMKV_E_EXISTS : rc ? status_of(rc) : refuse_pool(media);
        if (s == PMKV_OK) {
            s = store_format(media, &opts);
            if (s && probe.backend != MEDIA_DEVDAX)
                unlink(path);
        }
        media_close(&media);
    }
    if (s)
        err_phrase(0, "create pool %s", path);
    return s;
}
