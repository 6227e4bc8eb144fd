#!/usr/bin/env python3
"""Writes the broken SentencePiece models of sentencepiece/ and what each must be refused with (expected.txt: file,
status, part of the message). Only the standard library; the same bytes every time."""
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sentencepiece")
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE, WORD, CHAR = range(1, 5)
SPACE = "\u2581"
lines = []


def varint(n):
    made = b""
    while n > 0x7F:
        made += bytes([n & 0x7F | 0x80])
        n >>= 7
    return made + bytes([n])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def piece(text, score=-1.0, kind=NORMAL):
    text = text if isinstance(text, bytes) else text.encode()
    return field(1, field(1, text) + field(2, float(score)) + field(3, kind))


UNK = piece("<unk>", 0, UNKNOWN)
SPECIAL = UNK + piece("<s>", 0, CONTROL) + piece("</s>", 0, CONTROL)
CHARACTERS = b"".join(piece(c, -i - 2) for i, c in enumerate(SPACE + "abc"))
PIECES = SPECIAL + CHARACTERS + piece("ab", -1) + piece(SPACE + "a", -1.5) + piece("ca", -3, USER)


def units(*values):
    return struct.pack(f"<{len(values)}I", *values)


def file(name, status, reason, more=b"", pieces=PIECES, kind=UNIGRAM, trainer=b"", normalizer=b""):
    data = pieces + more + field(2, field(3, kind) + trainer) + field(3, normalizer)
    raw(name, status, reason, data)


def raw(name, status, reason, data):
    with open(os.path.join(HERE, name + ".model"), "wb") as f:
        f.write(data)
    lines.append(f"{name}.model {status} {reason}\n")


def wire():
    whole = "the model: a field that passes the end or is none"
    raw("only_a_head", "EFORMAT", whole, b"\x0a\x10\x0a\x03abc")
    raw("cut_in_normalizer", "EFORMAT", whole, PIECES + field(2, b"") + field(3, field(4, 1))[:-1])
    file("length_huge", "EFORMAT", whole, varint(1 << 3 | 2) + varint(1 << 63))
    file("length_wraps", "EFORMAT", whole, varint(1 << 3 | 2) + varint(2 ** 64 - 1))
    file("varint_of_11_bytes", "EFORMAT", whole, varint(9 << 3) + b"\xff" * 10 + b"\x01")
    file("varint_over_64_bits", "EFORMAT", whole, varint(9 << 3) + b"\xff" * 9 + b"\x02")
    file("field_0", "EFORMAT", whole, b"\x00\x01")
    file("field_huge", "EFORMAT", whole, varint(1 << 40) + b"\x01")
    file("group", "EFORMAT", whole, varint(9 << 3 | 3) + varint(9 << 3 | 4))
    file("wire_type_7", "EFORMAT", whole, varint(9 << 3 | 7) + b"\x01")
    file("fixed_cut", "EFORMAT", "pieces: a field that passes the end", field(1, field(1, b"x") + b"\x15\0\0"))
    file("piece_is_a_number", "EFORMAT", whole, field(1, 7))
    file("trainer_is_a_number", "EFORMAT", whole, field(2, 7))
    file("string_over_piece", "EFORMAT", "pieces: a field that passes the end",
         field(1, b"\x0a\x05ab"))
    file("trainer_broken", "EFORMAT", "trainer_spec: a field that passes the end", trainer=b"\x1a\x05x")
    file("normalizer_broken", "EFORMAT", "normalizer_spec: a field that passes the end", normalizer=b"\x12\x7fx")
    file("unknown_fields", "OK", "", field(99, b"\xff" * 50) + field(98, 1.5) + varint(97 << 3 | 1) + bytes(8))


def contents():
    file("no_unknown", "EFORMAT", "pieces: no unknown one", pieces=CHARACTERS)
    file("two_unknown", "EFORMAT", "pieces: two unknown ones", piece("<unk2>", 0, UNKNOWN))
    file("score_nan", "EFORMAT", "token 10: a score that is not finite", piece("x", float("nan")))
    file("score_inf", "EFORMAT", "token 10: a score that is not finite", piece("x", float("inf")))
    file("type_0", "EFORMAT", "token 10: an unknown type", piece("x", 0, 0))
    file("type_7", "EFORMAT", "token 10: an unknown type", piece("x", 0, 7))
    file("type_huge", "EFORMAT", "token 10: an unknown type", piece("x", 0, (1 << 63) + NORMAL))
    file("string_empty", "EFORMAT", "token 10: an empty string", piece(""))
    file("string_missing", "EFORMAT", "token 10: an empty string", field(1, field(2, -1.0)))
    file("string_is_a_number", "EFORMAT", "token 10: an empty string", field(1, field(1, 7)))
    file("string_nul", "EFORMAT", "token 10: a string with a NUL", piece("a\0b"))
    file("string_not_utf8", "EFORMAT", "token 10: not UTF-8", piece(b"\xed\xa0\x80"))
    file("string_twice", "EFORMAT", "token 10: the string is there twice", piece("ab"))
    file("model_type_9", "EUNSUPPORTED", "trainer_spec.model_type: 9 is not known", kind=9)
    file("model_type_huge", "EUNSUPPORTED", "model_type: 4294967297 is not known", kind=(1 << 32) + 1)
    file("bytes_missing", "EFORMAT", "model: byte_fallback without a piece <0x00>", trainer=field(35, 1))
    file("bytes_of_another_type", "EFORMAT", "model: byte_fallback without a piece <0x07>", trainer=field(35, 1),
         more=b"".join(piece(f"<0x{b:02X}>", 0, NORMAL if b == 7 else BYTE) for b in range(256)))
    file("unk_surface_not_utf8", "EFORMAT", "trainer_spec.unk_surface: not UTF-8", trainer=field(44, b"\xff"))
    file("bpe_unused", "EUNSUPPORTED", "model: piece 10 is unused, and merged to", piece("bc", -1, UNUSED), kind=BPE)
    file("bpe_long", "EUNSUPPORTED", "model: piece 10 has more than 512 bytes", piece("ab" * 257), kind=BPE)
    file("bpe_no_character", "EUNSUPPORTED", "model: piece 10 holds a character that is no piece", piece("abz"),
          kind=BPE)
    file("unigram_only_unknown", "OK", "", pieces=UNK)
    file("word_only_unknown", "OK", "", pieces=UNK, kind=WORD)
    file("char_only_unknown", "OK", "", pieces=UNK, kind=CHAR)
    file("bpe_only_unknown", "OK", "", pieces=UNK, kind=BPE)
    file("scores_of_extremes", "OK", "", piece("aaaaaaaa", 3e38) + piece("bbbbbbbb", -3e38))


def charsmaps():
    at = "model.precompiled_charsmap: "
    file("charsmap_short", "EFORMAT", at + "shorter than its size field", normalizer=field(2, b"\x04\0"))
    file("charsmap_no_units", "EFORMAT", at + "its size field", normalizer=field(2, units(0) + b"x\0"))
    file("charsmap_claims", "EFORMAT", at + "its size field", normalizer=field(2, units(4096, 0) + b"x\0"))
    file("charsmap_not_utf8", "EFORMAT", at + "replacements that are not UTF-8",
         normalizer=field(2, units(4, 0) + b"\xff\0"))
    # these open, and a text that meets them is refused
    file("charsmap_outside", "OK", "", normalizer=field(2, units(4, 0x7FFFFC00) + b"x\0"))
    file("charsmap_value_outside", "OK", "",
         normalizer=field(2, units(4 * 256, *[(1 << 8 | i if i else 0) for i in range(256)]) + b"x\0"))


def main():
    os.makedirs(HERE, exist_ok=True)
    file("good", "OK", "")
    file("good_bpe", "OK", "", kind=BPE)
    wire()
    contents()
    charsmaps()
    with open(os.path.join(HERE, "expected.txt"), "w", encoding="utf-8") as f:
        f.write("".join(lines))


main()
