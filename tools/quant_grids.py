#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write compute/quant_grids.c: the lattices of the IQ1, IQ2 and IQ3 formats, as the gguf package knows them.

    tools/quant_grids.py > compute/quant_grids.c        (needs: pip install gguf)

A point of eight coordinates is packed as eight pairs of bits, one of four coordinates as four triples, first lowest;
the numbers index the format's short list of magnitudes.
"""
from gguf import quants

GRIDS = [("iq2_xxs", quants.IQ2_XXS, 2), ("iq2_xs", quants.IQ2_XS, 2), ("iq2_s", quants.IQ2_S, 2),
         ("iq3_xxs", quants.IQ3_XXS, 3), ("iq3_s", quants.IQ3_S, 3), ("iq1", quants.IQ1_S, 2)]

print("/* SPDX-License-Identifier: MIT\n *\n * quant_grids.c: written by tools/quant_grids.py; see quant_iq.h.\n */")
print('#include "compute/quant_iq.h"')
for name, cls, bits in GRIDS:
    cls.init_grid()
    points = cls.grid.reshape(cls.grid_shape)
    index = {value: i for i, value in enumerate(cls.grid_map)}
    print(f"\nconst uint16_t quant_grid_{name}[{len(points)}] = {{")
    packed = [sum(index[int(v)] << (bits * k) for k, v in enumerate(point)) for point in points]
    for i in range(0, len(packed), 14):
        print("    " + ", ".join(f"0x{p:04x}" for p in packed[i:i + 14]) + ",")
    print("};")
