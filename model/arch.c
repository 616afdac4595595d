/* SPDX-License-Identifier: MIT */
#include "model/arch.h"

#include <string.h>

static const struct arch archs[] = {
    {
        /* Mixtral 8x7B and 8x22B, Llama-3 upcycled to experts. */
        .name = "llama",
        .label = "llama (with experts)",
        .rope_layout = ROPE_NORM,
        .qk_norm = QK_NORM_NONE,
        .renormalise = true,
        .expert_width = EXPERT_WIDTH_FF,
    },
    {
        .name = "qwen2moe",
        .label = "qwen2moe",
        .rope_layout = ROPE_NEOX,
        .qk_norm = QK_NORM_NONE,
        .qkv_bias = true,
        .shared_expert = true,
        .expert_width = EXPERT_WIDTH_FF_OVER_USED,
    },
    {
        .name = "qwen3moe",
        .label = "qwen3moe",
        .rope_layout = ROPE_NEOX,
        .qk_norm = QK_NORM_HEAD,
        .renormalise = true,
        .expert_width = EXPERT_WIDTH_FF_OVER_USED,
    },
    {
        .name = "olmoe",
        .label = "olmoe",
        .rope_layout = ROPE_NEOX,
        .qk_norm = QK_NORM_FULL,
        .expert_width = EXPERT_WIDTH_FF,
    },
};

#define N_ARCHS (sizeof(archs) / sizeof(archs[0]))

const struct arch *arch_at(size_t i)
{
    return i < N_ARCHS ? &archs[i] : NULL;
}

const struct arch *arch_find(struct gguf_str name)
{
    for (size_t i = 0; i < N_ARCHS; i++)
        if (strlen(archs[i].name) == name.len && !memcmp(archs[i].name, name.p, name.len))
            return &archs[i];
    return NULL;
}
