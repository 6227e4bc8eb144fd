"""Texts for the interop tests: the embedded text, the Universal Declaration in every language, and torture."""
import os
import random
import sys
import unicodedata

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import udhr  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

PIECES = ["don't", "I'LL", "it\u017f", "'\u017f", "'S", "x'vE", "  ", "   \n", "\r\n", "\n\n\n ", "\t", "\u00a0",
          "\u3000", "\u180e", "\u200b", "\u200d", "\ufeff", "\u0085", "\u2028", "a\u0301", "e\u0301\u0323",
          "\u1100\u1161\u11a8", "\uac01", "\ufb01", "\u2460", "\u00bd", "\u0663\u0664", "1234567", "12 345", "3.14",
          "\u4e2d\u6587", "\u30a2\u30fc", "\u0e01\u0e33", "\u0915\u094d\u0937", "\U0001f468\u200d\U0001f469",
          "\U0001f1e9\U0001f1ea", "\U00020000", "\u2581", "\u2581a", "<s>", "</s>", "<|endoftext|>", "<unk>",
          "<0x41>", "[CLS]", "\x00", "\x7f", "\ufffd", "_", "--", "...", "!?", "//", "http://a.b/c?d=e", "A", "b",
          "Zz", "\u0130", "\u00df", "\u1e9e", "\u01c5", "\u03a3\u03c2", "\u0440\u0443", "\u0627\u0644", "\u05d0",
          "\ud7ff", "\ue000", "\U0010ffff", "\ufdfa", "\u1e9b\u0323", "\u0958", "\u09dc", "\u1f82"]


def torture(n=400, seed=5):
    """Strings of odd pieces and of code points from everywhere."""
    draw = random.Random(seed)
    made = ["", " ", "  ", "\n", " a", "a ", " a  b "]
    for i in range(n):
        text = ""
        for _ in range(draw.randint(1, 14)):
            if draw.random() < 0.7:
                text += draw.choice(PIECES)
            else:
                first, last = draw.choice([(0x20, 0x250), (0x250, 0x3000), (0x3000, 0xD800), (0xE000, 0x10000),
                                           (0x10000, 0x1FFFF)])
                text += chr(draw.randrange(first, last))
            if draw.random() < 0.3:
                text += " "
        made.append(text)
    return made


def assigned(text):
    """Whether Unicode 14, which every library here knows, has all of the text's characters."""
    return all(unicodedata.category(c) != "Cn" for c in text)


def embedded():
    folder = os.path.join(ROOT, "examples", "data", "text")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".txt"):
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                yield name, f.read().splitlines()


def declarations(cache):
    folder = os.path.join(udhr.gather(os.path.join(cache, "udhr")), "all")
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8", newline="") as f:
            yield name, f.read().split("\n")


def everything(cache):
    """(name, lines) of all of them; each declaration is also one long text."""
    yield "torture", torture()
    yield from embedded()
    for name, lines in declarations(cache):
        yield name, lines + ["\n".join(lines)]


def compare(what, encode, reference, texts, most=5):
    """Ids of both for every line; prints the first differences. Returns whether all are the same."""
    n_lines = n_bytes = n_bad = 0
    for name, lines in texts:
        for line in lines:
            n_lines += 1
            n_bytes += len(line.encode("utf-8"))
            ours, theirs = list(encode(line)), list(reference(line))
            if ours == theirs:
                continue
            n_bad += 1
            if n_bad <= most:
                at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
                print(f"FAIL {what}: {name}: {line[:60]!r}: at token {at}: {ours[at:at + 6]}, "
                      f"expected {theirs[at:at + 6]}")
    print(f"{what}: {n_lines} texts, {n_bytes} bytes, {n_bad} differ")
    return n_bad == 0
