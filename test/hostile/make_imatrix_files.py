#!/usr/bin/env python3
"""Writes the broken importance matrices of imatrix/ (llama.cpp's GGUF form) and imatrix_dat/ (its older form), and
expected.txt in both: file, status, part of the message. The model that they are of is test/golden/bloom_f32.

Only the standard library; the same bytes every time."""
import pathlib
import struct

from gguf_bytes import ARRAY, STRING, U32, file_bytes, key, tensor, text, u32, u64

HERE = pathlib.Path(__file__).resolve().parent
N_IN = {"attn_qkv": 12, "attn_output": 12, "ffn_up": 12, "ffn_down": 48}
MAPS = [(f"blk.{k}.{name}.weight", n) for k in range(2) for name, n in N_IN.items()] + [("output.weight", 12)]
KEYS = [key("general.type", STRING, text("imatrix")),
        key("imatrix.datasets", ARRAY, u32(STRING) + u64(1) + text("en")),
        key("imatrix.chunk_count", U32, u32(1)), key("imatrix.chunk_size", U32, u32(512))]
lines = {"gguf": [], "dat": []}


def floats(*x):
    return struct.pack(f"<{len(x)}f", *x)


def entry(name, n, sums=None, counts=None):
    """Two tensors: name, shape, data."""
    sums = floats(*(float(j + 1) for j in range(n))) if sums is None else sums
    counts = floats(10) if counts is None else counts
    return [(name + ".in_sum2", [len(sums) // 4, 1], 0, sums), (name + ".counts", [1, len(counts) // 4], 0, counts)]


def good():
    return [part for name, n in MAPS for part in entry(name, n)]


def gguf(name, status, reason, parts=None, keys=KEYS):
    infos, data = [], b""
    for label, ne, kind, part in good() if parts is None else parts:
        infos.append(tensor(label, ne, kind, len(data)))
        data += part + bytes(-len(part) % 32)
    head = file_bytes(keys, infos, None)
    (HERE / "imatrix" / f"{name}.gguf").write_bytes(head + bytes(-len(head) % 32) + data)
    lines["gguf"].append(f"{name}.gguf {status} {reason}\n")


def with_part(i, **change):
    parts = good()
    label, ne, kind, data = parts[i]
    parts[i] = (change.get("label", label), change.get("ne", ne), change.get("kind", kind), change.get("data", data))
    return parts


def make_gguf():
    gguf("good", "OK", "")
    gguf("one_map", "OK", "", good()[:2])
    gguf("others_ignored", "OK", "", good() + entry("blk.9.attn_q.weight", 5))
    gguf("counts_zero", "OK", "", with_part(1, data=floats(0)))
    gguf("no_type", "EFORMAT", "general.type", keys=KEYS[1:])
    gguf("type_model", "EFORMAT", "general.type", keys=[key("general.type", STRING, text("model"))])
    gguf("type_number", "EFORMAT", "general.type", keys=[key("general.type", U32, u32(3))])
    gguf("nothing", "EMISMATCH", "no linear map", [])
    gguf("other_model", "EMISMATCH", "no linear map", entry("blk.7.attn_q.weight", 12))
    gguf("no_counts", "EFORMAT", "not both", good()[:1])
    gguf("no_sums", "EFORMAT", "not both", good()[1:2])
    gguf("sums_f16", "EFORMAT", "not both", with_part(0, kind=1, data=bytes(24)))
    gguf("counts_i32", "EFORMAT", "not both", with_part(1, kind=26, data=bytes(4)))
    gguf("sums_short", "EMISMATCH", "11 values", entry(MAPS[0][0], 11))
    gguf("sums_long", "EMISMATCH", "24 values", entry(MAPS[0][0], 24))
    gguf("counts_two", "EFORMAT", "2 counts", entry(MAPS[0][0], 12, counts=floats(1, 2)))
    gguf("counts_none", "EFORMAT", "0 counts", entry(MAPS[0][0], 12, counts=b""))
    gguf("count_negative", "EFORMAT", "-1 rows", with_part(1, data=floats(-1)))
    gguf("count_nan", "EFORMAT", "rows cannot be", with_part(1, data=floats(float("nan"))))
    gguf("count_inf", "EFORMAT", "inf rows", with_part(1, data=floats(float("inf"))))
    gguf("count_huge", "EFORMAT", "1e+30 rows", with_part(1, data=floats(1e30)))
    gguf("sum_negative", "EFORMAT", "sum 3", entry(MAPS[0][0], 12, floats(*[1] * 3, -1, *[1] * 8)))
    gguf("sum_nan", "EFORMAT", "sum 0", entry(MAPS[0][0], 12, floats(float("nan"), *[1] * 11)))
    gguf("sum_inf", "EFORMAT", "sum 11", entry(MAPS[0][0], 12, floats(*[1] * 11, float("inf"))))
    gguf("twice", "EFORMAT", "", good() + good()[:1])


def dat_entry(name=MAPS[0][0], n_rows=10, n_values=12, sums=None, n_name=None):
    name = name.encode()
    sums = floats(*(float(j + 1) for j in range(n_values))) if sums is None else sums
    head = struct.pack("<i", len(name) if n_name is None else n_name)
    return head + name + struct.pack("<ii", n_rows, n_values) + sums


def dat(name, status, reason, entries=None, n=None, tail=struct.pack("<ii", 1, 2) + b"en"):
    entries = [dat_entry(label, 10, size) for label, size in MAPS] if entries is None else entries
    data = struct.pack("<i", len(entries) if n is None else n) + b"".join(entries) + tail
    (HERE / "imatrix_dat" / f"{name}.dat").write_bytes(data)
    lines["dat"].append(f"{name}.dat {status} {reason}\n")


def make_dat():
    dat("good", "OK", "")
    dat("no_tail", "OK", "", tail=b"")
    dat("one_map", "OK", "", [dat_entry()])
    dat("empty", "EFORMAT", "entries", [], 0, b"")
    dat("entries_none", "EFORMAT", "entries of 0", [], 0)
    dat("entries_negative", "EFORMAT", "entries of -5", n=-5)
    dat("entries_huge", "EFORMAT", "entries of 2147483647", n=2147483647)
    dat("entries_more", "EFORMAT", "a name", n=10, tail=b"")
    dat("other_model", "EMISMATCH", "no linear map", [dat_entry("blk.7.attn_q.weight")])
    dat("name_empty", "EFORMAT", "a name of 0", [dat_entry("")])
    dat("name_negative", "EFORMAT", "a name of -1", [dat_entry(n_name=-1)])
    dat("name_huge", "EFORMAT", "a name of 1000000000", [dat_entry(n_name=1000000000)])
    dat("name_passes_the_end", "EFORMAT", "a name passes", [dat_entry(n_name=4000)])
    dat("values_none", "EFORMAT", "values of 0", [dat_entry(n_values=0)])
    dat("values_negative", "EFORMAT", "values of -1", [dat_entry(n_values=-1, sums=b"")])
    dat("values_huge", "EFORMAT", "values of 2147483647", [dat_entry(n_values=2147483647, sums=floats(1))])
    dat("values_other", "EMISMATCH", "13 values", [dat_entry(n_values=13)])
    dat("count_negative", "EFORMAT", "a count of -3", [dat_entry(n_rows=-3)])
    dat("sum_negative", "EFORMAT", "sum 0", [dat_entry(sums=floats(-1, *[1] * 11))])
    dat("sum_nan", "EFORMAT", "sum 11", [dat_entry(sums=floats(*[1] * 11, float("nan")))])
    dat("truncated", "EFORMAT", "a number of values", [dat_entry()[:-20]], tail=b"")
    dat("text", "EFORMAT", "entries", [b"an importance matrix, for sure"], n=0x74787425)


def main():
    for kind, folder in ("gguf", "imatrix"), ("dat", "imatrix_dat"):
        (HERE / folder).mkdir(exist_ok=True)
        for old in (HERE / folder).glob("*"):
            old.unlink()
        make_gguf() if kind == "gguf" else make_dat()
        (HERE / folder / "expected.txt").write_text("".join(lines[kind]))


main()
