#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""expertd and llama.cpp side by side on the same GGUF: medians and ratios.

    bench/compare.py --expertd build/expertd MODEL.gguf [--memory 8G] [--threads 2] [--rounds 3]
                     [--decode 0,2048,8192] [--prefill 128,512,2048] [--tokens 32] [--json FILE]

llama.cpp is used through the Python package llama-cpp-python, which must be importable by --python (for development
only). Both engines get the same token ids (drawn from the vocabulary with a fixed seed), the same number of
threads and greedy sampling; runs alternate, so that a drifting machine is unfair to neither. Both settings of
llama.cpp are measured: repacked weights (its default) and plain (mapped; the only one that runs under a memory limit).
Peak memory is VmHWM of each process.

With --limit SIZE (as root) each engine runs in a control group of that size, expertd with the same --memory, and the page
cache is dropped before every run.
"""
import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PEER = r'''
import ctypes, json, sys, time
import llama_cpp as L

path, threads, repack, jobs = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1", json.loads(sys.argv[4])
L.llama_backend_init()
mp = L.llama_model_default_params()
mp.use_mmap = not repack
if hasattr(mp, "use_extra_bufts"):
    mp.use_extra_bufts = repack
model = L.llama_model_load_from_file(path.encode(), mp)
assert model, "llama.cpp cannot load " + path
for job in jobs:
    cp = L.llama_context_default_params()
    cp.n_ctx = len(job["prompt"]) + job["tokens"] + 8
    cp.n_batch = cp.n_ubatch = 512
    cp.n_threads = cp.n_threads_batch = threads
    ctx = L.llama_init_from_model(model, cp)
    vocab_n = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    def feed(ids):
        for i in range(0, len(ids), 512):
            part = (L.llama_token * len(ids[i:i + 512]))(*ids[i:i + 512])
            assert L.llama_decode(ctx, L.llama_batch_get_one(part, len(part))) == 0
        L.llama_synchronize(ctx)
    t0 = time.perf_counter(); feed(job["prompt"]); t1 = time.perf_counter()
    for _ in range(job["tokens"]):
        logits = L.llama_get_logits_ith(ctx, -1)
        best = max(range(0, vocab_n, max(1, vocab_n // 64)), key=lambda i: logits[i])
        feed([best])
    t2 = time.perf_counter()
    L.llama_free(ctx)
    hwm = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
    print(json.dumps({"prefill_s": t1 - t0, "decode_s": t2 - t1, "peak_bytes": hwm}), flush=True)
'''


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=3600)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def size(text):
    return int(float(text.rstrip("KMGkmg")) * 1024 ** (" KMG".find(text[-1].upper()) if not text[-1].isdigit() else 0))


def control_group(limit):
    """Makes a group with that memory limit; returns what a child must call to join it."""
    v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
    base, knob = (v1, "memory.limit_in_bytes") if os.path.isdir(v1) else (v2, "memory.max")
    path = os.path.join(base, "expertd-compare")
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, knob), "w") as f:
        f.write(str(limit))

    def join():
        with open(os.path.join(path, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))
    return join


def limited(args):
    if not args.limit:
        return None
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")
    return control_group(size(args.limit))


def peer_run(args, repack, jobs):
    out = subprocess.run([args.python, "-c", PEER, args.model, str(args.threads), str(int(repack)), json.dumps(jobs)],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True,
                         preexec_fn=limited(args)).stdout
    return [json.loads(line) for line in out.splitlines()]


def health(sock):
    connection = UnixConnection(sock)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except OSError:
        return 0


def own_run(args, jobs):
    with tempfile.TemporaryDirectory() as directory:
        sock = os.path.join(directory, "s")
        context = max(len(job["prompt"]) + job["tokens"] for job in jobs) + 8
        command = [args.expertd, "--model", args.model, "--socket", sock, "--threads", str(args.threads), "--context",
                   str(context), "--parallel", "1", "--state-dir", directory]
        command += args.option
        if args.memory or args.limit:
            command += ["--memory", args.memory or args.limit]
        with open(os.path.join(directory, "log"), "w") as log:
            daemon = subprocess.Popen(command, stderr=log, preexec_fn=limited(args))
        try:
            while health(sock) != 200:
                if daemon.poll() is not None:
                    sys.exit("expertd ended: " + open(os.path.join(directory, "log")).read())
                time.sleep(0.05)
            return [own_job(sock, daemon.pid, job) for job in jobs]
        finally:
            daemon.terminate()
            daemon.wait()


def own_job(sock, pid, job):
    connection = UnixConnection(sock)
    body = {"prompt": job["prompt"], "max_tokens": job["tokens"] + 1, "temperature": 0, "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        sys.exit("expertd: " + json.dumps(answer))
    figures = answer["expertd"]
    hwm = next(int(l.split()[1]) * 1024 for l in open(f"/proc/{pid}/status") if l.startswith("VmHWM"))
    return {"prefill_s": len(job["prompt"]) / figures["prompt_tokens_per_second"],
            "decode_s": job["tokens"] / figures["tokens_per_second"], "peak_bytes": hwm,
            "hit_rate": figures.get("hit_rate"), "bytes_read_per_token": figures.get("bytes_read_per_token")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--expertd", default="build/expertd")
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
    parser.add_argument("--json")
    args = parser.parse_args()

    draw = random.Random(1)
    ids = lambda n: [draw.randrange(10, args.vocab) for _ in range(n)]
    numbers = lambda text: [int(n) for n in text.split(",") if n]
    jobs = [{"what": f"decode at {n}", "prompt": ids(max(n, 1)), "tokens": args.tokens} for n in numbers(args.decode)]
    jobs += [{"what": f"prefill {n}", "prompt": ids(n), "tokens": 1} for n in numbers(args.prefill)]

    # The first prompt of each run warms it and is not counted: weights mapped, experts in memory.
    jobs.insert(0, {"what": "warm-up", "prompt": ids(512), "tokens": 8})
    engines = {"expertd": lambda: own_run(args, jobs), "llama.cpp repacked": lambda: peer_run(args, True, jobs),
               "llama.cpp plain": lambda: peer_run(args, False, jobs)}
    if args.limit:
        del engines["llama.cpp repacked"] # an allocation of the whole model
    results = {name: [] for name in engines}
    for round_no in range(args.rounds):
        for name, run in engines.items():
            print(f"round {round_no + 1} of {args.rounds}: {name}", file=sys.stderr)
            results[name].append(run()[1:])
    jobs.pop(0)

    rate = lambda job, r: job["tokens"] / r["decode_s"] if "decode" in job["what"] else len(job["prompt"]) / r["prefill_s"]
    print(f"| {os.path.basename(args.model)}, {args.threads} threads, tokens/s | " + " | ".join(engines) + " | ratio to the best of llama.cpp |")
    print("|---|" + "---|" * (len(engines) + 1))
    for i, job in enumerate(jobs):
        medians = {name: statistics.median(rate(job, run[i]) for run in results[name]) for name in engines}
        best = max(v for name, v in medians.items() if name != "expertd")
        print(f"| {job['what']} | " + " | ".join(f"{medians[name]:.2f}" for name in engines) + f" | {medians['expertd'] / best:.2f} |")
    peaks = {name: statistics.median(max(r["peak_bytes"] for r in run) for run in results[name]) for name in engines}
    for what, figure in (("expert hits", "hit_rate"), ("MB read per token", "bytes_read_per_token")):
        values = [statistics.median(run[i][figure] or 0 for run in results["expertd"]) for i in range(len(jobs))]
        print(f"| expertd: {what} | " + ", ".join(f"{v:.2f}" if v <= 1 else f"{v / 1e6:.0f}" for v in values) + " |")
    print("| peak memory, MB | " + " | ".join(f"{peaks[name] / 1e6:.0f}" for name in engines) + " | |")
    if args.json:
        json.dump({"args": vars(args), "results": results}, open(args.json, "w"), indent=1)


if __name__ == "__main__":
    main()
