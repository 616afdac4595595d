#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""expertd and llama.cpp side by side on the same GGUF: medians and ratios.

    bench/compare.py --expertd build/expertd [--kernels build/bench/kernels] MODEL.gguf... [--memory 8G] [--threads 2]
                     [--rounds 3] [--decode 0,2048,8192] [--prefill 128,512,2048] [--tokens 32] [--json FILE] [--add FILE]

Several models (the same shape in other formats, say) give a table each. With --kernels a plain read of memory by as many
threads is measured before each round, and decoding is shown beside the roofline: that bandwidth over the bytes of weights,
keys and values that a token reads. --json writes every run down, and --add puts those of an earlier call with the same
jobs beside this one's, for machines that are quiet for short times only (--rounds 0: just print). --engines runs some of
the three alone, likewise.

llama.cpp is used through the Python package llama-cpp-python, which must be importable by --python (for development
only). Both engines get the same token ids (drawn from the vocabulary with a fixed seed), the same number of
threads and greedy sampling; runs alternate, so that a drifting machine is unfair to neither. Both settings of
llama.cpp are measured: repacked weights (its default) and plain (mapped; the only one that runs under a memory limit).
Peak memory is VmHWM of each process.

With --limit SIZE (as root) each engine runs in a control group of that size, expertd with the same --memory, and the page
cache is dropped before every run.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys

from engines import own_run, peer_run
from gguf_bytes import token_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+")
    parser.add_argument("--expertd", default="build/expertd")
    parser.add_argument("--kernels", help="bench/kernels, which measures a plain read for the roofline")
    parser.add_argument("--python", default=sys.executable, help="a Python that imports llama_cpp")
    parser.add_argument("--memory", help="expertd's budget (default: the limit, or what is free)")
    parser.add_argument("--limit", help="memory of a control group for each engine")
    parser.add_argument("--option", action="append", default=[], help="another option for expertd, as --option=--io=direct")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--decode", default="0,2048,8192", help="contexts at which to decode")
    parser.add_argument("--prefill", default="128,512,2048", help="prompt lengths to read")
    parser.add_argument("--vocab", type=int, default=1000, help="token ids are drawn below this")
    parser.add_argument("--engines", default="expertd,llama.cpp repacked,llama.cpp plain")
    parser.add_argument("--json")
    parser.add_argument("--add", action="append", default=[], help="what --json of an earlier call wrote")
    args = parser.parse_args()
    told = {}
    for path in args.model:
        told[path] = compare(args, path)
    if args.json:
        json.dump(told, open(args.json, "w"), indent=1)


def read_gb_s(args):
    out = subprocess.run([args.kernels, "--read", "--threads", str(args.threads)], stdout=subprocess.PIPE, check=True, text=True)
    return float(out.stdout.split()[1])


def compare(args, path):

    draw = random.Random(1)
    ids = lambda n: [draw.randrange(10, args.vocab) for _ in range(n)]
    numbers = lambda text: [int(n) for n in text.split(",") if n]
    jobs = [{"what": f"decode at {n}", "prompt": ids(max(n, 1)), "tokens": args.tokens} for n in numbers(args.decode)]
    jobs += [{"what": f"prefill {n}", "prompt": ids(n), "tokens": 1} for n in numbers(args.prefill)]

    # The first prompt of each run warms it and is not counted: weights mapped, experts in memory.
    jobs.insert(0, {"what": "warm-up", "prompt": ids(512), "tokens": 8})
    peer = lambda repack: peer_run(args.python, path, args.threads, jobs, args.limit, repack)
    engines = {"expertd": lambda: own_run(args.expertd, path, args.threads, jobs, args.memory, args.limit, args.option),
               "llama.cpp repacked": lambda: peer(True), "llama.cpp plain": lambda: peer(False)}
    if args.limit:
        del engines["llama.cpp repacked"] # an allocation of the whole model
    results = {name: [] for name in engines}
    reads = []
    for earlier in args.add:
        told = json.load(open(earlier))[path]
        reads += told["reads_gb_s"]
        for name in engines:
            results[name] += told["results"][name]
    for round_no in range(args.rounds):
        if args.kernels:
            reads.append(read_gb_s(args))
        for name, engine in engines.items():
            if name not in args.engines.split(","):
                continue
            print(f"round {round_no + 1} of {args.rounds}: {name}", file=sys.stderr)
            results[name].append(engine()[1:])
    table(args, path, jobs[1:], results, reads)
    return {"reads_gb_s": reads, "results": results}


def rate(job, run):
    return job["tokens"] / run["decode_s"] if "decode" in job["what"] else len(job["prompt"]) / run["prefill_s"]


def roofline(path, job, read):
    weights, kv = token_bytes(path)
    return read * 1e9 / (weights + kv * (len(job["prompt"]) + job["tokens"] / 2))


def table(args, path, jobs, results, reads):
    engines = [name for name in results if results[name]]
    print(f"| {os.path.basename(path)}, {args.threads} threads, tokens/s | " + " | ".join(engines) +
          " | ratio to the best of llama.cpp | share of the roofline |")
    print("|---|" + "---|" * (len(engines) + 2))
    for i, job in enumerate(jobs):
        medians = {name: statistics.median(rate(job, run[i]) for run in results[name]) for name in engines}
        best = max((v for name, v in medians.items() if name != "expertd"), default=None)
        line = f"| {job['what']} | " + " | ".join(f"{medians[name]:.2f}" for name in engines) + " | "
        if "expertd" in medians:
            line += (f"{medians['expertd'] / best:.2f}" if best else "") + " | "
        if reads and "expertd" in medians and "decode" in job["what"]:
            top = roofline(path, job, statistics.median(reads))
            line += f"{100 * medians['expertd'] / top:.0f} % of {top:.1f}"
        print(line + " |")
    peaks = {name: statistics.median(max(r["peak_bytes"] for r in run) for run in results[name]) for name in engines}
    for what, figure in () if "expertd" not in engines else (("expert hits", "hit_rate"), ("MB read per token", "bytes_read_per_token")):
        values = [statistics.median(run[i][figure] or 0 for run in results["expertd"]) for i in range(len(jobs))]
        print(f"| expertd: {what} | " + ", ".join(f"{v:.2f}" if v <= 1 else f"{v / 1e6:.0f}" for v in values) + " |")
    print("| peak memory, MB | " + " | ".join(f"{peaks[name] / 1e6:.0f}" for name in engines) + " | | |")
    if reads:
        print(f"\nA plain read: {statistics.median(reads):.1f} GB/s ({min(reads):.1f} to {max(reads):.1f}).\n")


if __name__ == "__main__":
    main()
