/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What LevelDB and RocksDB share: RocksDB's C interface has the calls of LevelDB's under names of
 * its own. The file that includes this, once, defines LSM(name) and struct db with `db`, `read` and
 * `write`.
 */

/* Takes the message. */
static enum engine_status failed(char *error)
{
    enum engine_status status = engine_fail("%s", error);
    LSM(free)(error);
    return status;
}

static enum engine_status put(void *session, const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes)
{
    struct db *db = session;
    char *error = NULL;
    LSM(put)(db->db, db->write, key, key_bytes, value, value_bytes, &error);
    return error ? failed(error) : ENGINE_OK;
}

static enum engine_status del(void *session, const void *key, size_t key_bytes)
{
    struct db *db = session;
    char *error = NULL;
    LSM(delete)(db->db, db->write, key, key_bytes, &error);
    return error ? failed(error) : ENGINE_OK;
}

static enum engine_status write_batch(void *session, const struct engine_write *puts,
                                      unsigned count, size_t key_bytes, size_t value_bytes)
{
    struct db *db = session;
    char *error = NULL;
    LSM(writebatch_t) *batch = LSM(writebatch_create)();
    for (unsigned i = 0; i < count; i++)
        LSM(writebatch_put)(batch, puts[i].key, key_bytes, puts[i].value, value_bytes);
    LSM(write)(db->db, db->write, batch, &error);
    LSM(writebatch_destroy)(batch);
    return error ? failed(error) : ENGINE_OK;
}

static enum engine_status seek(void *session, const void *key, size_t key_bytes, unsigned count,
                               engine_visit_fn visit, void *arg, unsigned *seen)
{
    struct db *db = session;
    char *error = NULL;
    LSM(iterator_t) *it = LSM(create_iterator)(db->db, db->read);
    *seen = 0;
    for (LSM(iter_seek)(it, key, key_bytes); LSM(iter_valid)(it) && *seen < count; ++*seen) {
        size_t k, v;
        const char *found_key = LSM(iter_key)(it, &k);
        const char *found = LSM(iter_value)(it, &v);
        visit(arg, found_key, k, found, v);
        LSM(iter_next)(it);
    }
    LSM(iter_get_error)(it, &error);
    LSM(iter_destroy)(it);
    return error ? failed(error) : ENGINE_OK;
}
