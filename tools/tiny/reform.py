#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a model's experts in another of the forms that files have: reform.py IN.gguf OUT.gguf FORM.

The input has them stacked, in a tensor for each part of a layer (blk.N.ffn_gate_exps and so on). FORM is one of
    fused   gate and up of a layer in one tensor (ffn_gate_up_exps), of each expert the gate's rows, then the up's
    apart   a tensor for each part of each expert (ffn_gate.E), in the order in which Mixtral was converted once
    strewn  the same, all tensors of the file in an order by chance
The weights are the same bytes, and so are all other tensors and the keys. One file, not a split one. Needs Python 3.9.
"""
import os
import random
import re
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gguf_write as gw  # noqa: E402

COPY_BYTES = 1 << 20
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of values, by type
KINDS = {number: kind for kind, (number, _, _) in gw.TYPES.items()}


class Reader:
    def __init__(self, file):
        self.file = file

    def number(self, code):
        return struct.unpack("<" + code, self.file.read(struct.calcsize(code)))[0]

    def string(self):
        return self.file.read(self.number("Q"))

    def value(self, kind):
        """A number, or None for what nobody asks for."""
        if kind == gw.STRING:
            return self.string() and None
        if kind == gw.ARRAY:
            kind, n = self.number("I"), self.number("Q")
            for _ in range(n):
                self.value(kind)
            return None
        raw = self.file.read(SIZES[kind])
        return int.from_bytes(raw, "little") if kind in (gw.U32, gw.U64) else None

    def tensor(self):
        name, n = self.string().decode(), self.number("I")
        dims = struct.unpack("<%dQ" % n, self.file.read(8 * n))
        kind = KINDS[self.number("I")]
        return name, kind, dims, [(self.number("Q"), gw.tensor_bytes(kind, dims))]


def read(file):
    """Its keys as they stand there, how many, the alignment, and [(name, kind, dims, [(where, bytes)])]."""
    r = Reader(file)
    assert file.read(4) == b"GGUF" and r.number("I") == 3, "not a GGUF file of version 3"
    n_tensors, n_keys, alignment = r.number("Q"), r.number("Q"), gw.ALIGNMENT
    start = file.tell()
    for _ in range(n_keys):
        name, value = r.string(), r.value(r.number("I"))
        alignment = value if name == b"general.alignment" else alignment
    end = file.tell()
    tensors = [r.tensor() for _ in range(n_tensors)]
    data = -(-file.tell() // alignment) * alignment
    file.seek(start)
    keys = file.read(end - start)
    return keys, n_keys, alignment, [(name, kind, dims, [(data + at, n)]) for name, kind, dims, ((at, n),) in tensors]


def slices(tensor):
    _, _, dims, ((at, n),) = tensor
    return [(at + e * (n // dims[2]), n // dims[2]) for e in range(dims[2])]


def fuse(gate, up):
    name, kind, (cols, rows, n_experts), _ = gate
    assert up[1:3] == gate[1:3], "%s and %s differ in format or shape" % (name, up[0])
    pieces = [piece for pair in zip(slices(gate), slices(up)) for piece in pair]
    return name.replace("ffn_gate_exps", "ffn_gate_up_exps"), kind, (cols, 2 * rows, n_experts), pieces


def expert_of(tensor, e):
    name, kind, dims, _ = tensor
    return name.replace("_exps.", ".%d." % e), kind, dims[:2], [slices(tensor)[e]]


def reform(tensors, form):
    by_name = {t[0]: t for t in tensors}
    out = []
    for t in tensors:
        found = re.fullmatch(r"(blk\.\d+\.ffn_)(gate|up|down)_exps\.weight", t[0])
        if not found or form == "fused" and found[2] == "down":
            out.append(t)
        elif found[2] == "gate":
            gate, up, down = (by_name[found[1] + part + "_exps.weight"] for part in ("gate", "up", "down"))
            out += [fuse(gate, up)] if form == "fused" else [
                expert_of(part, e) for e in range(t[2][2]) for part in (gate, down, up)]
    if form == "strewn":
        random.Random(1).shuffle(out)
    return out


def copy(file, pieces):
    for at, n in pieces:
        file.seek(at)
        while n > 0:
            chunk = file.read(min(n, COPY_BYTES))
            assert chunk, "the file is cut short"
            n -= len(chunk)
            yield chunk


def rewrite(path, out, form):
    assert form in ("fused", "apart", "strewn"), form
    with open(path, "rb") as file:
        keys, n_keys, alignment, tensors = read(file)
        gw.write_raw(out, keys, n_keys, alignment,
                     [(name, kind, dims, copy(file, pieces)) for name, kind, dims, pieces in reform(tensors, form)])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    rewrite(*sys.argv[1:])
