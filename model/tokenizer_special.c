/* SPDX-License-Identifier: MIT */
#include "model/tokenizer_special.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

#define MAX_NODES (1u << 22)

static bool is_special(const struct vocab *v, uint32_t id)
{
    bool kind = v->kind[id] == TOKEN_CONTROL || v->kind[id] == TOKEN_USER || v->kind[id] == TOKEN_UNKNOWN;

    return kind && vocab_raw(v, id).len > 0;
}

static void add_text(struct special_trie *trie, struct gguf_str text, uint32_t id)
{
    uint32_t node = 0;

    trie->starts[(unsigned char)text.p[0]] = true;
    for (size_t i = 0; i < text.len; i++) {
        uint64_t key = (uint64_t)node << 8 | (unsigned char)text.p[i];

        if (pair_map_add(&trie->edges, key, trie->n_nodes))
            trie->ids[trie->n_nodes++] = -1;
        node = pair_map_find(&trie->edges, key);
    }
    trie->ids[node] = (int32_t)id;
}

int special_trie_init(struct special_trie *trie, const struct vocab *vocab, struct err *err)
{
    size_t n_max = 1;

    memset(trie, 0, sizeof(*trie));
    for (uint32_t i = 0; i < vocab->n; i++)
        n_max += is_special(vocab, i) ? vocab_raw(vocab, i).len : 0;
    if (n_max > MAX_NODES)
        return err_set(err, ERR_FORMAT, "the control and user-defined tokens have %zu bytes of text; the limit is %u",
                       n_max - 1, MAX_NODES - 1);
    trie->ids = mem_calloc(n_max, sizeof(*trie->ids));
    if (trie->ids == NULL || pair_map_init(&trie->edges, n_max) < 0) {
        special_trie_fini(trie);
        return err_set(err, -ENOMEM, "no memory for a vocabulary of %u tokens", vocab->n);
    }
    trie->ids[trie->n_nodes++] = -1;
    for (uint32_t i = 0; i < vocab->n; i++)
        if (is_special(vocab, i))
            add_text(trie, vocab_raw(vocab, i), i);
    return 0;
}

void special_trie_fini(struct special_trie *trie)
{
    pair_map_fini(&trie->edges);
    mem_free(trie->ids);
    trie->ids = NULL;
}

int32_t special_trie_match(const struct special_trie *trie, const struct vocab *vocab, const char *text, size_t len,
                           size_t control_len, size_t *ret_len)
{
    int32_t found = -1;
    uint32_t node = 0;

    if (len == 0 || !trie->starts[(unsigned char)text[0]])
        return -1;
    for (size_t i = 0; i < len; i++) {
        int32_t id;

        node = pair_map_find(&trie->edges, (uint64_t)node << 8 | (unsigned char)text[i]);
        if (node == UINT32_MAX)
            break;
        id = trie->ids[node];
        if (id >= 0 && (vocab->kind[id] == TOKEN_USER || i < control_len)) {
            found = id;
            *ret_len = i + 1;
        }
    }
    return found;
}
