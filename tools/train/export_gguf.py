#!/usr/bin/env python3
"""Writes a checkpoint of train.py as GGUF, architecture `qwen3moe`.

    export_gguf.py --data DIR --out FILE.gguf [--type q8_0 | f16]

Matrices take the given type; norms and routers stay F32.
"""
import argparse, json, pathlib

import gguf
import numpy as np
import torch

from model import Config

TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
            "+ '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
            "{% endif %}")
BLOCK_TENSORS = {
    "attn_norm.weight": "attn_norm", "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v",
    "attn.o": "attn_output", "attn.q_norm.weight": "attn_q_norm", "attn.k_norm.weight": "attn_k_norm",
    "ffn_norm.weight": "ffn_norm", "experts.router": "ffn_gate_inp", "experts.gate": "ffn_gate_exps",
    "experts.up": "ffn_up_exps", "experts.down": "ffn_down_exps"}
TENSORS = {"embed": "token_embd", "norm.weight": "output_norm", "output": "output"}


def gguf_name(name):
    if name.startswith("blocks."):
        _, layer, rest = name.split(".", 2)
        return f"blk.{layer}.{BLOCK_TENSORS[rest]}.weight"
    return TENSORS[name] + ".weight"


def add_tokenizer(out, path):
    tok = json.loads(path.read_text())
    by_id = sorted(tok["model"]["vocab"], key=tok["model"]["vocab"].get)
    special = {t["content"]: t["id"] for t in tok["added_tokens"]}
    merges = [m if isinstance(m, str) else " ".join(m) for m in tok["model"]["merges"]]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(by_id)
    out.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in by_id])
    out.add_token_merges(merges)
    out.add_eos_token_id(special["<|im_end|>"])
    out.add_eot_token_id(special["<|im_end|>"])
    out.add_bos_token_id(special["<|endoftext|>"])
    out.add_pad_token_id(special["<|endoftext|>"])
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", type=pathlib.Path, required=True)
    ap.add_argument("--out", type=pathlib.Path, required=True)
    ap.add_argument("--type", choices=["q8_0", "f16"], default="q8_0")
    ap.add_argument("--name", default="expertd stories 13M MoE")
    args = ap.parse_args()
    saved = torch.load(args.data / "checkpoint.pt", map_location="cpu")
    c = Config(**saved["config"])

    out = gguf.GGUFWriter(args.out, "qwen3moe")
    out.add_type(gguf.GGUFType.MODEL)
    out.add_name(args.name)
    out.add_author("the expertd developers")
    out.add_license("MIT")
    out.add_description("A small Mixture-of-Experts model that writes little stories, trained from scratch on "
                        "TinyStories, FairytaleQA and the Grimms' tales.")
    out.add_languages(["en"])
    out.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if args.type == "q8_0" else gguf.LlamaFileType.MOSTLY_F16)
    out.add_quantization_version(gguf.GGML_QUANT_VERSION)
    out.add_block_count(c.n_layer)
    out.add_context_length(c.n_ctx)
    out.add_embedding_length(c.n_embd)
    out.add_feed_forward_length(c.n_ff * c.n_used)
    out.add_expert_feed_forward_length(c.n_ff)
    out.add_expert_count(c.n_expert)
    out.add_expert_used_count(c.n_used)
    out.add_head_count(c.n_head)
    out.add_head_count_kv(c.n_head_kv)
    out.add_key_length(c.head_dim)
    out.add_value_length(c.head_dim)
    out.add_layer_norm_rms_eps(c.rms_eps)
    out.add_rope_freq_base(c.rope_base)
    out.add_vocab_size(c.n_vocab)
    add_tokenizer(out, args.data / "tokenizer.json")

    quantised = gguf.GGMLQuantizationType[args.type.upper()]
    for name, tensor in saved["model"].items():
        x = np.ascontiguousarray(tensor.float().numpy())
        kind = gguf.GGMLQuantizationType.F32 if x.ndim == 1 or name.endswith("router") else quantised
        out.add_tensor(gguf_name(name), gguf.quants.quantize(x, kind), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    print(f"{args.out}: {args.out.stat().st_size} bytes, step {saved['step']}, {saved['tokens']} tokens seen")


if __name__ == "__main__":
    main()
