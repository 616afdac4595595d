# SPDX-License-Identifier: MIT
"""Runs expertd and llama.cpp for bench/compare.py and bench/memory.py: as child processes, in a control group of a given
memory where asked, from an empty page cache.

llama.cpp is used through the Python package llama-cpp-python, which the Python that runs it must be able to import.
"""
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

# Jobs come as JSON; each prints a line of figures. `seconds` bounds the tokens written (0: no bound).
PEER = r'''
import ctypes, json, os, sys, time
import llama_cpp as L

path, threads, repack, jobs = os.path.realpath(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1", json.loads(sys.argv[4])
t_start = time.perf_counter()
L.llama_backend_init()
mp = L.llama_model_default_params()
mp.use_mmap = not repack
if hasattr(mp, "use_extra_bufts"):
    mp.use_extra_bufts = repack
model = L.llama_model_load_from_file(path.encode(), mp)
assert model, "llama.cpp cannot load " + path
if os.environ.get("PEER_ADVICE") == "random":
    libc = ctypes.CDLL(None, use_errno=True)
    for line in open("/proc/self/maps"):
        if line.rstrip().endswith(path):
            low, high = (int(x, 16) for x in line.split()[0].split("-"))
            libc.madvise(ctypes.c_void_p(low), ctypes.c_size_t(high - low), 1)
def bytes_read():
    return next(int(l.split()[1]) for l in open("/proc/self/io") if l.startswith("read_bytes"))
for job in jobs:
    cp = L.llama_context_default_params()
    cp.n_ctx = len(job["prompt"]) + job["tokens"] + 8
    cp.n_batch = cp.n_ubatch = job.get("batch", 512)
    if threads > 0:
        cp.n_threads = cp.n_threads_batch = threads
    ctx = L.llama_init_from_model(model, cp)
    vocab_n = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    def feed(ids):
        for i in range(0, len(ids), cp.n_batch):
            part = (L.llama_token * len(ids[i:i + cp.n_batch]))(*ids[i:i + cp.n_batch])
            assert L.llama_decode(ctx, L.llama_batch_get_one(part, len(part))) == 0
        L.llama_synchronize(ctx)
    t0 = time.perf_counter(); feed(job["prompt"]); t1 = time.perf_counter()
    before, n = bytes_read(), 0
    while n < job["tokens"] and not (job.get("seconds") and n > 0 and time.perf_counter() - t1 > job["seconds"]):
        if "forced" in job:
            best = job["forced"][n]
        else:
            logits = L.llama_get_logits_ith(ctx, -1)
            best = max(range(0, vocab_n, max(1, vocab_n // 64)), key=lambda i: logits[i])
        feed([best])
        n += 1
    t2 = time.perf_counter()
    L.llama_free(ctx)
    hwm = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
    print(json.dumps({"prefill_s": t1 - t0, "decode_s": t2 - t1, "tokens": n, "peak_bytes": hwm, "loaded_s": t0 - t_start,
                      "bytes_read_per_token": (bytes_read() - before) / max(n, 1)}), flush=True)
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


def drop_page_cache():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def limited(limit):
    """What a child must call first. None without a limit; with one the page cache is dropped."""
    if not limit:
        return None
    drop_page_cache()
    return control_group(size(limit))


def peer_run(python, model, threads, jobs, limit=None, repack=False, env=None):
    out = subprocess.run([python, "-c", PEER, model, str(threads), str(int(repack)), json.dumps(jobs)],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True,
                         preexec_fn=limited(limit), env={**os.environ, **(env or {})}).stdout
    return [json.loads(line) for line in out.splitlines()]


def get(sock, path):
    """(status, parsed answer); status 0 when nobody listens."""
    connection = UnixConnection(sock)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text.startswith(b"{") else None
    except OSError:
        return 0, None
    finally:
        connection.close()


@contextlib.contextmanager
def daemon(program, model, threads, context, memory=None, limit=None, options=(), state_dir=None):
    """A daemon that is ready; yields its socket, its process and the seconds it took to get ready."""
    with tempfile.TemporaryDirectory() as directory:
        sock = os.path.join(directory, "s")
        command = [program, "--model", model, "--socket", sock, "--threads", str(threads), "--context", str(context),
                   "--parallel", "1", "--state-dir", state_dir or directory, *options]
        if memory or limit:
            command += ["--memory", str(memory or limit)]
        log = os.path.join(directory, "log")
        join = limited(limit)
        started = time.perf_counter()
        with open(log, "w") as out:
            process = subprocess.Popen(command, stderr=out, preexec_fn=join)
        try:
            while get(sock, "/health")[0] != 200:
                if process.poll() is not None:
                    sys.exit("expertd ended: " + open(log).read())
                time.sleep(0.01)
            yield sock, process, time.perf_counter() - started
        finally:
            process.terminate()
            process.wait()


def own_run(program, model, threads, jobs, memory=None, limit=None, options=()):
    context = max(len(job["prompt"]) + job["tokens"] for job in jobs) + 8
    with daemon(program, model, threads, context, memory, limit, options) as (sock, process, _):
        return [own_job(sock, process.pid, job) for job in jobs]


def own_job(sock, pid, job):
    connection = UnixConnection(sock)
    body = {"prompt": job["prompt"], "max_tokens": job["tokens"] + 1, "temperature": 0, "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        sys.exit("expertd: " + json.dumps(answer))
    figures = answer["expertd"]
    return {"prefill_s": len(job["prompt"]) / figures["prompt_tokens_per_second"],
            "decode_s": job["tokens"] / figures["tokens_per_second"], "peak_bytes": peak_bytes(pid),
            "hit_rate": figures.get("hit_rate"), "bytes_read_per_token": figures.get("bytes_read_per_token")}


def peak_bytes(pid):
    return next(int(l.split()[1]) * 1024 for l in open(f"/proc/{pid}/status") if l.startswith("VmHWM"))
