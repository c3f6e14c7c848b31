/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Systems that do not do what they say: lost writes, zeros that are not kept, holes that come and
 * go, other processes in between. The system calls below stand before those of the C library. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"
#include "recovery/media/holes.h"

TestSuite(lying_system, .timeout = 60);

/* --- the calls -------------------------------------------------------------------------------- */

enum lie {
    NONE,
    WRITE_IS_LOST,    /* it says that all is written */
    WRITE_MOVES_NONE, /* it says 0 */
    NO_DIRECT_READ,   /* EINVAL */
    NO_FALLOCATE,     /* EOPNOTSUPP */
    FILE_HAS_GROWN,   /* another process wrote to it */
    ZEROS_ARE_HOLES,  /* what was written is listed as a hole */
    HOLE_IS_FILLED,   /* between two looks at it */
    DISK_IS_FULL,     /* and the file cannot be cut */
    PAGE_IS_GONE,     /* it cannot be written, nor be punched out */
    FILE_ENDS_EARLY,  /* cut while its holes are listed */
};
static enum lie lie;

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t off)
{
    errno = lie == DISK_IS_FULL ? ENOSPC : EIO;
    if (lie == DISK_IS_FULL || lie == PAGE_IS_GONE)
        return -1;
    if (lie == WRITE_IS_LOST || lie == WRITE_MOVES_NONE)
        return lie == WRITE_IS_LOST ? (ssize_t)bytes : 0;
    return syscall(SYS_pwrite64, fd, from, bytes, off);
}

ssize_t pread(int fd, void *to, size_t bytes, off_t off)
{
    errno = EINVAL;
    return lie == NO_DIRECT_READ ? -1 : syscall(SYS_pread64, fd, to, bytes, off);
}

int fallocate(int fd, int mode, off_t off, off_t bytes)
{
    errno = EOPNOTSUPP;
    return lie == NO_FALLOCATE || lie == PAGE_IS_GONE
               ? -1
               : (int)syscall(SYS_fallocate, fd, mode, off, bytes);
}

int ftruncate(int fd, off_t bytes)
{
    errno = EIO;
    return lie == DISK_IS_FULL ? -1 : (int)syscall(SYS_ftruncate, fd, bytes);
}

int fstat(int fd, struct stat *to)
{
    int rc = (int)syscall(SYS_fstat, fd, to);
    if (rc == 0 && lie == FILE_HAS_GROWN)
        to->st_size = 8;
    return rc;
}

off_t lseek(int fd, off_t off, int whence)
{
    errno = ENXIO;
    if (lie == FILE_ENDS_EARLY && whence == SEEK_HOLE)
        return -1;
    if (lie == ZEROS_ARE_HOLES)
        return whence == SEEK_HOLE ? off : -1;
    if (lie == HOLE_IS_FILLED && whence == SEEK_DATA) {
        lie = NONE;
        return off;
    }
    return syscall(SYS_lseek, fd, off, whence);
}

/* --- writes that are lost --------------------------------------------------------------------- */

static char path[KIT_PATH_BYTES];

static void a_lost_recovery_write(const struct kit_place *place, const char *message)
{
    kit_path(path, place, "lost");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    kit_store(m, PAGE_BYTES, page, PAGE_BYTES);
    kit_page(page, 2);
    lie = WRITE_IS_LOST;
    int rc = media_recovery_write(media_recover(m, PAGE_BYTES), page);
    lie = NONE;
    cr_assert_eq(rc, -EIO, "%s: %d", place->name, rc);
    cr_assert(strstr(err_message(), message), "%s: %s", place->name, err_message());
    rc = media_recovery_write(media_recover(m, PAGE_BYTES), page);
    cr_assert_eq(rc, 0, "%s: %d: %s", place->name, rc, err_message());
    cr_assert(kit_page_is(m, PAGE_BYTES, 2));
    media_close(&m);
}

Test(lying_system, a_repair_that_did_not_reach_its_page_is_noticed)
{
    a_lost_recovery_write(kit_memory(), "reads back other than it was written");
    a_lost_recovery_write(kit_disk(), "reads back from the disk other than written");
}

Test(lying_system, a_write_that_moves_nothing_is_an_error_and_does_not_hang)
{
    kit_path(path, kit_disk(), "none");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    lie = WRITE_MOVES_NONE;
    size_t stored = media_store(m, 0, page, PAGE_BYTES);
    int rc = media_recovery_write(media_recover(m, 0), page);
    lie = NONE;
    cr_assert_eq(stored, 0, "%zu", stored);
    cr_assert_eq(rc, -EIO, "%d", rc);
    media_close(&m);
    kit_path(path, kit_disk(), "none2");
    struct media_args args = {.create_bytes = KIT_POOL_BYTES};
    lie = WRITE_MOVES_NONE;
    rc = media_create(path, &args, &m);
    lie = NONE;
    cr_assert_eq(rc, -ENOSPC, "%d: %s", rc, err_message());
    cr_assert_neq(access(path, F_OK), 0, "a file is left behind");
}

Test(lying_system, a_disk_that_cannot_be_read_past_the_cache_is_read_through_it)
{
    kit_path(path, kit_disk(), "cached");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    lie = NO_DIRECT_READ;
    int rc = media_recovery_write(media_recover(m, 0), page);
    lie = NONE;
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    cr_assert(kit_page_is(m, 0, 1));
    media_close(&m);
}

/* --- making a pool ---------------------------------------------------------------------------- */

static int create_under(enum lie what, const struct kit_place *place, const char *name)
{
    struct media *m = NULL;
    struct media_args args = {.create_bytes = KIT_POOL_BYTES};
    kit_path(path, place, name);
    if (what == FILE_HAS_GROWN || what == DISK_IS_FULL)
        close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    lie = what;
    int rc = media_create(path, &args, &m);
    lie = NONE;
    cr_assert_eq(rc == 0, m != NULL);
    if (m)
        cr_assert_eq(kit_bad_bytes(m, NULL), 0);
    media_close(&m);
    return rc;
}

Test(lying_system, without_fallocate_the_zeros_allocate_the_blocks)
{
    int rc = create_under(NO_FALLOCATE, kit_disk(), "slow");
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
}

Test(lying_system, a_file_system_that_keeps_no_zeros_is_refused)
{
    int rc = create_under(ZEROS_ARE_HOLES, kit_disk(), "zeros");
    cr_assert_eq(rc, -ENOTSUP, "%d", rc);
    cr_assert(strstr(err_message(), "keeps no blocks for zeros"), "%s", err_message());
    cr_assert_neq(access(path, F_OK), 0, "a file is left behind");
}

Test(lying_system, an_empty_file_that_another_process_fills_first_is_theirs)
{
    int rc = create_under(FILE_HAS_GROWN, kit_memory(), "theirs");
    cr_assert_eq(rc, -EEXIST, "%d", rc);
    cr_assert(strstr(err_message(), "another process"), "%s", err_message());
    cr_assert_eq(access(path, F_OK), 0, "the other's file was removed");
}

Test(lying_system, a_file_that_cannot_be_emptied_again_is_named)
{
    int rc = create_under(DISK_IS_FULL, kit_disk(), "stays");
    cr_assert_eq(rc, -ENOSPC, "%d", rc);
    cr_assert(strstr(err_message(), "could not be emptied again"), "%s", err_message());
    cr_assert(strstr(err_message(), "cannot allocate"), "%s", err_message());
}

Test(lying_system, a_page_that_cannot_even_be_punched_out_is_not_repaired)
{
    kit_path(path, kit_memory(), "gone");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    lie = PAGE_IS_GONE;
    int rc = media_recovery_write(media_recover(m, PAGE_BYTES), page);
    lie = NONE;
    cr_assert_eq(rc, -EIO, "%d", rc);
    cr_assert_eq(media_recovery_write(media_recover(m, PAGE_BYTES), page), 0);
    media_close(&m);
}

/* --- holes ------------------------------------------------------------------------------------ */

static int count_bytes(void *arg, uint64_t off, uint64_t bytes)
{
    (void)off;
    *(uint64_t *)arg += bytes;
    return 0;
}

static uint64_t bytes_in_holes(enum lie what)
{
    kit_path(path, kit_memory(), "holes");
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    uint64_t bytes = 0;
    cr_assert_eq(ftruncate(fd, 4 * PAGE_BYTES), 0);
    cr_assert_eq(pwrite(fd, "x", 1, 2 * PAGE_BYTES), 1); /* pages 0, 1 and 3 are holes */
    lie = what;
    cr_assert_eq(holes_foreach(fd, 4 * PAGE_BYTES, count_bytes, &bytes), 0);
    lie = NONE;
    close(fd);
    return bytes;
}

Test(lying_system, a_hole_that_is_filled_meanwhile_is_none_and_hides_no_other)
{
    cr_assert_eq(bytes_in_holes(NONE), 3 * PAGE_BYTES);
    cr_assert_eq(bytes_in_holes(HOLE_IS_FILLED), 3 * PAGE_BYTES, "it looks again from there");
    cr_assert_eq(bytes_in_holes(FILE_ENDS_EARLY), 0);
}
