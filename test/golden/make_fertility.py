#!/usr/bin/env python3
"""Fertility and grapheme counts, made without qdisp: make_fertility.py >fertility.txt

Tokens by Hugging Face tokenizers 0.23.3, graphemes by pyuegc 16.0.3 (Unicode 16), words by regex 2026.11.19."""
import os
import random
import unicodedata

import regex
from pyuegc import EGC
from tokenizers import Tokenizer

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TEXT = os.path.join(ROOT, "examples", "data", "text")
TOKENIZERS = {"model": os.path.join(ROOT, "examples", "data", "model", "tokenizer.json"),
              "gpt2": os.path.join(ROOT, "test", "golden", "tokenizer", "gpt2", "tokenizer.json")}
WORD = regex.compile(r"[\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\u200c\u200d]+")
SPACELESS = regex.compile(r"(?=\p{L})[\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u3040-\u312f"
                          r"\u31a0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf\ua980-\ua9ff\uaa60-\uaadf\uf900-\ufaff"
                          r"\U00020000-\U0003ffff]")
# one of every class of UAX 29, of every conjunct script, and pairs that older versions class otherwise
LETTERS = [0x0D, 0x0A, 0x09, 0x20, 0x41, 0x300, 0x200D, 0x200C, 0x1F1E6, 0x1F1FF, 0x600, 0x903, 0x1100, 0x1160,
           0x11A8, 0xAC00, 0xAC01, 0x1F600, 0x1F3FB, 0x2764, 0xFE0F, 0x915, 0x94D, 0x93C, 0x937, 0x995, 0x9CD, 0xA95,
           0xACD, 0xB15, 0xB4D, 0xC15, 0xC4D, 0xD15, 0xD4D, 0xB95, 0xBCD, 0x1000, 0x1039, 0x1780, 0x17D2, 0xE01,
           0xE33, 0xEB3, 0x0CC0, 0x1715, 0x1B44, 0x2065, 0xFFF8, 0x113D1, 0x16D63, 0x16D67, 0x1FAE9, 0xE0020,
           0xE0080, 0x378, 0x0D4E, 0x110BD]


def numbers(tokenizer, lines):
    row = dict(tokens=0, bytes=0, codepoints=0, graphemes=0, words=0, byte_tokens=0, whole=0)
    letters = spaceless = 0
    alphabet = {c for c, b in byte_alphabet().items() if b >= 0x80}
    for line in lines:
        made = tokenizer.encode(line, add_special_tokens=False)
        row["tokens"] += len(made.ids)
        row["bytes"] += len(line.encode())
        row["codepoints"] += len(line)
        row["graphemes"] += len(EGC(line))
        row["byte_tokens"] += sum(t in alphabet for t in made.tokens)
        letters += sum(unicodedata.category(c)[0] == "L" for c in line)
        spaceless += len(SPACELESS.findall(line))
        for word in WORD.finditer(line):
            if not regex.search(r"\p{L}", word[0]):
                continue
            row["words"] += 1
            over = [(b, e) for b, e in made.offsets if b < word.end() and e > word.start()]
            row["whole"] += len(over) == 1 and over[0][0] <= word.start() and over[0][1] >= word.end()
    if 2 * spaceless > letters:
        row["words"] = row["whole"] = -1
    return row


def byte_alphabet():
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {**{chr(b): b for b in plain}, **{chr(0x100 + i): b for i, b in enumerate(others)}}


def main():
    print("# made by make_fertility.py")
    print("# TOKENIZER/LANGUAGE n_tokens n_bytes n_codepoints n_graphemes n_words n_byte_tokens n_whole; -1: missing")
    for name, path in TOKENIZERS.items():
        tokenizer = Tokenizer.from_file(path)
        for file in sorted(os.listdir(TEXT)):
            if file.endswith(".txt"):
                lines = open(os.path.join(TEXT, file), encoding="utf-8").read().splitlines()
                print(f"{name}/{file[:-4]}", *numbers(tokenizer, lines).values())
    print("# graphemes: count, then code points")
    draw = random.Random(29)
    for _ in range(400):
        text = "".join(chr(draw.choice(LETTERS)) for _ in range(draw.randint(1, 12)))
        print("graphemes", len(EGC(text)), *map(ord, text))


main()
