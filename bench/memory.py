#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Models larger than memory: expertd beside llama.cpp and beside what drive and memory allow, inside a memory limit.

    bench/memory.py --limit 2G --json FILE [--expertd build/expertd] [--python venv/bin/python] [--stop-after 100] MODEL.gguf

As root. Every run is in a control group of --limit, expertd with --memory of the same size, from an empty page cache;
runs alternate, and between them the drive's rate is measured with direct reads of the same file (bench/drive): with idle
processors, and while they read memory as computing does, which is what a token can hope for. expertd samples at temperature
2 and llama.cpp is fed random tokens: with random weights greedy answers soon go in circles. MODEL is best one of
tools/tiny/mkmoe.py with `routing=hard` or `routing=trace-like`.

llama.cpp is measured as it comes (stock: mapped, its own choice of threads, the device's read-ahead as it is) and tuned by
hand: the best of a search over the device's read-ahead (put back afterwards), threads, how threads wait, and madvise. What
fits no limit, the speed with every expert resident, is measured without one.

Each measurement is kept in --json as soon as it is taken, and a second call goes on where the first ended: with
--stop-after SECONDS no measurement begins later than that, and the exit status is 75 until all are there. Then the table is
printed, with what is aimed at; the exit status is 1 when any of it is missed. --only NAME[,NAME...] takes those measurements alone (see
`measurements`), --again NAME[,...] takes them anew.

    decode       cold: the first answer of a daemon; warm: the second. bound: of the larger of the bytes that any cache would have had to
                 read with the same hits, at the drive's rate, and the time of a token with all experts resident
    split        of a token: compute (forward pass less what follows), waiting for reads (and summing them), hand-off (the
                 cache's own work: finding, submitting), other (sampling, text, sending)
    drive busy   the kernel's figure (time with requests in flight), and the bytes that came of those that could have
"""
import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import engines

WARM_SEED, SETTLE_S, MORE_TO_DO = 5, 120, 75
CAP_S = 70  # of a run of llama.cpp: stock may take seconds per token
AIMS = {"tuned": 2.5, "stock": 20, "bound": 0.85, "quarter": 0.80, "prefill": 2, "prefill bound": 0.85, "first token": 0.25,
        "look-ahead": 0.98, "busy": 0.85}


# ---- the machine ----

def device_of(path):
    """The directory in /sys/block of the drive that holds a file."""
    number = os.stat(path).st_dev
    here = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    return here if os.path.exists(os.path.join(here, "queue")) else os.path.dirname(here)


@contextlib.contextmanager
def read_ahead(device, kib):
    """The device's read-ahead, put back afterwards. None: as it is."""
    knob = os.path.join(device, "queue", "read_ahead_kb")
    with open(knob) as f:
        before = f.read()
    try:
        if kib is not None:
            with open(knob, "w") as f:
                f.write(str(kib))
        yield
    finally:
        with open(knob, "w") as f:
            f.write(before)


def drive_counts(device):
    """(bytes read, seconds with requests in flight) since the machine's start."""
    with open(os.path.join(device, "stat")) as f:
        fields = [int(x) for x in f.read().split()]
    return fields[2] * 512, fields[9] / 1000


def drive_rate(program, path, threads):
    """Bytes per second of direct reads at random places now: with idle processors, and while they read memory."""
    words = subprocess.run([program, path, "1.6", str(threads)], stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    return {"idle": float(words[1]) * 1e6, "busy": float(words[4]) * 1e6}


# ---- expertd ----

class Look:
    """Counters of a daemon and of the drive at one moment."""

    def __init__(self, sock, device):
        self.stats = engines.get(sock, "/stats")[1]
        self.read_bytes, self.busy_s = drive_counts(device)
        self.at = time.perf_counter()

    def since(self, before):
        a, b = before.stats, self.stats
        cache = {k: b["cache"][k] - a["cache"][k] for k in b["cache"] if isinstance(b["cache"][k], int)}
        hints = {"hint_" + k: b["prefetch"][k] - a["prefetch"][k] for k in ("reads", "hits", "late", "wasted", "bytes")}
        return {**cache, **hints, "tokens": b["tokens"] - a["tokens"], "step_ns": b["step_ns"] - a["step_ns"],
                "steps": b["steps"] - a["steps"], "wall_s": self.at - before.at, "busy_s": self.busy_s - before.busy_s,
                "device_bytes": self.read_bytes - before.read_bytes, "level": b["prefetch"]["level"]}


def ask(sock, device, prompt, tokens, seed):
    """One streamed answer: its own figures, and the counters from the first token to the last."""
    connection = engines.UnixConnection(sock)
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 2, "top_p": 1, "top_k": 0, "min_p": 0, "seed": seed,
            "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
    start = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    if response.status != 200:
        sys.exit("expertd: " + response.read().decode())
    first, last, first_s = None, None, 0.0
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if "error" in chunk:
            sys.exit("expertd: " + json.dumps(chunk))
        if first is None:
            first_s, first = time.perf_counter() - start, Look(sock, device)
        last = {k: chunk.get(k) or (last or {}).get(k) for k in ("expertd", "usage")}
    answer = Look(sock, device).since(first)
    connection.close()
    own, usage = last["expertd"], last["usage"]
    return {**answer, "first_token_s": first_s, "prefill_s": own["prompt_ms"] / 1e3, "written": usage["completion_tokens"],
            "decode_s": own["answer_ms"] / 1e3, "prompt": len(prompt)}


class Bench:
    def __init__(self, args):
        self.args, self.device = args, device_of(args.model)
        self.taken = json.load(open(args.json)) if os.path.exists(args.json) else {}
        draw = random.Random(1)
        self.ids = lambda n: [draw.randrange(256, args.vocab) for _ in range(n)]

    def rate(self):
        return drive_rate(self.args.drive, self.args.model, self.args.threads)

    def daemon(self, context, **more):
        a = self.args
        return engines.daemon(a.expertd, a.model, a.threads, context, **{"limit": a.limit, "options": a.option, **more})

    def finish(self, sock, process, result):
        result["peak_bytes"] = engines.peak_bytes(process.pid)
        memory = engines.get(sock, "/stats")[1]
        result["memory"], result["slots"] = memory["memory"], memory["cache"]["slots"]
        return result

    # ---- measurements; each returns what is kept ----

    def own_decode(self, *options, **more):
        """Cold and warm decode. Rates of the drive before and after."""
        tokens, result = self.args.tokens, {"rate": [self.rate()]}
        with self.daemon(tokens + 64, options=[*self.args.option, *options], **more) as (sock, process, ready_s):
            result["ready_s"] = ready_s
            result["cold"] = ask(sock, self.device, self.ids(16), tokens + 1, 1)
            result["warm"] = ask(sock, self.device, self.ids(16), tokens + 1, 2)
            self.finish(sock, process, result)
        result["rate"].append(self.rate())
        return result

    def own_prefill(self, n, **more):
        result = {"rate": [self.rate()]}
        with self.daemon(n + 64, **more) as (sock, process, _):
            ask(sock, self.device, self.ids(64), 2, 1)
            before = Look(sock, self.device)
            result.update(ask(sock, self.device, self.ids(n), 2, 2))
            result["counts"] = Look(sock, self.device).since(before)
            self.finish(sock, process, result)
        result["rate"].append(self.rate())
        return result

    def resident(self):
        """Everything in memory: the prompt reads it all in."""
        result = {}
        with self.daemon(4096, limit=None, memory=self.args.resident_memory) as (sock, process, _):
            for i, n in enumerate((512, 512, 2048)):
                result[f"prefill {n}"] = ask(sock, self.device, self.ids(n), self.args.tokens // 2 if i == 1 else 2, 3 + i)
            result["decode"] = ask(sock, self.device, self.ids(16), self.args.tokens + 1, 2)
            # What the prompts left unread is not the price of computing.
            result["decode"]["decode_s"] -= result["decode"]["wait_ns"] / 1e9
            result["decode"]["wait_ns"] = 0
            self.finish(sock, process, result)
        return result

    def quarter(self):
        """As much memory as gives a quarter of the experts slots. All experts: the slots of the resident run."""
        all_slots, want = self.taken["resident 1"]["slots"], None
        memory = engines.size(self.args.limit)
        for _ in range(4):
            with self.daemon(self.args.tokens + 64, limit=None, memory=memory) as (sock, _, _):
                stats = engines.get(sock, "/stats")[1]
            want, have = all_slots // 4, stats["cache"]["slots"]
            if abs(have - want) <= max(1, want // 200):
                break
            memory += int((want - have) * stats["cache"]["slot_bytes"] / have)
        return self.own_decode(limit=str(memory))

    def restart(self):
        """Time to the first token, cold, of a question at once after a restart, and of one after it has warmed up."""
        prompt, result = self.ids(16), {}
        with tempfile.TemporaryDirectory() as state:
            for name in ("cold", "restarted", "warmed"):
                with self.daemon(256, state_dir=state) as (sock, process, ready_s):
                    end = time.perf_counter() + SETTLE_S
                    while name == "warmed" and engines.get(sock, "/stats")[1]["prefetch"]["warming"] and time.perf_counter() < end:
                        time.sleep(0.1)
                    answer = ask(sock, self.device, prompt, 2, WARM_SEED)
                    result[name] = {"ready_s": ready_s, "first_token_s": answer["first_token_s"]}
                    ask(sock, self.device, self.ids(16), self.args.tokens // 2 if name == "cold" else 2, WARM_SEED)
        return result

    def peer(self, setting, jobs, limit=True):
        env = {"OMP_WAIT_POLICY": setting["wait"]} if setting.get("wait") else {}
        if setting.get("advice"):
            env["PEER_ADVICE"] = setting["advice"]
        with read_ahead(self.device, setting.get("read_ahead")):
            return engines.peer_run(self.args.python, self.args.model, setting.get("threads", 0), jobs,
                                    self.args.limit if limit else None, env=env)

    def peer_decode(self, setting, tokens=None, seconds=CAP_S):
        tokens = tokens or self.args.tokens
        job = {"prompt": self.ids(16), "tokens": tokens, "forced": self.ids(tokens), "seconds": seconds}
        rate = self.rate()
        result = self.peer(setting, [job])[0]
        return {**result, "setting": setting, "rate": [rate, self.rate()]}

    def peer_prefill(self, setting, n, batch):
        job = {"prompt": self.ids(n), "tokens": 0, "forced": [], "batch": batch}
        return {**self.peer(setting, [job])[0], "setting": setting, "prompt": n}

    # ---- the search for llama.cpp's best ----

    def tuned(self):
        """The best setting among those tried so far."""
        tried = [v for k, v in self.taken.items() if k.startswith("tune ")]
        best = max(tried, key=lambda r: r["tokens"] / r["decode_s"], default={"setting": {"threads": self.args.threads}})
        return best["setting"]

    def tuning(self):
        """One thing after the other, each tried beside the best of the others."""
        for kib in (16, 64, 128, 512):
            yield f"tune read-ahead {kib}", {"threads": self.args.threads, "read_ahead": kib}
        for n in (1, 2 * self.args.threads, 4 * self.args.threads):
            yield f"tune threads {n}", {"threads": n}
        for wait in ("passive", "active"):
            yield f"tune wait {wait}", {"wait": wait}
        yield "tune advice random", {"advice": "random"}

    def measurements(self):
        """(name, seconds it may take, function), in the order in which they are taken."""
        for name, change in self.tuning():
            yield name, 30, lambda change=change: self.peer_decode({**self.tuned(), **change}, 24, 15)
        for i in range(1, self.args.rounds + 1):
            yield f"resident {i}", 100, self.resident
            yield f"own {i}", 60, self.own_decode
            yield f"tuned {i}", 90, lambda: self.peer_decode(self.tuned())
            yield f"look-ahead off {i}", 60, lambda: self.own_decode("--prefetch=off")
            yield f"stock {i}", 100, lambda: self.peer_decode({})
            for n in (512, 2048):
                yield f"own prefill {n} {i}", 60, lambda n=n: self.own_prefill(n)
                for batch in sorted({512, n}):
                    for name, setting in (("stock", {}), ("tuned", None)):
                        yield (f"{name} prefill {n} by {batch} {i}", 110, lambda n=n, batch=batch, setting=setting:
                               self.peer_prefill(self.tuned() if setting is None else setting, n, batch))
            yield f"restart {i}", 60, self.restart
            yield f"quarter {i}", 60, self.quarter

    def take(self, only, again, stop_after):
        """Whether all that was asked for is there."""
        start = time.perf_counter()
        for name, most_s, function in self.measurements():
            if only and not any(name.startswith(o) for o in only) or name in self.taken and name not in again:
                continue
            spent = time.perf_counter() - start
            if stop_after and spent > 0 and spent + most_s > stop_after and spent > stop_after / 20:
                return False
            print(f"{spent:5.0f} s: {name}", file=sys.stderr, flush=True)
            self.taken[name] = function()
            with open(self.args.json + ".new", "w") as f:
                json.dump(self.taken, f, indent=1)
            os.replace(self.args.json + ".new", self.args.json)
        return True


# ---- the report ----

class Report:
    def __init__(self, taken, args):
        self.taken, self.args, self.missed = taken, args, 0

    def all(self, name):
        """Every round's measurement of that name."""
        return [v for k, v in self.taken.items() if k.rsplit(" ", 1)[0] == name]

    def median(self, name, figure):
        values = [figure(v) for v in self.all(name)]
        return statistics.median(values) if values else None

    def line(self, what, value, aim=None, low=False, unit="", shown=None):
        if value is None:
            print(f"| {what} | not measured | | |")
            return
        good = aim is None or (value <= aim if low else value >= aim)
        self.missed += not good
        verdict = "" if aim is None else "pass" if good else "FAIL"
        bound = "" if aim is None else f"{'≤' if low else '≥'} {aim}{unit}"
        print(f"| {what} | {shown or f'{value:.2f}{unit}'} | {bound} | {verdict} |")

    @staticmethod
    def speed(answer):
        return (answer["written"] - 1) / answer["decode_s"]

    @staticmethod
    def rate_of(r, kind="busy"):
        """Of the drive, bytes per second: mean of before and after."""
        return statistics.mean(x[kind] for x in r["rate"])

    @staticmethod
    def missed_bytes(a):
        """What a cache with the same hits would have had to read, per token: guesses in vain do not count."""
        reads = a["misses"] - a["hint_late"] + a["hint_reads"]
        each = (a["bytes_read"] + a["hint_bytes"]) / reads if reads else 0
        return (a["misses"] + a["hint_hits"]) * each / max(a["tokens"], 1)

    def bound_s(self, answer, rate):
        """Seconds per token that nobody can go below."""
        resident = self.median("resident", lambda r: 1 / self.speed(r["decode"]))
        return max(self.missed_bytes(answer) / rate, resident) if resident else None

    def decode(self):
        own = self.all("own")
        tuned = self.median("tuned", lambda r: r["tokens"] / r["decode_s"])
        stock = self.median("stock", lambda r: r["tokens"] / r["decode_s"])
        resident = self.median("resident", lambda r: self.speed(r["decode"]))
        print(f"\n| decode, {self.args.tokens} tokens | tokens/s | MB read per token | hits | peak, MB |\n|---|---|---|---|---|")
        for name, which in (("own", "cold"), ("own", "warm"), ("look-ahead off", "warm"), ("quarter", "warm")):
            rows = self.all(name)
            if rows:
                m = lambda f: statistics.median(f(r) for r in rows)
                hits = m(lambda r: r[which]["hits"] / max(1, r[which]["hits"] + r[which]["misses"]))
                print(f"| {'expertd' if name == 'own' else name}, {which} | {m(lambda r: self.speed(r[which])):.2f} | "
                      f"{m(lambda r: (r[which]['bytes_read'] + r[which]['hint_bytes']) / max(1, r[which]['tokens'])) / 1e6:.0f} | "
                      f"{100 * hits:.1f} % | {m(lambda r: r['peak_bytes']) / 1e6:.0f} |")
        for name in ("tuned", "stock"):
            rows = self.all(name)
            if rows:
                m = lambda f: statistics.median(f(r) for r in rows)
                print(f"| llama.cpp {name} {rows[0]['setting'] or ''} | {m(lambda r: r['tokens'] / r['decode_s']):.2f} | "
                      f"{m(lambda r: r['bytes_read_per_token']) / 1e6:.0f} | | {m(lambda r: r['peak_bytes']) / 1e6:.0f} |")
        if resident:
            print(f"| expertd, all resident | {resident:.2f} | | | {self.median('resident', lambda r: r['peak_bytes']) / 1e6:.0f} |")
        for kind, when in (("idle", "with idle processors"), ("busy", "while they read memory")):
            rates = [x[kind] / 1e9 for r in self.taken.values() for x in r.get("rate", [])]
            if rates:
                print(f"\nDrive {when}: {statistics.median(rates):.2f} GB/s (median of {len(rates)}, {min(rates):.2f} to {max(rates):.2f})")
        self.split(own)
        print("\n| aim | measured | wanted | |\n|---|---|---|---|")
        for which in ("cold", "warm"):
            speed = self.median("own", lambda r: self.speed(r[which]))
            self.line(f"decode {which} / llama.cpp tuned", speed and tuned and speed / tuned, AIMS["tuned"], unit=" ×")
            self.line(f"decode {which} / llama.cpp stock", speed and stock and speed / stock, AIMS["stock"], unit=" ×")
            for kind, aim in (("busy", AIMS["bound"]), ("idle", None)):
                share = [self.bound_s(r[which], self.rate_of(r, kind)) * self.speed(r[which]) for r in own if resident]
                self.line(f"decode {which} / bound, {kind} drive's rate", statistics.median(share) if share else None, aim)
            self.busy(which, own)

    def busy(self, which, own):
        for r in own:
            rate, a = self.rate_of(r), r[which]
            resident = self.median("resident", lambda x: 1 / self.speed(x["decode"])) or 0
            drive_bound = self.missed_bytes(a) / rate > resident
            came = (a["bytes_read"] + a["hint_bytes"]) / (a["wall_s"] * rate)
            self.line(f"drive busy, decode {which}{'' if drive_bound else ' (not drive-bound)'}", a["busy_s"] / a["wall_s"],
                      AIMS["busy"] if drive_bound else None, shown=f"{a['busy_s'] / a['wall_s']:.2f} ({came:.2f} of its rate)")

    def split(self, own):
        print("\n| ms per token | all | compute | waiting for reads | hand-off | other |\n|---|---|---|---|---|---|")
        rows = [(f"expertd, {w}", [r[w] for r in own]) for w in ("cold", "warm")]
        for name, answers in rows + [("all resident", [r["decode"] for r in self.all("resident")])]:
            if not answers:
                continue
            n = lambda f: statistics.median(f(a) / max(1, a["steps"]) for a in answers)
            hand = lambda a: a.get("door_ns", 0)
            print(f"| {name} | {n(lambda a: a['decode_s'] * 1e3 * a['steps'] / (a['written'] - 1)):.1f} | "
                  f"{n(lambda a: a['step_ns'] - a['wait_ns'] - hand(a)) / 1e6:.1f} | {n(lambda a: a['wait_ns']) / 1e6:.1f} | "
                  f"{n(hand) / 1e6:.2f} | {n(lambda a: a['decode_s'] * 1e9 * a['steps'] / (a['written'] - 1) - a['step_ns']) / 1e6:.2f} |")

    def prefill(self, n):
        speed = self.median(f"own prefill {n}", lambda r: n / r["prefill_s"])
        peers = {k.rsplit(" ", 1)[0] for k in self.taken if f" prefill {n} by" in k}
        best = max(((self.median(p, lambda r: n / r["prefill_s"]), p) for p in peers), default=(None, ""))
        self.line(f"prefill {n} / llama.cpp's best ({best[1]})", speed and best[0] and speed / best[0], AIMS["prefill"], unit=" ×",
                  shown=speed and best[0] and f"{speed / best[0]:.2f} × ({speed:.0f} and {best[0]:.0f} tokens/s)")
        shares = []
        for r in self.all(f"own prefill {n}"):
            resident = self.median("resident", lambda x: x[f"prefill {n}"]["prefill_s"])
            all_bytes = self.median("resident", lambda x: x["memory"]["slots"])
            if resident:
                must = max(0, all_bytes - r["memory"]["slots"])
                shares.append(max(must / self.rate_of(r), resident) / r["prefill_s"])
        self.line(f"prefill {n} / bound", statistics.median(shares) if shares else None, AIMS["prefill bound"])

    def others(self):
        first = lambda which: self.median("restart", lambda r: r[which]["first_token_s"])
        cold = first("cold")
        self.line("first token, warmed up after a restart / cold", cold and first("warmed") / cold, AIMS["first token"], low=True)
        self.line("first token, asked at once after a restart / cold", cold and first("restarted") / cold)
        quarter = self.median("quarter", lambda r: self.speed(r["warm"]))
        resident = self.median("resident", lambda r: self.speed(r["decode"]))
        self.line("decode with a quarter of the experts in slots / all resident", quarter and resident and quarter / resident,
                  AIMS["quarter"])
        for which in ("cold", "warm"):
            on, off = (self.median(n, lambda r: self.speed(r[which])) for n in ("own", "look-ahead off"))
            self.line(f"decode {which}, look-ahead / off", on and off and on / off, AIMS["look-ahead"])

    def print(self):
        a = self.args
        print(f"{os.path.basename(a.model)}, limit {a.limit}, {a.threads} threads, {a.rounds} rounds")
        self.decode()
        for n in (512, 2048):
            self.prefill(n)
        self.others()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--limit", required=True, help="memory of the control group, and expertd's budget")
    parser.add_argument("--json", required=True, help="measurements are kept here")
    parser.add_argument("--expertd", default="build/expertd")
    parser.add_argument("--drive", help="bench/drive (default: beside expertd)")
    parser.add_argument("--python", default=sys.executable, help="a Python that imports llama_cpp")
    parser.add_argument("--option", action="append", default=[], help="another option for expertd, as --option=--io=direct")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--vocab", type=int, default=50000, help="token ids are drawn below this")
    parser.add_argument("--resident-memory", help="budget of the run with everything resident (default: what is free)")
    parser.add_argument("--stop-after", type=float, help="seconds after which no measurement begins")
    parser.add_argument("--only", default="", help="names, or beginnings of names, of measurements")
    parser.add_argument("--again", default="", help="names of measurements to take anew")
    parser.add_argument("--report", action="store_true", help="print what is there and measure nothing")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was set is put back

    args.drive = args.drive or os.path.join(os.path.dirname(args.expertd), "bench", "drive")
    names = lambda text: [n for n in text.split(",") if n]
    bench = Bench(args)
    if not args.report and not bench.take(names(args.only), names(args.again), args.stop_after):
        sys.exit(MORE_TO_DO)
    report = Report(bench.taken, args)
    report.print()
    sys.exit(1 if report.missed else 0)


if __name__ == "__main__":
    main()
