#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the twin against the model definitions' own code: check_twin.py FOLDER, a folder of tiny Hugging Face checkpoints
(NAME.safetensors) with the float64 logits of their implementations (NAME.json), such as ../shared/fixtures/hf-tiny-moe/moe.
"""
import json
import os
import struct
import sys

import numpy as np

from twin import Twin

MIXTRAL = dict(renormalise=True, n_head=4, head_dim=8, eps=1e-5, n_used=2)
QWEN2 = dict(renormalise=False, n_head=4, head_dim=8, eps=1e-5, n_used=2, n_ff_shared=24)
LIMIT = 1e-7  # of logits near 0.1: rotation and the router's softmax are in single precision there, whatever the model's type
CHECKPOINTS = {"full_mixtral": dict(MIXTRAL, n_head_kv=4), "gqa_mixtral": dict(MIXTRAL, n_head_kv=2),
               "qwen_moe_tiny": dict(QWEN2, n_head_kv=2)}

NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate": "ffn_gate_inp", "mlp.experts.down_proj": "ffn_down_exps", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
         "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
         "mlp.shared_expert.down_proj": "ffn_down_shexp"}
WHOLE = {"lm_head.weight": "output.weight", "model.embed_tokens.weight": "token_embd.weight",
         "model.norm.weight": "output_norm.weight"}


def read(path):
    with open(path, "rb") as file:
        raw = file.read()
    n = struct.unpack("<Q", raw[:8])[0]
    for name, t in json.loads(raw[8:8 + n]).items():
        if name != "__metadata__":
            assert t["dtype"] == "F32", name
            begin, end = (8 + n + offset for offset in t["data_offsets"])
            yield name, np.frombuffer(raw[begin:end], "<f4").astype(np.float64).reshape(t["shape"])


def rename(name, x):
    if name in WHOLE:
        return {WHOLE[name]: x}
    layer, rest = name[len("model.layers."):].split(".", 1)
    p = "blk.%s." % layer
    if rest == "mlp.experts.gate_up_proj":
        gate, up = np.split(x, 2, axis=1)
        return {p + "ffn_gate_exps.weight": gate, p + "ffn_up_exps.weight": up}
    stem, ending = rest, "weight"
    if rest.endswith((".weight", ".bias")):
        stem, ending = rest.rsplit(".", 1)
    return {p + NAMES[stem] + "." + ending: x[0] if stem == "mlp.shared_expert_gate" else x}


def main(folder):
    worst = 0
    for name, config in CHECKPOINTS.items():
        weights = {}
        for tensor, x in read(os.path.join(folder, name + ".safetensors")):
            weights.update(rename(tensor, x))
        with open(os.path.join(folder, name + ".json")) as file:
            golden = json.load(file)
        c = dict(config, n_layer=2, n_rot=8, rope_base=1e4, interleaved=False, qk_norm=None)
        twin = Twin(c, weights)
        ours = np.array([twin.feed(token, i)[0] for i, token in enumerate(golden["input_ids"])])
        theirs = np.array(golden["hf_logits"]).reshape(-1, golden["vocab_size"])
        off = np.abs(ours[-len(theirs):] - theirs).max()
        worst = max(worst, off)
        print("%-14s greatest difference %.1e over %d rows" % (name, off, len(theirs)))
    sys.exit(bool(worst > LIMIT))


if __name__ == "__main__":
    main(sys.argv[1])
