# SPDX-License-Identifier: MIT
"""What the end-to-end tests share: a daemon on a private socket, and its clients. TAP comes from tap.py.

Nothing here sleeps: the daemon is waited for by the lines it writes, answers by their bytes, states by asking /stats
again until they hold. Python's standard library alone.
"""
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from tap import Skip, main, test  # noqa: F401

BUILD = os.environ.get("top_builddir", ".")
SOURCE = os.environ.get("top_srcdir", ".")
EXPERTD = os.path.join(BUILD, "expertd")
MODEL = os.path.join(SOURCE, "tests/golden/data/qwen3moe-q4_k.gguf")
PATIENCE = 60  # seconds until something that does not happen is a failure


def sanitized():
    """Memory figures of a sanitizer's build say nothing."""
    with open(EXPERTD, "rb") as f:
        data = f.read()
    return b"__asan_init" in data or b"__tsan_init" in data


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


class Daemon:
    """expertd in a directory of its own. Its log lines are kept in `lines`."""

    def __init__(self, *args, model=MODEL, memory="24M", env=None, pass_fds=(), **popen):
        self.dir = tempfile.mkdtemp(prefix="expertd-e2e-")
        self.socket = os.path.join(self.dir, "s")
        self.lines = []
        self.news = threading.Condition()
        command = [EXPERTD, "--socket", self.socket, "--state-dir", os.path.join(self.dir, "state")]
        if model:
            command += ["--model", model]
        if memory and not any(a.startswith("--memory") for a in args):
            command += ["--memory", memory if not sanitized() else "1G"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
        environment.update(env or {})
        self.process = subprocess.Popen(command + list(args), stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=environment, pass_fds=pass_fds, **popen)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line.decode(errors="replace").rstrip())
                self.news.notify_all()
        with self.news:
            self.lines.append(None)  # the end
            self.news.notify_all()

    def wait_line(self, words):
        """The first log line that holds `words`."""
        deadline = time.monotonic() + PATIENCE
        with self.news:
            while True:
                for line in self.lines:
                    if line is not None and words in line:
                        return line
                if None in self.lines:
                    raise AssertionError("the daemon ended without saying %r; it said:\n%s" % (words, self.log()))
                if not self.news.wait(deadline - time.monotonic()):
                    raise AssertionError("no line with %r; there were:\n%s" % (words, self.log()))

    def log(self):
        return "\n".join(line for line in self.lines if line is not None)

    def ready(self):
        self.wait_line("ready: serving")
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code

    def stop(self):
        """An orderly end, whatever the test left open."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGTERM)
        code = self.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        assert code == 0, "exit code %d; the log:\n%s" % (code, self.log())

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
            return
        print("# " + self.log().replace("\n", "\n# "))
        self.process.kill()
        self.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    # Clients.

    def raw(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(self.socket)
        return s

    def request(self, method, path, body=None, headers=None):
        """Status, headers and body of one request on a connection of its own."""
        c = UnixConnection(self.socket)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, r.headers, data

    def get(self, path):
        status, _, data = self.request("GET", path)
        return status, json.loads(data)

    def post(self, path, body):
        status, _, data = self.request("POST", path, body)
        return status, json.loads(data)

    def stats(self):
        return self.get("/stats")[1]

    def until(self, holds):
        """Ask /stats until holds(stats)."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            stats = self.stats()
            if holds(stats):
                return stats
        raise AssertionError("did not come to hold; /stats: %s" % json.dumps(stats))

    def stream(self, path, body, **more):
        return Stream(self, path, dict(body, stream=True, **more))

    def cpu_s(self):
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def status_bytes(self, key):
        with open("/proc/%d/status" % self.process.pid) as f:
            for line in f:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * 1024
        raise KeyError(key)

    def forget_peak(self):
        """VmHWM counts from now on."""
        with open("/proc/%d/clear_refs" % self.process.pid, "w") as f:
            f.write("5")


class Stream:
    """Server-sent events as they come."""

    def __init__(self, daemon, path, body):
        self.connection = UnixConnection(daemon.socket)
        self.connection.request("POST", path, json.dumps(body))
        self.response = None

    def open(self):
        if not self.response:
            self.response = self.connection.getresponse()
        return self.response

    def events(self):
        for line in self.open():
            line = line.strip()
            if line.startswith(b"data: "):
                yield line[6:].decode()

    def next(self):
        return json.loads(next(self.events()))

    def all(self):
        """Every event; "[DONE]" stays a string."""
        return [e if e == "[DONE]" else json.loads(e) for e in self.events()]

    def close(self):
        if self.response:
            self.response.close()
        self.connection.close()


def text_of(events):
    """The text of a stream's events, chat or not."""
    out = ""
    for e in events:
        if e == "[DONE]" or "choices" not in e:
            continue
        for choice in e["choices"]:
            out += choice["text"] if "text" in choice else choice["delta"].get("content", "")
    return out


# A request whose stream is larger than any socket's buffer: who does not read it stands still in the midst of it.
LONG = {"messages": [{"role": "user", "content": "on and on"}], "ignore_eos": True, "logprobs": True,
        "top_logprobs": 20, "max_tokens": 100000}


def hold(daemon):
    """A client in the midst of an answer that it does not read on."""
    s = daemon.stream("/v1/chat/completions", LONG)
    s.next()
    daemon.until(lambda stats: any(q["state"] == "paused" for q in stats["sequences"]))
    return s
