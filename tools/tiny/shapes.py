# SPDX-License-Identifier: MIT
"""What tensors and keys a model of a given configuration has, and how its random weights are spread: so that every part of
the network has a say in the logits."""
from collections import namedtuple

import gguf_write as gw

# what: "matrix" (gain over the square root of its columns), "vector" (mean and spread) or "factors" (of the rotation).
# small: kept in F32 whatever the model's format.
Tensor = namedtuple("Tensor", "name shape what gain mean spread small", defaults=(0, 0, 0, False))


def keys(name, c):
    """The hyperparameters of a model as GGUF keys."""
    a = c["arch"] + "."
    out = [("general.architecture", gw.STRING, c["arch"]), ("general.name", gw.STRING, name),
            ("general.alignment", gw.U32, gw.ALIGNMENT), (a + "context_length", gw.U32, c["n_ctx"]),
            (a + "embedding_length", gw.U32, c["n_embd"]), (a + "block_count", gw.U32, c["n_layer"]),
            (a + "feed_forward_length", gw.U32, c["n_ff_expert"] if c["arch"] in ("llama", "olmoe") else c["n_ff"]),
            (a + "expert_feed_forward_length", gw.U32, c["n_ff_expert"]),
            (a + "attention.head_count", gw.U32, c["n_head"]), (a + "attention.head_count_kv", gw.U32, c["n_head_kv"]),
            (a + "attention.key_length", gw.U32, c["head_dim"]), (a + "attention.value_length", gw.U32, c["head_dim"]),
            (a + "attention.layer_norm_rms_epsilon", gw.F32, c["eps"]), (a + "rope.freq_base", gw.F32, c["rope_base"]),
            (a + "rope.dimension_count", gw.U32, c["n_rot"]), (a + "expert_count", gw.U32, c["n_expert"]),
            (a + "expert_used_count", gw.U32, c["n_used"]), (a + "vocab_size", gw.U32, c["n_vocab"])]
    if c.get("n_ff_shared"):
        out.append((a + "expert_shared_feed_forward_length", gw.U32, c["n_ff_shared"]))
    if c.get("n_dense"):
        out.append((a + "leading_dense_block_count", gw.U32, c["n_dense"]))
    scaling = c.get("rope_scaling")
    if scaling:
        out += [(a + "rope.scaling.type", gw.STRING, scaling["type"]),
                 (a + "rope.scaling.factor", gw.F32, scaling["factor"])]
        if "original" in scaling:
            out.append((a + "rope.scaling.original_context_length", gw.U32, scaling["original"]))
    return out


def _feed_forward(names, rows, embd, gain, n_expert=None):
    for part, shape in (("gate", (rows, embd)), ("up", (rows, embd)), ("down", (embd, rows))):
        yield Tensor(names % part, shape if n_expert is None else (n_expert, *shape), "matrix", gain)


def _attention(p, c):
    embd, kv, q = c["n_embd"], c["n_head_kv"] * c["head_dim"], c["n_head"] * c["head_dim"]
    yield Tensor(p + "attn_norm.weight", (embd,), "vector", mean=1, spread=0.2)
    for name, rows in (("attn_q", q), ("attn_k", kv), ("attn_v", kv)):
        yield Tensor(p + name + ".weight", (rows, embd), "matrix", 1.5)
        if c.get("bias"):
            yield Tensor(p + name + ".bias", (rows,), "vector", mean=0, spread=0.3)
    if c["qk_norm"]:
        n_q, n_k = (c["head_dim"],) * 2 if c["qk_norm"] == "head" else (q, kv)
        yield Tensor(p + "attn_q_norm.weight", (n_q,), "vector", mean=1.2, spread=0.2)
        yield Tensor(p + "attn_k_norm.weight", (n_k,), "vector", mean=1.2, spread=0.2)
    yield Tensor(p + "attn_output.weight", (embd, q), "matrix", 1.5)


def tensors(c):
    embd = c["n_embd"]
    yield Tensor("token_embd.weight", (c["n_vocab"], embd), "matrix", embd ** 0.5)
    yield Tensor("output_norm.weight", (embd,), "vector", mean=1, spread=0.2)
    if not c.get("tied"):
        yield Tensor("output.weight", (c["n_vocab"], embd), "matrix", 3)
    if c.get("rope_factors"):
        yield Tensor("rope_freqs.weight", (c["n_rot"] // 2,), "factors")
    for layer in range(c["n_layer"]):
        p = "blk.%d." % layer
        yield from _attention(p, c)
        yield Tensor(p + "ffn_norm.weight", (embd,), "vector", mean=1, spread=0.2)
        if layer < c.get("n_dense", 0):
            yield from _feed_forward(p + "ffn_%s.weight", c["n_ff"], embd, 1.5)
            continue
        yield Tensor(p + "ffn_gate_inp.weight", (c["n_expert"], embd), "matrix", 2, small=True)
        yield from _feed_forward(p + "ffn_%s_exps.weight", c["n_ff_expert"], embd, 2.5, c["n_expert"])
        if c.get("n_ff_shared"):
            yield Tensor(p + "ffn_gate_inp_shexp.weight", (embd,), "matrix", 1, small=True)
            yield from _feed_forward(p + "ffn_%s_shexp.weight", c["n_ff_shared"], embd, 1.5)
