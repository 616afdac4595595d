# SPDX-License-Identifier: MIT
"""A peer for the client's tests: it speaks HTTP as expertd does, or as badly as it is told to.

A Peer listens on a Unix socket of its own directory. What it does with a request is a function `handler(exchange)`, so
that a test scripts every byte. Nothing sleeps: a peer that is to be slow waits for an event that the test sets, and one
that is to be silent waits until the client has gone.
"""

import json
import os
import select
import shutil
import socket
import tempfile
import threading


class Exchange:
    """One request, and the connection to answer it on."""

    def __init__(self, peer, conn, method, path, headers, body):
        self.peer, self.conn, self.method, self.path, self.headers, self.body = peer, conn, method, path, headers, body

    def json(self):
        return json.loads(self.body)

    def send(self, data):
        self.conn.sendall(data.encode() if isinstance(data, str) else data)

    def send_bytewise(self, data):
        data = data.encode() if isinstance(data, str) else data
        for i in range(len(data)):
            self.conn.sendall(data[i : i + 1])

    def reply(self, status, body, content_type="application/json"):
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        body = body.encode() if isinstance(body, str) else body
        self.send(f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    def error(self, status, message, **fields):
        self.reply(status, {"error": dict({"message": message, "type": "server_error", "param": None, "code": None}, **fields)})

    def stream(self, *events, done=True):
        """Begin a stream and send events (strings of text, or whole objects)."""
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in events:
            self.event(event)
        if done:
            self.done()

    def event(self, event):
        self.raw_event(event if isinstance(event, dict) else chunk(event, self.path))

    def raw_event(self, data):
        self.chunk("data: " + (data if isinstance(data, str) else json.dumps(data)) + "\n\n")

    def chunk(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def done(self, figures=True):
        if figures:
            self.raw_event(FINAL)
            self.raw_event(USAGE)
        self.raw_event("[DONE]")
        self.send("0\r\n\r\n")

    def wait_for_hangup(self, seconds=60):
        """True when the client has closed its end."""
        poll = select.poll()
        poll.register(self.conn, select.POLLRDHUP | select.POLLHUP)
        gone = bool(poll.poll(seconds * 1000))
        if gone:
            self.peer.hangups.release()
        return gone

    def close(self):
        self.conn.shutdown(socket.SHUT_RDWR)


def chunk(text, path="/v1/chat/completions"):
    choice = {"index": 0, "finish_reason": None}
    choice.update({"delta": {"content": text}} if "chat" in path else {"text": text})
    return {"id": "x", "model": "tiny", "choices": [choice]}


FINAL = {
    "id": "x",
    "model": "tiny",
    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    "expertd": {"prompt_tokens_per_second": 100.5, "tokens_per_second": 20.25, "hit_rate": 0.75, "bytes_read_per_token": 2097152},
}
USAGE = {"id": "x", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}

PROPS = {
    "model": {"id": "tiny", "meta": {"n_layers": 4, "n_experts": 8, "n_used": 2, "size": 1 << 24, "arch": "qwen3moe", "quant": "Q8_0"}},
    "path": "/nonexistent/tiny.gguf", "version": "0.1.0", "device": "CPU (avx2)", "io": "io_uring, direct", "context": 512,
    "parallel": 4, "threads": 2, "token_bytes": 1 << 20, "expert_bytes": 1 << 23,
    "memory": {"total": 1 << 23, "dense": 1 << 21, "kv": 1 << 20, "slots": 1 << 22},
}
STATS = {
    "status": "ok", "uptime_s": 61, "requests": 5, "requests_done": 3, "requests_failed": 1, "requests_cancelled": 1, "waiting": 2,
    "active": 1, "prompt_tokens": 70, "tokens": 30, "step_ns": 1000, "hit_rate": 0.75, "bytes_read_per_token": 1048576,
    "rss": 7 << 20, "peak_rss": 8 << 20, "memory": {"total": 1 << 23},
    "cache": {"hits": 75, "misses": 25, "bytes_read": 1 << 20, "wait_ns": 250, "door_ns": 50, "busy_ns": 400, "slots": 16, "slots_used": 12, "huge_bytes": 0},
    "shadow": {"followed": 16, "asked": 50, "found": 30, "hits": {"lru": 20, "lfu": 15, "aged": 25, "lfru": 26, "next-use": 29, "oracle": 40}},
    "sequences": [{"slot": 0, "id": 9, "state": "writing", "prompt_tokens": 12, "prompt_done": 12, "tokens": 5,
                   "tokens_per_second": 3.5, "hit_rate": 0.5, "age_s": 1.5, "pid": 4711, "uid": 0}],
}


def healthy(exchange):
    """A daemon in good health that answers 'Hello, world'."""
    answers = {
        "/health": {"status": "ok"},
        "/v1/models": {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 5}]},
        "/props": PROPS,
        "/stats": STATS,
    }
    if exchange.path in answers:
        exchange.reply(200, answers[exchange.path])
    elif exchange.path in ("/v1/chat/completions", "/v1/completions"):
        exchange.stream("Hello", ", ", "world")
    else:
        exchange.error(404, "there is no " + exchange.path, code="not_found")


class Peer:
    def __init__(self, handler=healthy):
        self.handler = handler
        self.dir = tempfile.mkdtemp(prefix="expert-peer-")
        os.chmod(self.dir, 0o755)
        self.path = os.path.join(self.dir, "s")
        self.requests = []
        self.hangups = threading.Semaphore(0)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o777)
        self.listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        # Wakes accept(), which a mere close would not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        shutil.rmtree(self.dir)

    def _accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        try:
            with conn, conn.makefile("rb") as stream:
                while self._serve_one(conn, stream):
                    pass
        except (OSError, ValueError):
            pass  # the client has gone, or the handler has closed

    def _serve_one(self, conn, stream):
        line = stream.readline()
        if not line:
            return False
        method, path, _ = line.decode().split()
        headers = {}
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, value = line.decode().split(":", 1)
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        exchange = Exchange(self, conn, method, path, headers, body)
        self.requests.append(exchange)
        self.handler(exchange)
        return True
