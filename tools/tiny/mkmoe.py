#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a model of a real one's shape with random weights, for measurements: mkmoe.py PRESET OUT.gguf [NAME=VALUE ...].

Presets: olmoe-7b, qwen3-30b-a3b, qwen1.5-moe-14b, mixtral-8x7b. NAME=VALUE overrides a number of the shape (n_layer=4 makes
a slice of the model that fits anywhere), `seed`, or `kind`: Q4_K_M (default: the usual mixture of Q4_K and Q6_K), one
format for all matrices (Q8_0, Q4_0, Q4_K, Q6_K, F16, F32), or MXFP4 (the experts; all else is Q8_0, as in gpt-oss). Blocks
are encoded once from normal numbers and drawn from that stock, so writing runs at the speed of the disk and takes little
memory. Needs Python 3.9 and NumPy; development only.

Routing is nearly even and new with every token unless `routing` says otherwise: `hard` (LRU per layer hits about 0.55 and
0.83 with a quarter and half of the experts in slots, as OLMoE shows) or `trace-like` (0.81 and 0.96, as Qwen3-30B-A3B).
skew=0..1, slow=0..1 and recency=POWER set what the presets set (routing.py says what they mean).

form=fused, apart or strewn: the same weights with the experts in another form (reform.py), by way of OUT.gguf.stacked.
"""
import os
import sys

import numpy as np

import blocks
import gguf_write as gw
import reform
import routing as rt
import shapes

CHUNK_BYTES = 16 << 20
STOCK = 4096  # blocks of a kind to draw from

BASE = dict(qk_norm=None, n_ff=0, eps=1e-6, rope_base=1e4, kind="Q4_K_M", seed=1)
PRESETS = {
    "olmoe-7b": dict(BASE, arch="olmoe", qk_norm="full", n_layer=16, n_embd=2048, n_head=16, n_head_kv=16, head_dim=128,
                     n_ff_expert=1024, n_expert=64, n_used=8, n_vocab=50304, n_ctx=4096, eps=1e-5),
    "qwen3-30b-a3b": dict(BASE, arch="qwen3moe", qk_norm="head", n_layer=48, n_embd=2048, n_head=32, n_head_kv=4,
                          head_dim=128, n_ff=6144, n_ff_expert=768, n_expert=128, n_used=8, n_vocab=151936, n_ctx=40960,
                          rope_base=1e6),
    "qwen1.5-moe-14b": dict(BASE, arch="qwen2moe", bias=True, n_layer=24, n_embd=2048, n_head=16, n_head_kv=16,
                            head_dim=128, n_ff=5632, n_ff_expert=1408, n_ff_shared=5632, n_expert=60, n_used=4,
                            n_vocab=151936, n_ctx=8192, rope_base=1e6),
    "mixtral-8x7b": dict(BASE, arch="llama", n_layer=32, n_embd=4096, n_head=32, n_head_kv=8, head_dim=128,
                         n_ff_expert=14336, n_expert=8, n_used=2, n_vocab=32000, n_ctx=32768, eps=1e-5, rope_base=1e6),
}


def vocabulary(n_vocab):
    """Single bytes, then names that no text contains, so that any prompt becomes one token per byte."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    tokens = [chr(b) if b in keep else chr(next(spare)) for b in range(256)]
    tokens += ["<unused%d>" % i for i in range(n_vocab - 257)] + ["<|endoftext|>"]
    types = [1] * 256 + [5] * (n_vocab - 257) + [3]
    return [("tokenizer.ggml.model", gw.STRING, "gpt2"), ("tokenizer.ggml.pre", gw.STRING, "gpt-2"),
            ("tokenizer.ggml.tokens", gw.STRING, tokens), ("tokenizer.ggml.token_type", gw.I32, types),
            ("tokenizer.ggml.merges", gw.STRING, []),
            ("tokenizer.ggml.eos_token_id", gw.U32, n_vocab - 1), ("tokenizer.ggml.add_bos_token", gw.BOOL, False)]


def kind_of(tensor, layer, c):
    """Q4_K_M keeps the output, and values and down projections of the outer eighths and each third layer, in Q6_K."""
    if tensor.what != "matrix" or tensor.small:
        return "F32"
    kind = c["kind"]
    if kind == "Q4_K_M":
        n = c["n_layer"]
        rich = layer is not None and (layer < n // 8 or layer >= 7 * n // 8 or (layer - n // 8) % 3 == 2)
        precious = tensor.name == "output.weight" or rich and ("attn_v." in tensor.name or "down" in tensor.name)
        kind = "Q6_K" if precious else "Q4_K"
    if kind == "MXFP4" and "_exps." not in tensor.name:
        kind = "Q8_0"
    return kind if tensor.shape[-1] % gw.TYPES[kind][1] == 0 else "Q8_0"


class Stock:
    """Encoded blocks of each kind and spread, made when first asked for."""

    def __init__(self, seed):
        self.rng, self.blocks = np.random.default_rng(seed), {}

    def draw(self, kind, spread, n_bytes):
        _, block_len, block_bytes = gw.TYPES[kind]
        block_len, block_bytes = (block_len, block_bytes) if block_len > 1 else (256, 256 * block_bytes)
        if (kind, spread) not in self.blocks:
            raw = blocks.encode(kind, self.rng.normal(size=(STOCK, block_len)) * spread)
            self.blocks[kind, spread] = np.frombuffer(raw, np.uint8).reshape(STOCK, block_bytes)
        stock, left = self.blocks[kind, spread], n_bytes
        while left > 0:
            n = min(left, CHUNK_BYTES // block_bytes * block_bytes)
            yield stock[self.rng.integers(STOCK, size=-(-n // block_bytes))].tobytes()[:n]
            left -= n


def contents(tensor, kind, stock):
    if tensor.what == "vector":
        return [(tensor.mean + tensor.spread * stock.rng.normal(size=tensor.shape)).astype("<f4").tobytes()]
    return stock.draw(kind, tensor.gain / np.sqrt(tensor.shape[-1]), gw.tensor_bytes(kind, tensor.shape[::-1]))


def in_rows(chunks, row_bytes):
    """The same bytes in arrays [n, row_bytes]; n varies."""
    left = b""
    for chunk in chunks:
        left += chunk
        whole = len(left) // row_bytes * row_bytes
        yield np.frombuffer(left[:whole], np.uint8).reshape(-1, row_bytes).copy()
        left = left[whole:]


def with_first_block(chunks, kind, tensor, stock, routing):
    spread = tensor.gain / np.sqrt(tensor.shape[-1])
    raw = blocks.encode(kind, routing.first_block(stock.rng.normal(size=(STOCK, rt.BLOCK)) * spread))
    first = np.frombuffer(raw, np.uint8).reshape(STOCK, -1)
    for rows in in_rows(chunks, gw.tensor_bytes(kind, tensor.shape[-1:])):
        rows[:, :first.shape[1]] = first[stock.rng.integers(STOCK, size=len(rows))]
        yield rows.tobytes()


def with_first_rows(chunks, kind, tensor, block, rest):
    """Each matrix of the tensor begins with rows that have `block` [n, BLOCK] first and then zeros, or with `rest` what they
    had. A block of zero bytes is zeros in every format."""
    raw = np.frombuffer(blocks.encode(kind, block), np.uint8).reshape(len(block), -1)
    at = 0
    for rows in in_rows(chunks, gw.tensor_bytes(kind, tensor.shape[-1:])):
        which = (at + np.arange(len(rows))) % tensor.shape[-2]
        first = which < len(block)
        if not rest:
            rows[first] = 0
        rows[first, :raw.shape[1]] = raw[which[first]]
        at += len(rows)
        yield rows.tobytes()


def routed(tensor, layer, kind, stock, routing):
    """What the tensor contains where routing is shaped (routing.py)."""
    name = tensor.name.split(".")[-2]
    if name == "attn_output" or name.startswith("ffn_down"):
        tensor = tensor._replace(gain=tensor.gain * (rt.FFN_SHARE if name != "attn_output" else rt.ATTENTION_SHARE))
    chunks = contents(tensor, kind, stock)
    if tensor.name == "token_embd.weight":
        return with_first_block(chunks, kind, tensor, stock, routing)
    if name == "ffn_gate_inp":
        return [routing.router(layer, tensor.shape).astype("<f4").tobytes()]
    if name in ("attn_norm", "ffn_norm", "output_norm"):
        return [routing.plain(np.frombuffer(chunks[0], "<f4"), rt.RESERVED, 1)]
    if tensor.what == "vector" and layer == 0 and name in ("attn_q", "attn_k", "attn_v"):
        return [routing.plain(np.frombuffer(chunks[0], "<f4"), routing.c["head_dim"], 0)]
    if layer == 0 and name in ("attn_q", "attn_k", "attn_v"):
        return with_first_rows(chunks, kind, tensor, routing.head_rows(name), name == "attn_v")
    if name == "attn_output":
        return with_first_rows(chunks, kind, tensor, routing.slow_rows(layer), False)
    if name.startswith("ffn_down"):
        return with_first_rows(chunks, kind, tensor, np.zeros((rt.RESERVED, rt.BLOCK)), False)
    return chunks


def override(c, text):
    name, value = text.split("=")
    if name not in c and name not in ("skew", "slow", "recency", "routing", "form"):
        sys.exit("there is no '%s' to set: %s" % (name, ", ".join([*c, "routing", "skew", "slow", "recency", "form"])))
    c[name] = value if name in ("kind", "routing", "form") else type(c.get(name) or 1.0)(float(value))


def routing_of(c, stock):
    shares = rt.preset(c["routing"], c["n_expert"]) if c.get("routing", "even") != "even" else (0, 0, 1)
    names = ("skew", "slow", "recency")
    if c.get("routing", "even") == "even" and not any(n in c for n in names):
        return None
    return rt.Routing(c, *(c.get(n, share) for n, share in zip(names, shares)), stock.rng)


def main(preset, path, *overrides):
    c = dict(PRESETS[preset])
    for text in overrides:
        override(c, text)
    c["n_rot"] = c["head_dim"]
    form = c.pop("form", None)
    stock, tensors = Stock(c["seed"]), []
    routing = routing_of(c, stock)
    for t in shapes.tensors(c):
        layer = int(t.name.split(".")[1]) if t.name.startswith("blk.") else None
        kind = kind_of(t, layer, c)
        data = contents(t, kind, stock) if routing is None else routed(t, layer, kind, stock, routing)
        tensors.append((t.name, kind, t.shape[::-1], data))
    stacked = path + ".stacked" if form else path
    gw.write(stacked, shapes.keys("random weights, shape of " + preset, c) + vocabulary(c["n_vocab"]), tensors)
    if form:
        reform.rewrite(stacked, path, form)
        os.remove(stacked)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in PRESETS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
