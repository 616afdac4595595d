#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/performance-gpu.md: the kernels' rates on the card at hand, and expertd's with less and less VRAM.

    bench/gpu.py --out FILE --module gpu/expertd-cuda.so [--expertd ./expertd] [--threads N] [MODEL.gguf ...]

Called by `make bench-gpu`, with GPU_MODELS="..." for the models (random weights do: tools/tiny/mkmoe.py olmoe-7b and
qwen3-30b-a3b). Without a card it says so and leaves the file alone; exit status 77.
"""
import argparse
import json
import os
import subprocess
import sys

import engines

SHARES, TOKENS, PROMPT = (100, 50, 25, 10), 128, 2048


def ask(sock, prompt, tokens, seed):
    connection = engines.UnixConnection(sock)
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 2, "top_p": 1, "top_k": 0, "min_p": 0, "seed": seed,
            "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    if response.status != 200:
        sys.exit("expertd: " + json.dumps(answer))
    return answer["expertd"]


def serve(args, model, vram, figures):
    """Rates with that bound on VRAM (None: what is free), and the division as the daemon says it."""
    options = ["--gpu", "auto", "--cpu-help", "off"] + ([] if vram is None else ["--vram", str(vram)])
    with engines.daemon(args.expertd, model, args.threads, PROMPT + TOKENS + 64, options=options) as (sock, _, _):
        props = engines.get(sock, "/props")[1]
        if not (props.get("gpu") or {}).get("in_use"):
            sys.exit("expertd serves on the CPU: " + json.dumps(props.get("gpu")))
        ask(sock, list(range(300, 316)), TOKENS, 1)
        before = engines.get(sock, "/stats")[1]
        decode = ask(sock, list(range(400, 416)), TOKENS, 2)
        after = engines.get(sock, "/stats")[1]
        prefill = ask(sock, [300 + i % 20000 for i in range(PROMPT)], 2, 3)
    figures.update(decode=(TOKENS - 1) / decode["answer_ms"] * 1e3, prefill=PROMPT / prefill["prompt_ms"] * 1e3,
                   before=before, after=after, props=props)
    return figures


def split(figures):
    """Milliseconds of a token, by what the daemon counts."""
    before, after = figures["before"], figures["after"]
    tokens = max(after["tokens"] - before["tokens"], 1)
    parts = {**{k: (before[k], after[k]) for k in after if k.endswith("_ns") and isinstance(after[k], int)},
             **{"vram_" + k: (before["vram"][k], after["vram"][k]) for k in ("copy_ns", "wait_ns")}}
    return ", ".join(f"{k[:-3]} {(b - a) / tokens / 1e6:.2f}" for k, (a, b) in parts.items())


def serving(args, model):
    full = serve(args, model, None, {})
    vram, experts = full["props"]["gpu"]["vram"], full["after"]["vram"]["slot_bytes"]
    rest = vram["total"] - vram["slots"]
    lines = [f"\n{os.path.basename(model)}, expert slots of {experts / 2**30:.2f} GiB for 100 %, CPU help off:\n",
             "| experts in VRAM | decode, tokens/s | prefill, tokens/s | a token's time, ms |", "|---|---|---|---|"]
    for share in SHARES:
        figures = full if share == 100 else serve(args, model, rest + experts * share // 100, {})
        lines.append(f"| {share} % | {figures['decode']:.1f} | {figures['prefill']:.0f} | {split(figures)} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--module", required=True)
    parser.add_argument("--programs", default="bench", help="where gpu and gpu_rates were built")
    parser.add_argument("--expertd", default="./expertd")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    probe = subprocess.run([f"{args.programs}/gpu", "--probe", args.module], stdout=subprocess.PIPE, text=True)
    print("bench-gpu:", probe.stdout.strip(), flush=True)
    if probe.returncode:
        return probe.returncode
    os.environ["EXPERTD_GPU_MODULE"] = os.path.abspath(args.module)
    copy, matrices = subprocess.run([f"{args.programs}/gpu_rates"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    table = subprocess.run([f"{args.programs}/gpu", args.module, copy, matrices], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    lines = ["# Performance on a GPU", "", f"{probe.stdout.strip()}. Written by `make bench-gpu`.", "",
             f"A copy within VRAM: {copy} GB/s, read and write counted. A product of f16 matrices by cuBLAS: {matrices} Tops/s.",
             "", table.rstrip()]
    for model in args.models:
        lines += serving(args, model)
    if not args.models:
        lines += ["", "Serving was not measured: no models were named (GPU_MODELS)."]
    with open(args.out, "w") as f:
        f.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
