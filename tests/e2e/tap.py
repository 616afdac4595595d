# SPDX-License-Identifier: MIT
"""TAP from Python functions whose names begin with test_, in the order in which they stand."""

import sys
import traceback


class Skip(Exception):
    pass


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


def main(module):
    tests = [(name, value) for name, value in vars(module).items() if name.startswith("test_")]
    only = sys.argv[1:]
    if only:
        tests = [(name, value) for name, value in tests if name in only]
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, (name, test) in enumerate(tests, 1):
        label = name[len("test_") :].replace("_", " ")
        try:
            test()
            print(f"ok {number} - {label}", flush=True)
        except Skip as reason:
            print(f"ok {number} - {label} # SKIP {reason}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {label}", flush=True)
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
    sys.exit(1 if failed else 0)
