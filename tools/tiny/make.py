#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the project's own tiny models and their goldens: make.py OUTDIR [form=FORM] [NAME ...] (OUTDIR is normally
tests/golden/data). With a form of reform.py each model is written in that one, too, as NAME-FORM.gguf.

NAME.gguf is a model with random weights and a vocabulary of single bytes and a few pieces; NAME.golden.gguf holds what the
float64 twin makes of it (see golden_write for its keys). Both depend on nothing but the numbers below: NumPy's PCG64 with
the seed given. Needs Python 3.9 and NumPy; development only.
"""
import os
import sys

import numpy as np

import blocks
import gguf_write as gw
import reform
import shapes
from twin import Twin

PROMPTS = ["Once upon a time", "2+2="]
N_STEPS = 6
N_VOCAB = 288

BASE = dict(n_layer=2, n_embd=32, n_head=4, n_head_kv=2, head_dim=16, n_ff=48, n_ff_expert=16, n_expert=6, n_used=2,
            eps=1e-6, rope_base=10000.0, kind="F32", n_ctx=512, n_vocab=N_VOCAB)
LLAMA = dict(BASE, arch="llama", interleaved=True, qk_norm=None, renormalise=True, eps=1e-5)
QWEN2 = dict(BASE, arch="qwen2moe", interleaved=False, qk_norm=None, renormalise=False, bias=True, n_ff_shared=24,
             n_head_kv=4, head_dim=8, n_used=3)
QWEN3 = dict(BASE, arch="qwen3moe", interleaved=False, qk_norm="head", renormalise=True)
OLMOE = dict(BASE, arch="olmoe", interleaved=False, qk_norm="full", renormalise=False, n_head_kv=4, head_dim=8, n_used=3, eps=1e-5)

MODELS = {
    "llama-f32": dict(LLAMA, seed=1),
    "llama-factors-tied-f32": dict(LLAMA, seed=2, rope_factors=True, tied=True, n_head_kv=1),
    "llama-linear-f16": dict(LLAMA, seed=33, kind="F16", rope_scaling=dict(type="linear", factor=4.0)),
    "qwen2moe-f32": dict(QWEN2, seed=4),
    "qwen2moe-q8_0": dict(QWEN2, seed=9, n_embd=64, head_dim=16, n_ff_expert=64, n_ff_shared=96, kind="Q8_0"),
    "qwen3moe-f32": dict(QWEN3, seed=6),
    "qwen3moe-dense-first-f32": dict(QWEN3, seed=7, n_layer=3, n_dense=1),
    "qwen3moe-yarn-f32": dict(QWEN3, seed=39, head_dim=32, rope_base=1000.0,
                              rope_scaling=dict(type="yarn", factor=4.0, original=64)),
    "qwen3moe-q4_k": dict(QWEN3, seed=55, n_embd=256, n_ff_expert=32, kind="Q4_K", kind_narrow="Q4_0"),
    "qwen3moe-q6_k": dict(QWEN3, seed=34, n_ff_expert=256, n_expert=4, kind="Q8_0", kind_down="Q6_K"),
    "olmoe-f32": dict(OLMOE, seed=11),
    "olmoe-q4_0": dict(OLMOE, seed=53, n_embd=64, head_dim=16, n_ff_expert=64, kind="Q4_0"),
}


def byte_alphabet():
    """The printable stand-in of each byte in byte-level BPE vocabularies."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return [chr(b) if b in keep else chr(next(spare)) for b in range(256)]


def bpe_vocabulary():
    merges = ["Ġ t", "h e", "Ġt he", "i n", "a n", "e r", "Ġ a", "r e", "o n", "Ġ w", "a s", "Ġw as", "o u", "e n", "i t",
              "n d", "Ġa nd", "Ġ s", "i s", "o r", "a t", "e s", "Ġ o", "e d", "in g", "Ġ c", "a l", "a r", "Ġ b"]
    tokens = byte_alphabet() + [m.replace(" ", "") for m in merges]
    tokens += ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert len(tokens) == N_VOCAB
    types = [1] * (N_VOCAB - 3) + [3] * 3
    keys = [("tokenizer.ggml.model", gw.STRING, "gpt2"), ("tokenizer.ggml.pre", gw.STRING, "qwen2"),
            ("tokenizer.ggml.tokens", gw.STRING, tokens), ("tokenizer.ggml.token_type", gw.I32, types),
            ("tokenizer.ggml.merges", gw.STRING, merges), ("tokenizer.ggml.bos_token_id", gw.U32, N_VOCAB - 3),
            ("tokenizer.ggml.eos_token_id", gw.U32, N_VOCAB - 1), ("tokenizer.ggml.add_bos_token", gw.BOOL, False)]
    return keys, [list(p.encode()) for p in PROMPTS]


def spm_vocabulary():
    pieces = ["▁", "t", "h", "e", "▁t", "he", "▁the", "a", "n", "d", "▁a", "nd", "▁and", "s", "i", "o", "r", "▁w", "as",
              "▁was", "in", "on", "er", "re", "an", "is", "it", "at", "or"]
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] + pieces
    assert len(tokens) == N_VOCAB
    scores = [0.0] * 259 + [-float(i) for i in range(len(pieces))]
    types = [2, 3, 3] + [6] * 256 + [1] * len(pieces)
    keys = [("tokenizer.ggml.model", gw.STRING, "llama"), ("tokenizer.ggml.pre", gw.STRING, "default"),
            ("tokenizer.ggml.tokens", gw.STRING, tokens), ("tokenizer.ggml.scores", gw.F32, scores),
            ("tokenizer.ggml.token_type", gw.I32, types), ("tokenizer.ggml.bos_token_id", gw.U32, 1),
            ("tokenizer.ggml.eos_token_id", gw.U32, 2), ("tokenizer.ggml.unknown_token_id", gw.U32, 0),
            ("tokenizer.ggml.add_bos_token", gw.BOOL, True)]
    return keys, [[1] + [3 + b for b in p.encode()] for p in PROMPTS]


def draw_tensors(c):
    """[(name, kind, numpy shape, weights)]"""
    rng = np.random.default_rng(c["seed"])
    tensors = []
    for t in shapes.tensors(c):
        if t.what == "matrix":
            wide = t.shape[-1] % gw.TYPES[c["kind"]][1] == 0
            down = t.name.endswith("ffn_down_exps.weight") and c.get("kind_down")
            kind = "F32" if t.small else down or (c["kind"] if wide else c["kind_narrow"])
            tensors.append((t.name, kind, t.shape, rng.normal(size=t.shape) * t.gain / np.sqrt(t.shape[-1])))
        elif t.what == "vector":
            tensors.append((t.name, "F32", t.shape, t.mean + t.spread * rng.normal(size=t.shape)))
        else:
            tensors.append((t.name, "F32", t.shape, 1 + 3 * rng.random(t.shape[0])))
    return tensors


def feed_all(twin, tokens, n_prompt):
    """Rows of every token; the continuation is greedy where `tokens` ends with the prompt."""
    rows = []
    for position in range(n_prompt + N_STEPS):
        rows.append(twin.feed(tokens[position], position))
        if len(tokens) == position + 1 < n_prompt + N_STEPS:
            tokens.append(int(rows[-1][0].argmax()))
    logits = np.array([r[0] for r in rows])
    return (logits, *(np.array([r[j] for r in rows]).swapaxes(0, 1) for j in (1, 2, 3)))


def distances(a, b):
    return ((a - b) ** 2).sum(-1) / (b ** 2).sum(-1)


def golden_write(path, config, weights, blocks_of, prompts):
    """Keys: n_prompts, n_steps; rounding_median and rounding_p90: how far activations of 8 bits alone carry the rows of
    logits from the exact ones (normalised mean squared error). Per prompt pN.tokens (the prompt, then the tokens fed
    after it: greedy choices), pN.n_prompt and pN.experts (i32, [layer][row][n_used]). Tensors per prompt, F32, a row for
    each token fed: pN.logits [row][vocab], pN.layers [layer][row][embd], pN.router [layer with experts][row][expert]."""
    keys, tensors, nearest, off = [], [], np.inf, []
    for i, prompt in enumerate(prompts):
        tokens = list(prompt)
        logits, layers, router, experts = feed_all(Twin(config, weights), tokens, len(prompt))
        off.append(distances(feed_all(Twin(config, weights, blocks_of), tokens, len(prompt))[0], logits))
        order = -np.sort(-router, axis=-1)
        nearest = min(nearest, (order[..., config["n_used"] - 1] - order[..., config["n_used"]]).min())
        keys += [("golden.p%d.n_prompt" % i, gw.U32, len(prompt)), ("golden.p%d.tokens" % i, gw.I32, tokens),
                 ("golden.p%d.experts" % i, gw.I32, [int(e) for e in experts.ravel()])]
        for name, a in (("logits", logits), ("layers", layers), ("router", router)):
            tensors.append(("p%d.%s" % (i, name), "F32", a.shape[::-1], [a.astype("<f4").tobytes()]))
    off = np.quantile(np.concatenate(off), [0.5, 0.9])
    keys += [("general.architecture", gw.STRING, "golden"), ("golden.n_prompts", gw.U32, len(prompts)),
             ("golden.n_steps", gw.U32, N_STEPS), ("golden.rounding_median", gw.F32, off[0]),
             ("golden.rounding_p90", gw.F32, off[1])]
    gw.write(path, keys, tensors)
    return np.std(logits), nearest, off


def make(name, c, folder, form):
    c = dict(c)
    c["n_rot"] = c.get("n_rot", c["head_dim"])
    vocabulary, prompts = spm_vocabulary() if c["arch"] == "llama" else bpe_vocabulary()
    weights, tensors, blocks_of = {}, [], {}
    for tensor, kind, shape, drawn in draw_tensors(c):
        raw = blocks.encode(kind, drawn)
        weights[tensor] = blocks.decode(kind, raw, shape)
        if kind in blocks.CODECS:
            blocks_of[tensor] = gw.TYPES[kind][1]
        tensors.append((tensor, kind, shape[::-1], [raw]))
    path = os.path.join(folder, name)
    gw.write(path + ".gguf", shapes.keys("tiny " + name, c) + vocabulary, tensors)
    if form:
        reform.rewrite(path + ".gguf", "%s-%s.gguf" % (path, form), form)
    spread, nearest, off = golden_write(path + ".golden.gguf", c, weights, blocks_of, prompts)
    print("%-26s %7d + %7d bytes, logit std %.2f, least router margin %.1e, 8-bit rounding %.1e / %.1e" % (
        name, os.path.getsize(path + ".gguf"), os.path.getsize(path + ".golden.gguf"), spread, nearest, *off))


if __name__ == "__main__":
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    asked = [arg for arg in sys.argv[2:] if not arg.startswith("form=")]
    forms = [arg[len("form="):] for arg in sys.argv[2:] if arg not in asked]
    for model_name in asked or MODELS:
        make(model_name, MODELS[model_name], out, forms[-1] if forms else None)
