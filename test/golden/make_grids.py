"""Writes lib/tensor/blocks_grids.c: the codebooks of GGUF's IQ types as sets of points.

    python test/golden/make_grids.py

The codebooks have no definition but themselves: they were found by search (ggml, k_quants 2024) and are part of the
format. Read from gguf-py 0.19, gguf/quants.py; each is an ascending list of points of 8 digits base 3 or 4 digits base
8, so that a set of bits over all points says the same in a fifth of the room.
"""
import pathlib

import numpy as np
from gguf import quants

OUT = pathlib.Path(__file__).resolve().parents[2] / "lib" / "tensor" / "blocks_grids.c"
GRIDS = [("iq1", quants.IQ1_S), ("iq2_xxs", quants.IQ2_XXS), ("iq2_xs", quants.IQ2_XS), ("iq2_s", quants.IQ2_S),
         ("iq3_xxs", quants.IQ3_XXS), ("iq3_s", quants.IQ3_S)]
HEAD = '''/* blocks_grids.c - codebooks of the IQ types, each a set of points: see qd_grid_points.
 *
 * Made by test/golden/make_grids.py from gguf-py 0.19 (gguf/quants.py). The points were found by search and are facts
 * of the format: there is no formula. */
#include "tensor/blocks.h"
'''


def main():
    text = HEAD
    for name, kind in GRIDS:
        kind.init_grid()
        values = list(kind.grid_map)
        points = kind.grid.reshape(kind.grid_shape)
        base, n_digits = len(values), points.shape[1]
        digits = np.array([[values.index(v) for v in point] for point in points])
        numbers = (digits * base ** np.arange(n_digits)).sum(axis=1)
        assert (np.diff(numbers) > 0).all()
        bits = sum(1 << int(number) for number in numbers)
        n_words = (base ** n_digits + 63) // 64
        words = [f"0x{bits >> 64 * i & (1 << 64) - 1:016x}," for i in range(n_words)]
        text += f"\nstatic const uint64_t {name}[{n_words}] = {{\n"
        for i in range(0, n_words, 5):
            text += "    " + " ".join(words[i:i + 5]) + "\n"
        text += f"}};\nconst qd_grid_points qd_grid_{name} = {{{name}, {len(numbers)}, {n_digits}, {base}}};\n"
    OUT.write_text(text)


main()
