# SPDX-License-Identifier: MIT
"""How many bytes a token reads, which its roofline is made of: from the header of a GGUF file (layout and type numbers as
in ggml's docs/gguf.md)."""
import math
import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# weights and bytes of a block
TYPES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
         12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50),
         20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 29: (256, 56), 30: (1, 2), 39: (32, 17)}


def header(path):
    """(keys, {tensor: bytes})"""
    with open(path, "rb") as f:
        def take(kind):
            return struct.unpack("<" + kind, f.read(struct.calcsize("<" + kind)))[0]

        def text():
            return f.read(take("Q")).decode("utf-8", "replace")

        def value(kind):
            if kind == 8:
                return text()
            if kind != 9:
                return take(SCALARS[kind])
            inner, n = take("I"), take("Q")
            return [value(inner) for _ in range(n)]

        def tensor_bytes():
            weights = math.prod([take("Q") for _ in range(take("I"))])
            per_block, block_bytes = TYPES[take("I")]
            take("Q")
            return weights // per_block * block_bytes

        if f.read(4) != b"GGUF":
            raise ValueError(path + " is not a GGUF file")
        take("I")
        n_tensors, n_keys = take("Q"), take("Q")
        keys = {}
        for _ in range(n_keys):
            name = text()
            keys[name] = value(take("I"))
        tensors = {}
        for _ in range(n_tensors):
            name = text()
            tensors[name] = tensor_bytes()
        return keys, tensors


def token_bytes(path):
    """Bytes of weights that a token reads, and bytes of F16 keys and values that it reads per position before it."""
    keys, tensors = header(path)
    arch = keys["general.architecture"]
    key = lambda name: keys[f"{arch}.{name}"]
    share = key("expert_used_count") / key("expert_count")
    weights = sum(size * (share if "_exps." in name else 1) for name, size in tensors.items()
                  if name != "token_embd.weight" or "output.weight" not in tensors)
    head_dim = keys.get(f"{arch}.attention.key_length", key("embedding_length") // key("attention.head_count"))
    return weights, key("block_count") * key("attention.head_count_kv") * head_dim * 2 * 2
