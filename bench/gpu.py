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
import time

import engines

SHARES, TOKENS, PROMPT = (100, 50, 25, 10), 128, 2048
PARTS = ("dense", "kv", "activations", "device")  # of VRAM, beside the slots


def ask(sock, prompt, tokens, seed):
    connection = engines.UnixConnection(sock)
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 2, "top_p": 1, "top_k": 100, "min_p": 0, "seed": seed,
            "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    if response.status != 200:
        sys.exit("expertd: " + json.dumps(answer))
    return answer["expertd"]


def settled(sock):
    """Idle time has brought up what it will: the slots in use do not grow any more."""
    used = -1
    while True:
        vram = engines.get(sock, "/stats")[1]["vram"]
        if vram["slots_used"] in (used, vram["experts"]):
            return
        used = vram["slots_used"]
        time.sleep(1)


def serve(args, model, vram, memory=None, help="off"):
    """Rates with these bounds on VRAM and memory (None: what is free), and the division as the daemon says it."""
    options = ["--gpu", "auto", "--cpu-help", help]
    options += [] if vram is None else ["--vram", str(vram)]
    options += [] if memory is None else ["--memory", str(memory)]
    with engines.daemon(args.expertd, model, args.threads, args.prompt + args.tokens + 64, options=options) as (sock, _, _):
        props = engines.get(sock, "/props")[1]
        if not (props.get("gpu") or {}).get("in_use"):
            sys.exit("expertd serves on the CPU: " + json.dumps(props.get("gpu")))
        first = args.first_token
        ask(sock, list(range(first, first + 16)), args.tokens, 1)
        settled(sock)
        before = engines.get(sock, "/stats")[1]
        decode = ask(sock, list(range(first + 20, first + 36)), args.tokens, 2)
        after = engines.get(sock, "/stats")[1]
        prefill = ask(sock, [first + i % args.spread for i in range(args.prompt)], 2, 3)
    return {"decode": (args.tokens - 1) / decode["answer_ms"] * 1e3, "prefill": args.prompt / prefill["prompt_ms"] * 1e3,
            "before": before, "after": after, "props": props}


def split(figures):
    """A step of the decode in milliseconds: what was at work meanwhile, and what the host stood still for. The card's own
    work is what is left when nothing is waited for; bus, drive and CPU work beside it."""
    before, after = figures["before"], figures["after"]
    steps = max(after["steps"] - before["steps"], 1)

    def per_step(*path):
        a, b = before, after
        for key in path:
            a, b = a[key], b[key]
        return (b - a) / steps

    ms = {"step": per_step("step_ns"), "CPU": per_step("vram", "cpu_ns"), "bus": per_step("vram", "copy_ns"),
          "bus wait": per_step("vram", "wait_ns"), "drive": per_step("cache", "busy_ns"),
          "drive wait": per_step("cache", "wait_ns")}
    ms["rest"] = max(ms["step"] - ms["CPU"] - ms["bus wait"] - ms["drive wait"], 0)
    return {k: v / 1e6 for k, v in ms.items()}, per_step("vram", "device_waits")


COLUMNS = ("step", "rest", "CPU", "bus", "bus wait", "drive", "drive wait")


def row(name, figures):
    ms, waits = split(figures)
    return f"| {name} | {figures['decode']:.1f} | {figures['prefill']:.0f} | " + \
        " | ".join(f"{ms[c]:.2f}" for c in COLUMNS) + f" | {waits:.1f} |"


def serving(args, model):
    full = serve(args, model, None)
    vram, experts = full["props"]["gpu"]["vram"], full["after"]["vram"]["slot_bytes"]
    rest = sum(vram[k] for k in PARTS)
    lines = [f"\n{os.path.basename(model)}, expert slots of {experts / 2**30:.2f} GiB for 100 %. Milliseconds of a step: all of "
             "it; what is left for card and launches; then CPU, bus and drive at work, and the host waiting for the two.\n",
             "| experts in VRAM | decode, tokens/s | prefill, tokens/s | " + " | ".join(COLUMNS) + " | hand-offs |",
             "|---" * (len(COLUMNS) + 4) + "|"]
    for share in SHARES:
        figures = full if share == 100 else serve(args, model, rest + experts * share // 100)
        lines.append(row(f"{share} %, the others in RAM", figures))
    quarter = rest + experts // 4
    lines.append(row("25 %, the others in RAM, the CPU helps", serve(args, model, quarter, help="on")))
    for share in (50, 25):
        parts = full["props"]["memory"]
        memory = sum(v for k, v in parts.items() if k not in ("total", "slots")) + experts * share // 100
        lines.append(row(f"25 %, RAM for {share} %, the others on the drive", serve(args, model, quarter, memory)))
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--module", required=True)
    parser.add_argument("--programs", default="bench", help="where gpu and gpu_rates were built")
    parser.add_argument("--expertd", default="./expertd")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--prompt", type=int, default=PROMPT)
    parser.add_argument("--first-token", type=int, default=300)
    parser.add_argument("--spread", type=int, default=20000, help="different tokens in the prompt")
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
