#!/usr/bin/env python3
"""Writes the broken GGUF files of gguf/ and expected.txt: file, status, part of the message.

Only the standard library; the same bytes every time."""
import pathlib
import struct

from gguf_bytes import ARRAY, BOOL, F32, STRING, U8, U32, U64, file_bytes, key, tensor, text, u32, u64

HERE = pathlib.Path(__file__).resolve().parent / "gguf"
lines = []

ARCH = key("general.architecture", STRING, text("llama"))
KEYS = [ARCH, key("general.alignment", U32, u32(32)),
        key("tokens", ARRAY, u32(STRING) + u64(2) + text("a") + text("bc")),
        key("scores", ARRAY, u32(F32) + u64(2) + struct.pack("<2f", 1, 2))]
TENSORS = [tensor("a", [4, 2], 0, 0), tensor("b", [32], 8, 32), tensor("c", [3], 1, 96)]
DATA = bytes(32) + bytes(34) + bytes(30) + bytes(6)


def header(keys=KEYS, tensors=TENSORS, **claims):
    return file_bytes(keys, tensors, None, **claims)


def file(name, status, reason, head=None, data=DATA, alignment=32):
    head = header() if head is None else head
    (HERE / f"{name}.gguf").write_bytes(head + bytes(-len(head) % alignment) + data)
    lines.append(f"{name}.gguf {status} {reason}\n")


def keys(name, reason, more, status="EFORMAT", n=None):
    file(name, status, reason, header([ARCH, more], n_keys=n))


def one(name, reason, ne=(4, 2), kind=0, offset=0, status="EFORMAT", data=bytes(64), label="x"):
    file(name, status, reason, header(tensors=[tensor(label, list(ne), kind, offset)]), data)


def main():
    for old in HERE.glob("*.gguf"):
        old.unlink()
    file("good", "OK", "")
    file("version_2", "OK", "", header(version=2))
    file("no_last_padding", "OK", "", data=DATA[:102])
    file("trailing_bytes", "OK", "", data=DATA + bytes(100))
    keys("nested_arrays", "", key("k", ARRAY, u32(ARRAY) + u64(2) + 2 * (u32(U8) + u64(1) + b"x")), status="OK")

    whole = header()
    (HERE / "only_magic.gguf").write_bytes(b"GGUF")
    lines.append("only_magic.gguf EFORMAT 4 bytes are too few for GGUF\n")
    (HERE / "cut_counts.gguf").write_bytes(whole[:20])
    lines.append("cut_counts.gguf EFORMAT 20 bytes are too few for GGUF\n")
    (HERE / "cut_keys.gguf").write_bytes(whole[:100])
    lines.append("cut_keys.gguf EFORMAT pass the end of the file (100)\n")
    (HERE / "cut_tensors.gguf").write_bytes(whole[:-10])
    lines.append("cut_tensors.gguf EFORMAT tensor 'c': its description passes the end of the file\n")
    (HERE / "cut_padding.gguf").write_bytes(whole)
    lines.append("cut_padding.gguf EFORMAT ends before its data\n")
    file("cut_data", "EFORMAT", "tensor 'b': its 34 bytes from 32 on pass the end of the data (60)", data=DATA[:60])
    file("version_0", "EUNSUPPORTED", "version 0 is not supported", header(version=0))
    file("version_1", "EUNSUPPORTED", "version 1 is not supported", header(version=1))
    file("version_4", "EUNSUPPORTED", "version 4 is not supported", header(version=4))
    file("big_endian", "EUNSUPPORTED", "a big-endian GGUF file", header(version=3 << 24))

    file("huge_key_count", "EFORMAT", "18446744073709551615 keys do not fit", header(n_keys=2 ** 64 - 1))
    file("huge_tensor_count", "EFORMAT", "9223372036854775807 tensors do not fit", header(n_tensors=2 ** 63 - 1))
    file("one_key_more", "EFORMAT", "tensor 0: a name of", header(n_keys=len(KEYS) + 1))
    keys("key_twice", "key 'general.architecture': it is there twice", ARCH)
    keys("key_empty", "key 1 is empty", key("", U8, b"x"))
    keys("key_zero_byte", "has a zero byte", key("a\0b", U8, b"x"))
    keys("key_not_utf8", "is not UTF-8", key(b"\xff\xfe", U8, b"x"))
    keys("key_huge", "key 1: 1152921504606846976 bytes of it pass the end", u64(1 << 60) + b"abc")
    keys("type_unknown", "key 'k': type 13 is not known", key("k", 13, b"xxxx"))
    keys("type_negative", "key 'k': type 4294967295 is not known", key("k", 2 ** 32 - 1, b"xxxx"))
    keys("bool_2", "key 'k': 2 is neither true nor false", key("k", BOOL, b"\2"))
    keys("string_huge", "a string of 9223372036854775808 bytes passes", key("k", STRING, u64(1 << 63) + b"abc"))
    keys("string_over_end", "a string of 5000 bytes passes", key("k", STRING, u64(5000) + b"abc"))
    keys("array_huge", "4611686018427387904 elements pass the end", key("k", ARRAY, u32(F32) + u64(1 << 62)))
    keys("array_wraps", "2305843009213693953 elements pass the end", key("k", ARRAY, u32(U64) + u64((1 << 61) + 1)))
    keys("array_of_strings_huge", "passes the end of the file", key("k", ARRAY, u32(STRING) + u64(1 << 62) + text("a")))
    keys("array_of_unknown", "type 77 is not known", key("k", ARRAY, u32(77) + u64(1) + bytes(8)))
    keys("array_deep", "arrays within arrays, deeper than 4",
         key("k", ARRAY, (u32(ARRAY) + u64(1)) * 2000 + u32(U8) + u64(1) + b"x"))

    for name, value in (("alignment_0", 0), ("alignment_3", 3), ("alignment_huge", 1 << 31)):
        keys(name, f"general.alignment: {value} is no power of two", key("general.alignment", U32, u32(value)))
    keys("alignment_u64", "general.alignment is not a u32", key("general.alignment", U64, u64(32)))
    keys("alignment_array", "general.alignment is not a u32",
         key("general.alignment", ARRAY, u32(U32) + u64(1) + u32(32)))

    one("name_empty", "a name of 0 bytes", label="")
    one("name_256", "a name of 256 bytes", label="n" * 256)
    one("name_zero_byte", "its name has a zero byte", label="a\0b")
    one("name_not_utf8", "its name has a zero byte or is not UTF-8", label=b"\xc0\x80")
    file("name_huge", "EFORMAT", "a name of 1099511627776 bytes", header(tensors=[u64(1 << 40) + bytes(40)]))
    file("name_twice", "EFORMAT", "two tensors are named 'x'",
         header(tensors=[tensor("x", [4, 2], 0, 0), tensor("x", [4, 2], 0, 32)]), bytes(64))
    one("five_dimensions", "5 dimensions, more than 4", ne=(1, 1, 1, 1, 1))
    file("dimensions_huge", "EFORMAT", "4294967295 dimensions, more than 4",
         header(tensors=[text("x") + u32(2 ** 32 - 1) + bytes(40)]), bytes(64))
    one("shape_overflow", "the size of shape [4294967296, 4294967296] overflows", ne=(1 << 32, 1 << 32))
    one("shape_negative", "overflows", ne=(2 ** 64 - 1, 2))
    one("shape_wraps", "overflows", ne=(1 << 63, 2, 2))
    one("shape_hidden_by_zero", "overflows", ne=(1 << 40, 0, 1 << 40))
    one("bytes_overflow", "overflows", ne=(1 << 62,), kind=0)
    one("rows_of_31", "shape [31]: rows of no whole number of blocks (Q4_0: 32 values)", ne=(31,), kind=2)
    one("one_value_of_blocks", "one value of Q8_0", ne=(), kind=8)
    one("type_ik", "tensor 'x': type 137 (of the fork ik_llama.cpp) is not supported", kind=137, status="EUNSUPPORTED")
    one("type_gone", "type 4 (Q4_2 or Q4_3, gone since 2023) is not supported", kind=4, status="EUNSUPPORTED")
    one("type_repacked", "type 31 (Q4_0 interleaved", kind=31, status="EUNSUPPORTED")
    one("type_unknown_tensor", "type 4294967295 (unknown) is not supported", kind=2 ** 32 - 1, status="EUNSUPPORTED")
    one("offset_hole", "tensor 'x': begins at 32 of the data, expected at 0", offset=32)
    one("offset_unaligned", "begins at 4 of the data, expected at 0", offset=4)
    one("offset_huge", "begins at 18446744073709551615 of the data", offset=2 ** 64 - 1)
    file("overlap", "EFORMAT", "tensor 'y': begins at 0 of the data, expected at 32",
         header(tensors=[tensor("x", [4, 2], 0, 0), tensor("y", [4, 2], 0, 0)]), bytes(64))
    one("data_missing", "tensor 'x': its 4294967296 bytes from 0 on pass the end of the data", ne=(1 << 30,))

    split = [key("split.no", U32, u32(0)), key("split.count", U32, u32(2))]
    file("split_wrong_name", "EFORMAT", "is file 1 of 2: its name must end with -00001-of-00002.gguf", header(split))
    file("split_no_over_count", "EFORMAT", "split.no 5 of split.count 2",
         header([key("split.no", U32, u32(5)), split[1]]))
    file("split_text", "EFORMAT", "split.no and split.count are not two integers",
         header([split[0], key("split.count", STRING, text("2"))]))
    file("split_alone", "EFORMAT", "split.no and split.count are not two integers", header(split[1:]))
    file("split_huge", "EFORMAT", "split.no 0 of split.count 70000",
         header([split[0], key("split.count", U32, u32(70000))]))
    file("missing-00001-of-00002", "ENOTFOUND", "missing-00002-of-00002.gguf: file 2 of 2 is missing", header(split))
    other = [key("split.no", U32, u32(1)), split[1]]
    file("twice-00001-of-00002", "EFORMAT", "two tensors are named 'a'", header(split))
    file("twice-00002-of-00002", "EFORMAT", "two tensors are named 'a'", header(other))
    total = split + [key("split.tensors.count", U32, u32(9))]
    file("total-00001-of-00002", "EFORMAT", "the 2 files have 4 tensors, split.tensors.count says 9",
         header(total))
    file("total-00002-of-00002", "EFORMAT", "the 2 files have 4 tensors, split.tensors.count says 9",
         header(other, [tensor("z", [4, 2], 0, 0)]), bytes(32))
    file("other-00001-of-00002", "EFORMAT", "other-00002-of-00002.gguf: not a GGUF file", header(split))
    (HERE / "other-00002-of-00002.gguf").write_bytes(b"text, no tensors\n")
    (HERE / "expected.txt").write_text("".join(lines))


main()
