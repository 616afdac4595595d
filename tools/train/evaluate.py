#!/usr/bin/env python3
"""Held-out loss and expert usage of an exported model, from the very weights in the file.

    evaluate.py --data DIR --gguf FILE.gguf [--llama]

With --llama the logits are also compared with those of llama.cpp (pip install llama-cpp-python).
"""
import argparse, json, pathlib

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

from export_gguf import gguf_name
from model import Config, Model
from train import evaluate


def load(path):
    """The file's model with its weights dequantised to float32."""
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields["qwen3moe." + key].contents()
    tensors = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
    c = Config(n_vocab=tensors["token_embd.weight"].shape[0], n_layer=field("block_count"),
               n_embd=field("embedding_length"), n_head=field("attention.head_count"),
               n_head_kv=field("attention.head_count_kv"), head_dim=field("attention.key_length"),
               n_expert=field("expert_count"), n_used=field("expert_used_count"),
               n_ff=field("expert_feed_forward_length"), rope_base=field("rope.freq_base"),
               rms_eps=field("attention.layer_norm_rms_epsilon"), n_ctx=field("context_length"))
    model = Model(c)
    model.load_state_dict({name: tensors[gguf_name(name)] for name in model.state_dict()})
    return model


@torch.no_grad()
def compare_with_llama(path, model, tok, stories):
    import llama_cpp
    llama = llama_cpp.Llama(str(path), n_ctx=model.c.n_ctx, logits_all=True, verbose=False)
    error = power = same = n = 0
    for s in stories:
        ids = tok.encode(s["text"]).ids[:model.c.n_ctx]
        assert llama.tokenize(s["text"].encode(), add_bos=False, special=True) == ids, "tokenizers differ"
        llama.reset()
        llama.eval(ids)
        theirs = np.array(llama.scores[:len(ids)], dtype=np.float64)
        ours = model.logits(model(torch.tensor([ids])))[0].double().numpy()
        error += ((ours - theirs) ** 2).sum()
        power += (ours ** 2).sum()
        same += (ours.argmax(-1) == theirs.argmax(-1)).sum()
        n += len(ids)
    print(f"llama.cpp: NMSE of the logits {error / power:.2e}, same best token at {same} of {n} positions")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", type=pathlib.Path, required=True)
    ap.add_argument("--gguf", type=pathlib.Path, required=True)
    ap.add_argument("--llama", action="store_true")
    ap.add_argument("--context", type=int, default=640)
    args = ap.parse_args()
    torch.set_num_threads(2)
    tok = Tokenizer.from_file(str(args.data / "tokenizer.json"))
    held_out = json.loads((args.data / "stories.json").read_text())["held_out"]
    model = load(args.gguf)
    result = evaluate(model, tok, held_out, args.context)
    for kind in ("tiny", "tale"):
        r = result[kind]
        print(f"{kind}: {r['nats_per_token']:.3f} nats per token, {r['bits_per_byte']:.3f} bits per byte "
              f"({r['tokens']} tokens)")
    for layer, shares in enumerate(result["usage"]):
        print(f"| {layer} | " + " | ".join(f"{100 * s:.1f}" for s in shares) + " |")
    if args.llama:
        compare_with_llama(args.gguf, model, tok, held_out[:20] + held_out[-5:])


if __name__ == "__main__":
    main()
