#!/usr/bin/env python3
"""Tokenizers trained on examples/data/text and what Hugging Face tokenizers makes of a torture list and random text.

Made with Python 3.11, tokenizers 0.23.3. From the project's root:
    python3 test/golden/make_tokenizer.py [OUT]        (default test/golden/tokenizer)
writes OUT/NAME/tokenizer.json and OUT/NAME.golden, lines of `hex of the text;ids;starts;hex of the decoded text`,
starts in bytes. Random text is kept as a seed: `random SEED COUNT HASH`,
the text being made again by the test (see random_text)
and HASH being FNV-1a over all ids, starts and counts. With examples/data/model/tokenizer.json there, OUT/model.golden
holds a hash per language of its text and the random ones.
"""
import os
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = ROOT / "examples/data/text"

BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(prefix=False, regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex, trim_offsets=False)


def split(pattern, behavior="isolated", invert=False, regex=True):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern) if regex else pattern, behavior, invert), byte_level()])


def seq(*steps):
    return pre_tokenizers.Sequence(list(steps) + [byte_level()])


TOKENS = [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False),
          AddedToken("<s", normalized=False), AddedToken("<mask>", lstrip=True, special=True, normalized=False),
          AddedToken("<r>", rstrip=True, normalized=False), AddedToken("bread", single_word=True, normalized=False),
          AddedToken("café", normalized=True), AddedToken("ABC", normalized=True), AddedToken("ＡＢ", normalized=True)]
N = normalizers
KINDS = {
    "gpt2": (300, None, byte_level(True, True), []),
    "gpt2_plain": (600, None, byte_level(False, True), TOKENS),
    "bloom": (600, None, split(BLOOM), TOKENS[:2]),
    "llama3": (500, None, split(LLAMA3), TOKENS[:2]),
    "qwen2": (400, N.NFC(), split(QWEN2), TOKENS),
    "o200k": (400, None, split(O200K), []),
    "nfkc_lower": (400, N.Sequence([N.NFKC(), N.Lowercase()]), byte_level(False, True), TOKENS),
    "nfd": (300, N.NFD(), byte_level(False, True), TOKENS),
    "nfkd_strip": (300, N.Sequence([N.Strip(), N.NFKD(), N.Prepend("¡"), N.Replace("e", "éé"), N.Replace("́", "")]),
                   byte_level(True, True), TOKENS),
    "steps": (400, None, seq(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation("contiguous"),
                             pre_tokenizers.WhitespaceSplit()), []),
    "whitespace": (300, None, seq(pre_tokenizers.Whitespace(), pre_tokenizers.Digits(False)), []),
    "removed": (300, None, split(" ", "removed", False, False), []),
    "previous": (300, None, split("\\s", "merged_with_previous"), []),
    "next": (300, None, split(".", "merged_with_next", False, False), []),
    "invert": (300, None, split("\\p{L}+", "removed", True), []),
    "next_invert": (300, None, split("\\w*", "merged_with_next", True), []),
    "contiguous": (300, None, split("\\p{P}", "contiguous"), []),
    "empty": (300, None, split("x*", "merged_with_previous"), []),
    "lines": (300, None, split("^.|$", "isolated"), []),
}

TORTURE = [
    "", " ", "  ", "\n", "\r\n", "\t \n  x", "a", "Hello, world!", "It's we'll I'VE 'ſ 'S don't", " leading",
    "trailing ",
    "x" * 200, "ab" * 100, " " * 100, "The " * 40, "\0", "a\0b", "\0\0 \0", "12345 678.90", "१२३ ٣٤٥ ²³¼ Ⅷ 三",
    "<s>", "<s>a</s>", "x <mask> y", "x  <mask>  y", "<r>  z", "<mask><r> <mask>", "bread breads bread, bread", "<s",
    "<s >", "café café CAFÉ cafe\u0301", "ABC abc ＡＢＣ ＡＢ", "<s>" * 20, "<mask> " * 9, "é", "e\u0301", "\u0301",
    "\u0301e\u0301", "a\u0323\u0307", "a\u0307\u0323", "q\u0307\u0323\u0301\u0327", "\u1100\u1161\u11a8 각 가\u11a8",
    "ﬁ ﬂ ﷺ ½ ① ㎏", "İ I ı i ẞ ß Σ ς", "\u0958 \u09cb \u09c7\u09be", "\u0344 \u0f73 \u2126 \u212b", "（｜）[]|()",
    "Hello, (a|b) ] x) [y]", "foo.bar  baz(qux)|z", "a, b)]c] d", "你好，世界。", "नमस्ते। दुनिया", "سلام، دنيا۔",
    "สวัสดีชาวโลก",
    "日本語のテキスト", "한국어 텍스트", "👩‍👩‍👧‍👦 🇩🇪 👍🏽", "\u200b\u200c\u200d\ufeff", "\u180e a\u180eb",
    "\u0085\u00a0\u2028\u2029\u3000x",
    "\U00010d50\U00010d70 \U0001e4d0 \U00031350\u2ebf\U0002ebf0 \U0001fae8 \u1c89\ua7cb", "\U0010ffff\ue000\uffff",
    "a" * 64, "b" * 65, "the " + "z" * 63, "\u0301" * 70, "a" + "\u0323\u0301" * 40, "a\r\nb\rc\nd\n\n\n  e\n",
    "…,…!?.",
    "A_b__c x_1 __init__", "xX xx\txxx", "🙂" * 30, "end.", ".start", "..", "a.b.c.", " . ", "\u1e9b\u0323 \ufb01",
]


class Philox:
    """Philox 4x32-10 with the counter as the index of a block of four words: qd_philox on the C side."""

    def __init__(self, seed):
        self.key, self.block, self.words = seed, 0, []

    def next(self):
        if not self.words:
            c, k = [self.block, 0, 0, 0], [self.key, 0]
            for _ in range(10):
                p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
                k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
            self.block += 1
            self.words = c
        return self.words.pop(0)


# Ranges of code points that random text is made of; one is chosen a run, so that marks meet letters and digits meet
# digits.
RANGES = [(0x20, 0x7E), (0x61, 0x7A), (0x20, 0x20), (0x09, 0x0D), (0x30, 0x39), (0x80, 0xFF), (0x100, 0x24F),
          (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x700, 0x8FF), (0x900, 0xDFF), (0xE00, 0xFFF), (0x1000,
          0x13FF),
          (0x1680, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x2C00, 0x2FFF), (0x3000, 0x30FF), (0x3400, 0x9FFF),
          (0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFFFF), (0x10000, 0x1FFFF), (0x1D400,
          0x1D7FF),
          (0x1F300, 0x1FAFF), (0x20000, 0x323FF), (0x0, 0x10FFFF), (0xAC00, 0xD7FF), (0x1100, 0x11FF), (0x300, 0x345)]


def random_text(rng):
    out = []
    for _ in range(1 + rng.next() % 12):
        first, last = RANGES[rng.next() % len(RANGES)]
        for _ in range(1 + rng.next() % 5):
            c = first + rng.next() % (last - first + 1)
            out.append(chr(0xFFFD if 0xD800 <= c < 0xE000 else c))
    return "".join(out)


def fnv(h, values):
    for v in values:
        for k in range(4):
            h = ((h ^ (v >> (8 * k) & 0xFF)) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def encode(tok, text):
    e = tok.encode(text, add_special_tokens=False)
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return e.ids, [at[a] for a, _ in e.offsets]


def line(tok, text):
    ids, starts = encode(tok, text)
    return "%s;%s;%s;%s" % (text.encode().hex(), ",".join(map(str, ids)), ",".join(map(str, starts)),
                            tok.decode(ids, skip_special_tokens=False).encode().hex())


def random_line(tok, seed, count):
    rng, h = Philox(seed), 0xCBF29CE484222325
    for _ in range(count):
        ids, starts = encode(tok, random_text(rng))
        h = fnv(fnv(fnv(h, [len(ids)]), ids), starts)
    return "random %d %d %016x" % (seed, count, h)


def train(name):
    size, normalizer, pre, tokens = KINDS[name]
    tok = Tokenizer(models.BPE())
    if normalizer:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    lines = [t for f in sorted(TEXT.glob("*.txt")) for t in f.read_text("utf-8").splitlines()]
    tok.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.add_tokens(tokens)
    return tok


def main():
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "test/golden/tokenizer")
    for i, name in enumerate(KINDS):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "tokenizer.json"
        if not file.exists():  # training breaks ties by hash order: a tokenizer that is there stays
            text = train(name).to_str(pretty=False)
            if name == "llama3":
                text = text.replace('"ignore_merges":false', '"ignore_merges":true')
            file.write_text(text, "utf-8")
        tok = Tokenizer.from_file(str(file))
        lines = [line(tok, t) for t in TORTURE] + [random_line(tok, i + 1, 300)]
        (out / (name + ".golden")).write_text("\n".join(lines) + "\n")
    model = ROOT / "examples/data/model/tokenizer.json"
    if model.exists():
        write_model(model, out / "model.golden")


def write_model(file, to):
    import json
    data = json.loads(file.read_text("utf-8"))
    data["post_processor"] = None  # trims offsets, which starts[] does not
    tok = Tokenizer.from_str(json.dumps(data))
    lines = [line(tok, t) for t in TORTURE]
    for f in sorted(TEXT.glob("*.txt")):
        h = 0xCBF29CE484222325
        n = 0
        for t in f.read_text("utf-8").splitlines():
            ids, starts = encode(tok, t)
            h = fnv(fnv(fnv(h, [len(ids)]), ids), starts)
            n += len(ids)
        lines.append("text %s %d %016x" % (f.name, n, h))
    lines += [random_line(tok, 100, 3000)]
    to.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
