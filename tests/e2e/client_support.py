# SPDX-License-Identifier: MIT
"""Running `expert` in the tests: with pipes, or on a terminal of its own (a pty)."""

import os
import pty
import select
import signal
import subprocess
import tempfile

BUILD = os.environ.get("top_builddir", ".")
SOURCE = os.environ.get("top_srcdir", ".")
EXPERT = os.path.join(BUILD, "expert")
PATIENCE_S = 60


def environment(**changes):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "EXPERTD_"))}
    env.update(LC_ALL="C.UTF-8", TERM="xterm", **{k: v for k, v in changes.items() if v is not None})
    return env


def expert(peer, *args, stdin="", env=None, **popen):
    """Run to the end: (exit status, stdout, stderr), decoded."""
    command = [EXPERT, args[0], *(["--socket", getattr(peer, "path", peer)] if peer else []), *args[1:]]
    done = subprocess.run(command, input=stdin.encode() if isinstance(stdin, str) else stdin, capture_output=True,
                          timeout=PATIENCE_S, env=env or environment(), check=False, **popen)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode()


def start(peer, *args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen):
    """Start, and leave it running."""
    return subprocess.Popen([EXPERT, args[0], "--socket", peer.path, *args[1:]], stdin=stdin, stdout=stdout, stderr=stderr,
                            env=environment(), **popen)


class Terminal:
    """`expert` on a pty; what it shows is read until some words have come."""

    def __init__(self, peer, *args, env=None):
        self.home = tempfile.TemporaryDirectory(prefix="expert-home-")
        self.env = environment(HOME=self.home.name, **(env or {}))
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execve(EXPERT, [EXPERT, args[0], "--socket", peer.path, *args[1:]], self.env)
            finally:
                os._exit(127)
        self.shown = b""

    def read_until(self, words):
        """Everything shown up to and including `words`, which is consumed."""
        words = words.encode()
        while words not in self.shown:
            if not select.select([self.fd], [], [], PATIENCE_S)[0]:
                raise AssertionError(f"{words!r} never came: {self.shown!r}")
            try:
                more = os.read(self.fd, 65536)
            except OSError:  # EIO: the other side has closed
                more = b""
            if not more:
                raise AssertionError(f"ended without {words!r}: {self.shown!r}")
            self.shown += more
        end = self.shown.index(words) + len(words)
        text, self.shown = self.shown[:end], self.shown[end:]
        return text.decode()

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Ctrl-D, wherever the program is: the exit status."""
        self.type("\x04")
        return self.wait()[0]

    def wait(self):
        """Read to the end: (exit status as a shell gives it, what was shown)."""
        while True:
            if not select.select([self.fd], [], [], PATIENCE_S)[0]:
                os.kill(self.pid, signal.SIGKILL)
            try:
                more = os.read(self.fd, 65536)
            except OSError:
                more = b""
            if not more:
                break
            self.shown += more
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return (128 - status if status < 0 else status), self.shown.decode()


def interrupt(process, signum=signal.SIGINT):
    process.send_signal(signum)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out.decode(errors="replace"), err.decode()
