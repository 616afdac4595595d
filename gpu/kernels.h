/* SPDX-License-Identifier: MIT
 *
 * kernels.h: every kernel as the host calls it: one function that lays out the grid and puts the launch into a queue.
 *
 * Each is the operation of the same name in compute/device.h, and computes the same bits as the CPU device. Arguments
 * are checked before they come here (gpu/device.cu). They return 0 or what queue_launch returns. Shapes and pointers:
 * gpu/types.h.
 */
#ifndef EXPERTD_GPU_KERNELS_H
#define EXPERTD_GPU_KERNELS_H

#include "gpu/queue.h"
#include "gpu/types.h"

int launch_quantise(struct queue *queue, const struct quantise_params *p);

/* All jobs have weights of one type; max_rows and max_tokens are the greatest among them. */
int launch_product_plain(struct queue *queue, enum quant_type type, const struct product_params *p, uint32_t n_jobs,
                         uint32_t max_rows, uint32_t max_tokens);
int launch_product_small(struct queue *queue, enum quant_type type, const struct product_params *p, uint32_t n_jobs,
                         uint32_t max_rows, uint32_t max_tokens);
int launch_product_super(struct queue *queue, enum quant_type type, const struct product_params *p, uint32_t n_jobs,
                         uint32_t max_rows, uint32_t max_tokens);
int launch_product_lattice(struct queue *queue, enum quant_type type, const struct product_params *p, uint32_t n_jobs,
                           uint32_t max_rows, uint32_t max_tokens);

int launch_rms_norm(struct queue *queue, const struct rms_norm_params *p);
int launch_embed(struct queue *queue, const struct embed_params *p);
int launch_rope(struct queue *queue, const struct rope_params *p);
int launch_kv_store(struct queue *queue, const struct kv_store_params *p);
int launch_combine(struct queue *queue, const struct combine_params *p);
int launch_add(struct queue *queue, const struct add_params *p);
int launch_route(struct queue *queue, const struct route_params *p);
int launch_top_k(struct queue *queue, const struct top_k_params *p, uint32_t n_rows);
int launch_attention(struct queue *queue, const struct attention_params *p);

/* Shared memory that these need; a card has 48 KiB for every block. */
size_t route_shared_bytes(uint32_t n_experts, uint32_t n_used);
size_t attention_shared_bytes(uint32_t head_dim);
enum { SHARED_BYTES = 48 << 10 };
/* How many chunks a step of top_k makes of n_in. */
uint32_t top_k_chunks(uint32_t n_in);

#endif
