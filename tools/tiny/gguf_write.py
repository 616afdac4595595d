# SPDX-License-Identifier: MIT
"""Writes GGUF v3 files. Tensor data comes from iterators of bytes, so a model of any size needs little memory.

Source: the GGUF specification, github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""
import struct

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
SCALARS = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q"}
ALIGNMENT = 32

# name: (type number, weights per block, bytes per block)
TYPES = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "MXFP4": (39, 32, 17),
    "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210), "BF16": (30, 1, 2),
    # Those that nothing here encodes, for files that are rewritten.
    "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110),
    "Q5_K": (13, 256, 176), "IQ2_XXS": (16, 256, 66), "IQ2_XS": (17, 256, 74), "IQ3_XXS": (18, 256, 98),
    "IQ1_S": (19, 256, 50), "IQ4_NL": (20, 32, 18), "IQ3_S": (21, 256, 110), "IQ2_S": (22, 256, 82),
    "IQ4_XS": (23, 256, 136), "IQ1_M": (29, 256, 56),
}


def tensor_bytes(kind, dims):
    _, block_len, block_bytes = TYPES[kind]
    assert dims[0] % block_len == 0, (kind, dims)
    n = 1
    for dim in dims:
        n *= dim
    return n // block_len * block_bytes


def _string(s):
    raw = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(raw)) + raw


def _scalar(kind, value):
    return _string(value) if kind == STRING else struct.pack(SCALARS[kind], value)


def _value(kind, value):
    if isinstance(value, (list, tuple)):
        return struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(_scalar(kind, v) for v in value)
    return struct.pack("<I", kind) + _scalar(kind, value)


def write(path, keys, tensors):
    """keys: [(name, kind, value)]; tensors: [(name, kind, dims with the contiguous one first, iterator of bytes)]."""
    raw = b"".join(_string(name) + _value(kind, value) for name, kind, value in keys)
    write_raw(path, raw, len(keys), ALIGNMENT, tensors)


def write_raw(path, keys, n_keys, alignment, tensors):
    """keys: the bytes of all of them."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), n_keys) + keys
    offset = 0
    for name, kind, dims, _ in tensors:
        head += _string(name) + struct.pack("<I", len(dims)) + struct.pack("<%dQ" % len(dims), *dims)
        head += struct.pack("<IQ", TYPES[kind][0], offset)
        offset += -(-tensor_bytes(kind, dims) // alignment) * alignment
    with open(path, "wb") as out:
        out.write(head + bytes(-len(head) % alignment))
        for name, kind, dims, chunks in tensors:
            written = 0
            for chunk in chunks:
                out.write(chunk)
                written += len(chunk)
            assert written == tensor_bytes(kind, dims), (name, written)
            out.write(bytes(-written % alignment))
