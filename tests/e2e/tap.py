# SPDX-License-Identifier: MIT
"""TAP from Python functions, in the order in which they stand: those marked with @test, and those of a module whose names
begin with test_. Names given on the command line choose some of them."""
import signal
import sys
import traceback

# Whoever runs the tests in the background may have it ignored, which programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

LIMIT_S = 240  # for one test; what hangs is ended and fails
TESTS = []


class Skip(Exception):
    pass


def test(f):
    TESTS.append(f)
    return f


def check(condition, *context):
    if not condition:
        raise AssertionError(" ".join(repr(c) for c in context) or "not so")


def equal(got, wanted, *context):
    if got != wanted:
        raise AssertionError(f"got {got!r}, wanted {wanted!r} {context if context else ''}")


def contains(text, *parts):
    for part in parts:
        if part not in text:
            raise AssertionError(f"{part!r} is not in {text!r}")


def run(f):
    """None, why it was skipped, or the exception it raised."""
    signal.alarm(LIMIT_S)
    try:
        f()
    except Skip as reason:
        return reason
    except Exception as failure:
        print("# " + traceback.format_exc().rstrip().replace("\n", "\n# "))
        return failure
    return None


def main(module=None):
    tests = TESTS + [f for name, f in vars(module).items() if name.startswith("test_")] if module else TESTS
    tests = [f for f in tests if not sys.argv[1:] or f.__name__ in sys.argv[1:]]
    failed = 0
    print("1..%d" % len(tests), flush=True)
    for number, f in enumerate(tests, 1):
        label = "%d - %s" % (number, f.__name__.removeprefix("test_").replace("_", " "))
        end = run(f)
        skipped = isinstance(end, Skip)
        bad = end is not None and not skipped
        failed += bad
        print("%s %s%s" % ("not ok" if bad else "ok", label, " # SKIP %s" % end if skipped else ""), flush=True)
    sys.exit(1 if failed else 0)
