/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Writers that are killed with kill -9, and the check of what they left.
 *
 * Each key belongs to one writer, which writes its versions 1, 2, 3 ... one after the other. After
 * an operation returned, and only then, one line goes to the oracle, a plain file outside the pool:
 *
 *     k KEY VERSION       one put or delete of one key
 *     b GROUP VERSION     one batch that puts the same version to every key of a group
 *
 * Afterwards the pool must hold, for each key, the last version of the oracle or the next one,
 * which was on its way when the process died: entirely, and for a group in all of its keys.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OWN_KEYS "pmkv-demo/kill/"
enum { KEYS = 4000, GROUPS = 200, GROUP_KEYS = 8, KEY_ROOM = 64, MAX_WRITERS = 64 };

/* Versions by key and by group; 0: never. */
struct versions {
    uint64_t key[KEYS];
    uint64_t group[GROUPS];
    uint64_t lines;
};

struct killed {
    struct pmkv *kv;
    int oracle;
    unsigned writers;
    atomic_ullong acknowledged;
    struct versions now;
};

struct kill_thread {
    pthread_t thread;
    struct killed *killed;
    unsigned number;
    uint64_t random;
    unsigned char value[VALUE_MAX_BYTES];
};

static size_t key_make(char *key, unsigned k)
{
    return (size_t)snprintf(key, KEY_ROOM, OWN_KEYS "%05u", k);
}

static size_t group_key_make(char *key, unsigned group, unsigned member)
{
    return (size_t)snprintf(key, KEY_ROOM, OWN_KEYS "batch/%03u/%u", group, member);
}

/* The number that values of a group's key carry: apart from those of single keys. */
static uint64_t group_key_number(unsigned group, unsigned member)
{
    return 1000000 + (uint64_t)group * GROUP_KEYS + member;
}

/* Batches only put: their versions leave out those that mean delete. */
static uint64_t group_next(uint64_t version)
{
    return version_is_delete(version + 1) ? version + 2 : version + 1;
}

/* --- the oracle ------------------------------------------------------------------------------- */

static void acknowledge(struct killed *killed, char kind, unsigned number, uint64_t version)
{
    char line[64];
    int bytes =
        snprintf(line, sizeof line, "%c %u %llu\n", kind, number, (unsigned long long)version);
    if (write(killed->oracle, line, (size_t)bytes) != bytes)
        die("cannot write to the oracle: %s", strerror(errno));
    atomic_fetch_add_explicit(&killed->acknowledged, 1, memory_order_relaxed);
}

static void note_line(struct versions *acked, const char *line)
{
    char kind;
    unsigned number;
    unsigned long long version;
    if (sscanf(line, "%c %u %llu", &kind, &number, &version) != 3 || (kind != 'k' && kind != 'b') ||
        number >= (kind == 'k' ? KEYS : GROUPS))
        die("the oracle has a line that is not ours: %s", line);
    uint64_t *last = kind == 'k' ? &acked->key[number] : &acked->group[number];
    uint64_t next = kind == 'k' ? *last + 1 : group_next(*last);
    if (version != next)
        die("the oracle does not count: %c %u goes from %llu to %llu", kind, number,
            (unsigned long long)*last, version);
    *last = version;
    acked->lines++;
}

/* A last line without its end was cut by the kill: that operation is as if not acknowledged. */
static void oracle_read(const char *path, struct versions *acked)
{
    memset(acked, 0, sizeof *acked);
    FILE *file = fopen(path, "re");
    if (!file)
        die("cannot open the oracle %s: %s", path, strerror(errno));
    char line[128];
    while (fgets(line, sizeof line, file))
        if (strchr(line, '\n'))
            note_line(acked, line);
    if (ferror(file))
        die("cannot read the oracle %s", path);
    fclose(file);
}

/* --- the check -------------------------------------------------------------------------------- */

/* Reads one key; returns the version found, 0 for none. A failure is counted. */
static uint64_t read_version(struct pmkv *kv, const char *key, size_t key_bytes, uint64_t number)
{
    static unsigned char value[VALUE_MAX_BYTES];
    size_t bytes = 0;
    uint64_t version = 0;
    enum pmkv_status status = pmkv_get(kv, key, key_bytes, value, sizeof value, &bytes);
    if (status == PMKV_E_NOT_FOUND)
        return 0;
    if (status != PMKV_OK)
        check_failed("%s: %s (%s)", key, pmkv_status_name(status), pmkv_errormsg());
    else if (!value_check(value, bytes, number, &version))
        check_failed("%s: wrong bytes", key);
    return version;
}

/* The version that a key is at now; `present` says if a record is there. */
static uint64_t check_key(struct pmkv *kv, unsigned k, uint64_t acked, bool *present)
{
    char key[KEY_ROOM];
    uint64_t found = read_version(kv, key, key_make(key, k), k);
    *present = found != 0;
    uint64_t next = acked + 1;
    if (found == acked || found == next)
        return found;
    if (found == 0 && version_is_delete(acked))
        return acked;
    if (found == 0 && version_is_delete(next))
        return next;
    check_failed("%s: version %llu was acknowledged, %llu is there", key, (unsigned long long)acked,
                 (unsigned long long)found);
    return acked;
}

static uint64_t check_group(struct pmkv *kv, unsigned group, uint64_t acked)
{
    uint64_t first = 0;
    for (unsigned i = 0; i < GROUP_KEYS; i++) {
        char key[KEY_ROOM];
        size_t key_bytes = group_key_make(key, group, i);
        uint64_t found = read_version(kv, key, key_bytes, group_key_number(group, i));
        if (i == 0)
            first = found;
        if (found != first)
            check_failed("%s: half a batch: versions %llu and %llu", key, (unsigned long long)first,
                         (unsigned long long)found);
    }
    if (first != acked && first != group_next(acked))
        check_failed("group %u: version %llu was acknowledged, %llu is there", group,
                     (unsigned long long)acked, (unsigned long long)first);
    return first;
}

static int count_ours(void *arg, const struct pmkv_item *item)
{
    if (item->key_bytes >= strlen(OWN_KEYS) && memcmp(item->key, OWN_KEYS, strlen(OWN_KEYS)) == 0)
        ++*(uint64_t *)arg;
    return 0;
}

/* Compares the pool with the oracle; `now` gets the versions that are there. */
static void check_all(struct pmkv *kv, const struct versions *acked, struct versions *now)
{
    uint64_t records = 0, shown = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        bool present;
        now->key[k] = check_key(kv, k, acked->key[k], &present);
        records += present;
    }
    for (unsigned g = 0; g < GROUPS; g++) {
        now->group[g] = check_group(kv, g, acked->group[g]);
        records += now->group[g] ? GROUP_KEYS : 0;
    }
    enum pmkv_status status = pmkv_foreach(kv, PMKV_FOREACH_KEYS_ONLY, count_ours, &shown);
    if (status != PMKV_OK)
        die_status(status, "scan");
    if (shown != records)
        check_failed("a scan shows %llu records, reads find %llu", (unsigned long long)shown,
                     (unsigned long long)records);
}

static void open_pool(const struct kill_options *options, struct pmkv **kv)
{
    enum pmkv_status status = pmkv_open(options->path, NULL, kv);
    if (status != PMKV_OK)
        die_status(status, "open");
}

static void close_pool(struct pmkv **kv)
{
    enum pmkv_status status = pmkv_close(kv);
    if (status != PMKV_OK)
        die_status(status, "close");
}

enum demo_exit kill_verify(const struct kill_options *options)
{
    static struct versions acked, now;
    oracle_read(options->oracle, &acked);
    struct pmkv *kv;
    open_pool(options, &kv);
    struct pmkv_info info;
    enum pmkv_status status = pmkv_info(kv, &info);
    if (status != PMKV_OK)
        die_status(status, "info");
    check_all(kv, &acked, &now);
    if (acked.lines == 0)
        check_failed("the oracle is empty: nothing was checked");
    if (options->expect_recovery && !info.recovered)
        check_failed("the pool was closed in good order: nothing was killed");
    close_pool(&kv);
    printf("verify: %llu acknowledged operations on %d keys and %d batches of %d, recovery %s: "
           "%llu failed checks\n",
           (unsigned long long)acked.lines, KEYS, GROUPS, GROUP_KEYS,
           info.recovered ? "ran" : "was not needed", (unsigned long long)checks_failed());
    return checks_failed() ? DEMO_FAILED : DEMO_OK;
}

/* --- the writers ------------------------------------------------------------------------------ */

static void write_key(struct kill_thread *t, unsigned k)
{
    struct killed *killed = t->killed;
    char key[KEY_ROOM];
    size_t key_bytes = key_make(key, k);
    uint64_t version = killed->now.key[k] + 1;
    enum pmkv_status status;
    if (version_is_delete(version))
        status = pmkv_delete(killed->kv, key, key_bytes);
    else
        status = pmkv_put(killed->kv, key, key_bytes, t->value, value_make(t->value, k, version));
    if (status != PMKV_OK)
        die_status(status, "write %s", key);
    killed->now.key[k] = version;
    acknowledge(killed, 'k', k, version);
}

static void write_group(struct kill_thread *t, unsigned group, struct pmkv_batch *batch)
{
    struct killed *killed = t->killed;
    uint64_t version = group_next(killed->now.group[group]);
    pmkv_batch_clear(batch);
    enum pmkv_status status = PMKV_OK;
    for (unsigned i = 0; i < GROUP_KEYS && status == PMKV_OK; i++) {
        char key[KEY_ROOM];
        size_t key_bytes = group_key_make(key, group, i);
        size_t bytes = value_make(t->value, group_key_number(group, i), version);
        status = pmkv_batch_put(batch, key, key_bytes, t->value, bytes);
    }
    if (status == PMKV_OK)
        status = pmkv_write(killed->kv, batch);
    if (status != PMKV_OK)
        die_status(status, "write group %u", group);
    killed->now.group[group] = version;
    acknowledge(killed, 'b', group, version);
}

/* Writer n has the keys and groups whose number is n modulo the writers. */
static void *writer_run(void *arg)
{
    struct kill_thread *t = arg;
    unsigned writers = t->killed->writers;
    struct pmkv_batch *batch;
    enum pmkv_status status = pmkv_batch_new(&batch);
    if (status != PMKV_OK)
        die_status(status, "new batch");
    for (;;) {
        uint64_t r = next_random(&t->random);
        bool grouped = r % 16 == 0;
        unsigned most = grouped ? GROUPS : KEYS;
        unsigned n = (unsigned)((r >> 8) % most);
        n = n - n % writers + t->number;
        if (n >= most)
            continue;
        if (grouped)
            write_group(t, n, batch);
        else
            write_key(t, n);
    }
    return NULL;
}

/* An operation that the last kill cut off after it was done is acknowledged now: it was seen. */
static void acknowledge_seen(struct killed *killed, const struct versions *acked)
{
    for (unsigned k = 0; k < KEYS; k++)
        if (killed->now.key[k] != acked->key[k])
            acknowledge(killed, 'k', k, killed->now.key[k]);
    for (unsigned g = 0; g < GROUPS; g++)
        if (killed->now.group[g] != acked->group[g])
            acknowledge(killed, 'b', g, killed->now.group[g]);
}

/* The kill may have left a line without its end; the next line must not grow on it. */
static void oracle_cut_tail(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char last = '\n';
    while (end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n')
        end--;
    if (end < 0 || ftruncate(fd, end) != 0)
        die("cannot cut the oracle: %s", strerror(errno));
}

enum demo_exit kill_write(const struct kill_options *options)
{
    static struct versions acked;
    static struct killed killed;
    if (options->writers < 1 || options->writers > MAX_WRITERS)
        die("between 1 and %d writers", MAX_WRITERS);
    killed.writers = options->writers;
    killed.oracle = open(options->oracle, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (killed.oracle < 0)
        die("cannot open the oracle %s: %s", options->oracle, strerror(errno));
    oracle_cut_tail(killed.oracle);
    oracle_read(options->oracle, &acked);
    open_pool(options, &killed.kv);
    check_all(killed.kv, &acked, &killed.now);
    if (checks_failed())
        return DEMO_FAILED;
    acknowledge_seen(&killed, &acked);

    struct kill_thread *threads = calloc(options->writers, sizeof *threads);
    if (!threads)
        die("out of memory");
    for (unsigned i = 0; i < options->writers; i++) {
        threads[i] = (struct kill_thread){.killed = &killed, .number = i};
        threads[i].random = mix64(acked.lines * MAX_WRITERS + i);
        if (pthread_create(&threads[i].thread, NULL, writer_run, &threads[i]) != 0)
            die("cannot start a thread");
    }
    double begin = now_seconds();
    while (now_seconds() - begin < options->seconds)
        sleep_seconds(0.1);
    printf("write: %llu operations acknowledged; nobody killed us in %.0f s\n",
           (unsigned long long)atomic_load(&killed.acknowledged), options->seconds);
    fflush(stdout);
    _exit(DEMO_OK); /* with the writers running: a kill of its own */
}
