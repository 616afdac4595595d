#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write tests/parity/quant_vectors.bin: blocks of every format with the values that the gguf package decodes.

    tools/quant_vectors.py > tests/parity/quant_vectors.bin        (needs: pip install gguf)

Per format: type number, weights, bytes (u32 each, little-endian), the bytes, the weights as f32. Bytes are random from
a fixed seed; blocks whose values are not all finite are drawn again.
"""
import struct
import sys
import warnings

import numpy as np
from gguf import GGMLQuantizationType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

FORMATS = """F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4
IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M""".split()


def main():
    rng = np.random.default_rng(20)
    warnings.simplefilter("ignore")
    for name in FORMATS:
        type_ = GGMLQuantizationType[name]
        block_len, block_bytes = GGML_QUANT_SIZES[type_]
        blocks, values = [], []
        while len(blocks) * block_len < 512:
            raw = rng.integers(0, 256, size=block_bytes, dtype=np.uint8)
            decoded = dequantize(raw, type_).astype(np.float32).reshape(-1)
            if np.isfinite(decoded).all():
                blocks.append(raw.tobytes())
                values.append(decoded)
        data = b"".join(blocks)
        values = np.concatenate(values).astype("<f4").tobytes()
        out = struct.pack("<3I", int(type_), len(blocks) * block_len, len(data)) + data + values
        sys.stdout.buffer.write(out)


main()
