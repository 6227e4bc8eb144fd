#!/usr/bin/env python3
"""Small SentencePiece models and what the library (0.2.3) makes of texts: make_sentencepiece.py

Writes sentencepiece/NAME.model and sentencepiece.txt. Models are trained on a few languages of the embedded text, so
that most characters of the others are unknown; `ties` is written by hand, with pieces of equal score."""
import os
import struct
import sys
import tempfile

import sentencepiece

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "interop"))
import texts  # noqa: E402

# NFKC's like in small: longest match, deletion, one to many, many to one
RULES = "41 300\tC0\n41\t61\n42\t62\nFB01\t66 69\n3000\t20\nA0\t20\nA\t20\n200B\t\n1E9B 323\t1E69\n2460\t31\n" \
        "1100 1161 11A8\tAC01\n"
MODELS = {
    "unigram": {},
    "unigram_bytes": {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "unigram_user": {"user_defined_symbols": ["<sep>", "ab", "the", "\u2581of", "  x"], "control_symbols": ["<ctl>"]},
    "unigram_suffix": {"treat_whitespace_as_suffix": True, "split_by_whitespace": False},
    "bpe": {"model_type": "bpe"},
    "bpe_bytes": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
                  "split_digits": True, "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True},
    "bpe_user": {"model_type": "bpe",
                 "user_defined_symbols": ["<sep>", "ab", "the", "\u2581of", "  x"], "add_dummy_prefix": False},
    "bpe_across": {"model_type": "bpe", "split_by_whitespace": False},
    "char": {"model_type": "char"},
    "word": {"model_type": "word"},
}
TIES = [("<unk>", 0, 2), *[(c, -10, 1) for c in "\u2581abc"], ("ab", -1, 1), ("ba", -1, 1), ("bc", -1, 1),
        ("aa", -1, 1), ("aba", -1, 1), ("abab", -2, 1), ("\u2581a", -2, 1),
        *[("\u2581" * n, -3, 1) for n in (2, 3, 4)]]


def varint(n):
    made = b""
    while n > 0x7F:
        made += bytes([n & 0x7F | 0x80])
        n >>= 7
    return made + bytes([n])


def field(number, value):
    """A field of a message: bytes, an int or a float."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def model(pieces, trainer=b"", normalizer=b""):
    made = b"".join(field(1, field(1, p.encode()) + field(2, float(s)) + field(3, t)) for p, s, t in pieces)
    return made + field(2, trainer) + field(3, normalizer)


def train(folder):
    corpus = [os.path.join(texts.ROOT, "examples", "data", "text", f"{tag}.txt") for tag in ("en", "sw", "hi")]
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as rules:
        rules.write(RULES)
        rules.flush()
        for name, options in MODELS.items():
            base = {"input": ",".join(corpus), "model_prefix": os.path.join(folder, name),
                    "vocab_size": 620 if options.get("byte_fallback") else 360, "hard_vocab_limit": False,
                    "num_threads": 1, "minloglevel": 2, "character_coverage": 0.98,
                    "self_test_sample_size": 0}
            if "normalization_rule_name" not in options:
                base["normalization_rule_tsv"] = rules.name
            sentencepiece.SentencePieceTrainer.train(**{**base, **options})
            os.remove(os.path.join(folder, name + ".vocab"))
    with open(os.path.join(folder, "ties.model"), "wb") as f:
        f.write(model(TIES, field(3, 2), field(4, 0)))


def fnv(ids):
    """As test_sources.c has it, cut to what a double holds."""
    h = 0xCBF29CE484222325
    for value in [len(ids), *ids]:
        for k in range(4):
            h = (h ^ (value >> (8 * k) & 0xFF)) * 0x100000001B3 % 2**64
    return h >> 16


def main():
    folder = os.path.join(HERE, "sentencepiece")
    os.makedirs(folder, exist_ok=True)
    train(folder)
    odd = [t for t in texts.torture(60, 7) if texts.assigned(t)]
    odd += ["abab ab  abcabaa", "aaaa", "  a   b    ", "ababaabba"]
    with open(os.path.join(HERE, "sentencepiece.txt"), "w", encoding="utf-8") as f:
        f.write("# made by make_sentencepiece.py\n# text/I code points; ids/MODEL/I ids; all/MODEL/FILE tokens, hash\n")
        for i, text in enumerate(odd):
            f.write(" ".join(map(str, [f"text/{i}", *map(ord, text)])) + "\n")
        for name in [*MODELS, "ties"]:
            reference = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, name + ".model"))
            for i, text in enumerate(odd):
                f.write(" ".join(map(str, [f"ids/{name}/{i}", *reference.encode(text)])) + "\n")
            for file, lines in texts.embedded():
                ids = [i for line in lines for i in reference.encode(line)]
                f.write(f"all/{name}/{file[:-4]} {len(ids)} {fnv(ids)}\n")


if __name__ == "__main__":
    main()
