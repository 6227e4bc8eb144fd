"""Writes test/golden/encoders.txt: what llama.cpp's ggml_quantize_chunk makes of the same 3 rows of 1280 numbers, a
line a block type with and without importance: name, importance (0 or 1), CRC-32 of the blocks.

    python test/golden/make_encoders.py libggml-base.so

The library as cmake makes it (target ggml-base, -DBUILD_SHARED_LIBS=ON): compiled for x86-64 without -march, so that no
products and sums are fused. With fused ones some blocks differ. The first line of the file tells ggml's version.
"""
import ctypes
import pathlib
import sys
import zlib

import numpy as np

TYPES = {"Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34),
         "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
         "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18), "IQ4_XS": (23, 256, 136)}
N_ROWS, N = 3, 1280


def numbers():
    """As in test_blocks.c: weights with outliers and zeros, importances over eight octaves."""
    state, x, e = 1, [], []
    for i in range(N_ROWS * N + N):
        state = (state * 1664525 + 1013904223) % (1 << 32)
        value = (state >> 8) - (1 << 23)
        if i < N_ROWS * N:
            x.append(value * (2.0 ** -24 if state >> 8 & 63 == 0 else 0 if state >> 8 & 63 == 1 else 2.0 ** -28))
        else:
            e.append(((state >> 16) + 1) * 2.0 ** -(state >> 8 & 7))
    return np.array(x, np.float32), np.array(e, np.float32)


def main(path):
    library = ctypes.CDLL(path)
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    library.ggml_version.restype = ctypes.c_char_p
    lines = [f"# ggml {library.ggml_version().decode()}\n"]
    x, e = numbers()
    for name, (number, values, size) in TYPES.items():
        for importance in 0, 1:
            out = np.zeros(N_ROWS * N // values * size, np.uint8)
            quantize(number, x.ctypes.data, out.ctypes.data, 0, N_ROWS, N, e.ctypes.data if importance else None)
            lines.append(f"{name} {importance} {zlib.crc32(out.tobytes()):08x}\n")
    pathlib.Path(__file__).with_name("encoders.txt").write_text("".join(lines))


main(sys.argv[1])
