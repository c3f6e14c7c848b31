/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "order.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct key_block keys; /* of an inner node: what its children but the first begin with */
    bool leaf;
};
struct leaf {
    struct node node;
    pthread_mutex_t lock; /* its keys */
    struct leaf *before, *after;
};
/* Child i has the keys from keys[i - 1] on, up to before keys[i]. */
struct inner {
    struct node node;
    struct node *child[BLOCK_KEYS + 1];
};

struct order {
    pthread_rwlock_t shape; /* all of inner nodes, the links of leaves */
    struct node *root;
    _Atomic bool incomplete;
    _Atomic uint64_t bytes; /* of all nodes */
};

static struct leaf *leaf_of(struct node *node)
{
    return (struct leaf *)node;
}
static struct inner *inner_of(struct node *node)
{
    return (struct inner *)node;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static size_t node_bytes(bool leaf)
{
    return leaf ? sizeof(struct leaf) : sizeof(struct inner);
}

static struct node *node_new(struct order *order, bool leaf)
{
    struct node *node = calloc(1, node_bytes(leaf));
    if (!node)
        return NULL;
    node->leaf = leaf;
    if (leaf)
        pthread_mutex_init(&leaf_of(node)->lock, NULL);
    atomic_fetch_add(&order->bytes, node_bytes(leaf));
    return node;
}

static void node_free(struct order *order, struct node *node)
{
    atomic_fetch_sub(&order->bytes, node_bytes(node->leaf) + node->keys.capacity);
    if (node->leaf)
        pthread_mutex_destroy(&leaf_of(node)->lock);
    block_free(&node->keys);
    free(node);
}

int order_new(struct order **out)
{
    struct order *order = calloc(1, sizeof *order);
    if (!order)
        return -ENOMEM;
    order->root = node_new(order, true);
    if (!order->root) {
        free(order);
        return -ENOMEM;
    }
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    /* Else writers that only share it could keep one that must split from ever having it. */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&order->shape, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    *out = order;
    return 0;
}

static void free_below(struct order *order, struct node *node)
{
    if (!node->leaf)
        for (uint32_t i = 0; i <= node->keys.count; i++)
            free_below(order, inner_of(node)->child[i]);
    node_free(order, node);
}

void order_free(struct order **order)
{
    if (!*order)
        return;
    free_below(*order, (*order)->root);
    pthread_rwlock_destroy(&(*order)->shape);
    free(*order);
    *order = NULL;
}

bool order_whole(const struct order *order)
{
    return !atomic_load_explicit(&order->incomplete, memory_order_acquire);
}

uint64_t order_dram_bytes(const struct order *order)
{
    return sizeof *order + atomic_load(&order->bytes);
}

/* Puts a key in a node, and counts what the node grew by. */
static int node_insert(struct order *order, struct node *node, uint32_t at, struct key_view key)
{
    uint32_t capacity = node->keys.capacity;
    int rc = block_insert(&node->keys, at, key);
    if (node->keys.capacity != capacity)
        atomic_fetch_add(&order->bytes, (uint64_t)node->keys.capacity - capacity);
    return rc;
}

/* --- down the tree ---------------------------------------------------------------------------- */

static uint32_t child_for(const struct node *node, struct key_view key)
{
    bool equal;
    uint32_t at = block_find(&node->keys, key, &equal);
    return at + equal;
}

/* The lock on the shape is held. */
static struct leaf *leaf_for(struct order *order, struct key_view key)
{
    struct node *node = order->root;
    while (!node->leaf) {
        node = inner_of(node)->child[child_for(node, key)];
        block_prefetch(&node->keys);
        __builtin_prefetch(&leaf_of(node)->lock);
    }
    return leaf_of(node);
}

static struct leaf *leaf_at_end(struct order *order, bool last)
{
    struct node *node = order->root;
    while (!node->leaf)
        node = inner_of(node)->child[last ? node->keys.count : 0];
    return leaf_of(node);
}

/* --- splitting, with the shape alone ---------------------------------------------------------- */

/* Where a node is parted. At its end where keys come in order: then leaves are left as they are. */
static uint32_t split_place(struct node *node, struct key_view key)
{
    uint32_t count = node->keys.count;
    bool at_end = node->leaf && !leaf_of(node)->after &&
                  key_compare(block_key(&node->keys, count - 1), key) < 0;
    return at_end ? count : count / 2;
}

static void link_behind(struct leaf *leaf, struct leaf *behind)
{
    behind->before = leaf;
    behind->after = leaf->after;
    if (leaf->after)
        leaf->after->before = behind;
    leaf->after = behind;
}

/* Parts child i of a node that is not full, for a key that goes to that child. What tells
 * a leaf from the one before it is as much of its first key as that takes. */
static int split_child(struct order *order, struct inner *parent, uint32_t i, struct key_view key)
{
    struct node *node = parent->child[i], *right = node_new(order, node->leaf);
    if (!right)
        return -ENOMEM;
    uint32_t at = split_place(node, key);
    struct key_view separator = at < node->keys.count ? block_key(&node->keys, at) : key;
    if (node->leaf)
        separator.length = key_common(block_key(&node->keys, at - 1), separator) + 1;
    int rc = node_insert(order, &parent->node, i, separator);
    if (rc == 0) {
        rc = block_split(&node->keys, node->leaf ? at : at + 1, &right->keys);
        atomic_fetch_add(&order->bytes, right->keys.capacity);
        if (rc)
            block_remove(&parent->node.keys, i);
    }
    if (rc) {
        node_free(order, right);
        return rc;
    }
    memmove(&parent->child[i + 2], &parent->child[i + 1],
            (parent->node.keys.count - 1 - i) * sizeof *parent->child);
    parent->child[i + 1] = right;
    if (node->leaf) {
        link_behind(leaf_of(node), leaf_of(right));
        return 0;
    }
    memcpy(inner_of(right)->child, &inner_of(node)->child[at + 1],
           (right->keys.count + 1) * sizeof *parent->child);
    block_remove(&node->keys, at); /* it went up */
    return 0;
}

static int grow_root(struct order *order)
{
    struct node *root = node_new(order, false);
    if (!root)
        return -ENOMEM;
    inner_of(root)->child[0] = order->root;
    order->root = root;
    return 0;
}

static bool is_full(const struct node *node, uint32_t leaf_full)
{
    return node->keys.count >= (node->leaf ? leaf_full : BLOCK_KEYS);
}

/* Parts what is full on the way to the key's leaf, from the top: so the node above has room. */
static int make_room(struct order *order, struct key_view key, uint32_t leaf_full)
{
    int rc = is_full(order->root, leaf_full) ? grow_root(order) : 0;
    struct node *node = order->root;
    while (rc == 0 && !node->leaf) {
        struct inner *inner = inner_of(node);
        uint32_t i = child_for(node, key);
        if (is_full(inner->child[i], leaf_full)) {
            rc = split_child(order, inner, i, key);
            i = child_for(node, key);
        }
        node = inner->child[i];
    }
    return rc;
}

/* --- entering and taking out ------------------------------------------------------------------ */

/* 0; -ENOMEM; -ENOSPC: its leaf is full. */
static int insert_in_leaf(struct order *order, struct key_view key)
{
    pthread_rwlock_rdlock(&order->shape);
    struct leaf *leaf = leaf_for(order, key);
    pthread_mutex_lock(&leaf->lock);
    bool equal;
    uint32_t at = block_find(&leaf->node.keys, key, &equal);
    int rc = equal                              ? 0
             : is_full(&leaf->node, BLOCK_KEYS) ? -ENOSPC
                                                : node_insert(order, &leaf->node, at, key);
    pthread_mutex_unlock(&leaf->lock);
    pthread_rwlock_unlock(&order->shape);
    return rc;
}

bool order_insert(struct order *order, struct key_view key)
{
    int rc;
    while ((rc = insert_in_leaf(order, key)) == -ENOSPC) {
        pthread_rwlock_wrlock(&order->shape);
        rc = make_room(order, key, BLOCK_KEYS);
        pthread_rwlock_unlock(&order->shape);
        if (rc)
            break;
    }
    if (rc)
        atomic_store_explicit(&order->incomplete, true, memory_order_release);
    return rc == 0;
}

bool order_append(struct order *order, struct key_view key)
{
    enum { LEAF_FULL = BLOCK_KEYS - BLOCK_KEYS / 8 }; /* room for some that come between */
    struct leaf *last = leaf_at_end(order, true);
    if (last->node.keys.count >= LEAF_FULL) {
        if (make_room(order, key, LEAF_FULL))
            return false;
        last = leaf_at_end(order, true);
    }
    return node_insert(order, &last->node, last->node.keys.count, key) == 0;
}

/* Takes child i from its node; a node that has none left goes as well. */
static void drop_child(struct order *order, struct inner **path, const uint32_t *place,
                       uint32_t depth)
{
    while (depth-- > 0) {
        struct inner *inner = path[depth];
        struct key_block *keys = &inner->node.keys;
        uint32_t i = place[depth];
        node_free(order, inner->child[i]);
        if (keys->count > 0) {
            memmove(&inner->child[i], &inner->child[i + 1],
                    (keys->count - i) * sizeof *inner->child);
            block_remove(keys, i > 0 ? i - 1 : 0);
            return;
        }
    }
}

static void lower_root(struct order *order)
{
    while (!order->root->leaf && order->root->keys.count == 0) {
        struct node *only = inner_of(order->root)->child[0];
        node_free(order, order->root);
        order->root = only;
    }
}

/* With the shape alone: the key's leaf goes if it is empty and not the only one. */
static void drop_if_empty(struct order *order, struct key_view key)
{
    enum { DEEPEST = 64 };
    struct inner *path[DEEPEST];
    uint32_t place[DEEPEST], depth = 0;
    struct node *node = order->root;
    for (; !node->leaf; depth++) {
        path[depth] = inner_of(node);
        place[depth] = child_for(node, key);
        node = path[depth]->child[place[depth]];
    }
    struct leaf *leaf = leaf_of(node);
    if (node->keys.count > 0 || (!leaf->before && !leaf->after))
        return;
    if (leaf->before)
        leaf->before->after = leaf->after;
    if (leaf->after)
        leaf->after->before = leaf->before;
    drop_child(order, path, place, depth);
    lower_root(order);
}

void order_remove(struct order *order, struct key_view key)
{
    pthread_rwlock_rdlock(&order->shape);
    struct leaf *leaf = leaf_for(order, key);
    pthread_mutex_lock(&leaf->lock);
    bool equal;
    uint32_t at = block_find(&leaf->node.keys, key, &equal);
    if (equal)
        block_remove(&leaf->node.keys, at);
    bool empty = leaf->node.keys.count == 0 && (leaf->before || leaf->after);
    pthread_mutex_unlock(&leaf->lock);
    pthread_rwlock_unlock(&order->shape);
    if (!empty)
        return;
    pthread_rwlock_wrlock(&order->shape);
    drop_if_empty(order, key);
    pthread_rwlock_unlock(&order->shape);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int run_add(struct key_run *run, struct key_view key)
{
    if (run->used + (uint64_t)key.length > run->capacity) {
        enum { LEAST = 1024 };
        uint32_t capacity = 2 * (run->used + key.length);
        uint8_t *bytes = realloc(run->bytes, capacity < LEAST ? LEAST : capacity);
        if (!bytes)
            return -ENOMEM;
        run->bytes = bytes;
        run->capacity = capacity < LEAST ? LEAST : capacity;
    }
    memcpy(run->bytes + run->used, key.bytes, key.length);
    run->keys[run->count].at = run->used;
    run->keys[run->count++].length = key.length;
    run->used += key.length;
    return 0;
}

/* Those of one leaf, whose lock is held; `whole`: all of them come after the key, or before it. */
static int read_leaf(const struct leaf *leaf, const struct order_from *from, bool whole,
                     uint32_t most, struct key_run *run)
{
    const struct key_block *keys = &leaf->node.keys;
    bool equal = false;
    uint32_t at = from->downwards ? keys->count : 0;
    int rc = 0;
    if (!whole)
        at = block_find(keys, from->key, &equal);
    if (from->downwards) {
        for (at += equal && from->itself; at > 0 && run->count < most && rc == 0; at--)
            rc = run_add(run, block_key(keys, at - 1));
        return rc;
    }
    for (at += equal && !from->itself; at < keys->count && run->count < most && rc == 0; at++)
        rc = run_add(run, block_key(keys, at));
    return rc;
}

int order_read(struct order *order, const struct order_from *from, uint32_t most,
               struct key_run *run)
{
    bool whole = from->key.bytes == NULL;
    int rc = 0;
    run->count = run->used = 0;
    if (most > RUN_KEYS)
        most = RUN_KEYS;
    pthread_rwlock_rdlock(&order->shape);
    struct leaf *leaf = whole ? leaf_at_end(order, from->downwards) : leaf_for(order, from->key);
    while (leaf && run->count < most && rc == 0) {
        pthread_mutex_lock(&leaf->lock);
        rc = read_leaf(leaf, from, whole, most, run);
        pthread_mutex_unlock(&leaf->lock);
        leaf = from->downwards ? leaf->before : leaf->after;
        whole = true;
    }
    pthread_rwlock_unlock(&order->shape);
    return rc;
}
