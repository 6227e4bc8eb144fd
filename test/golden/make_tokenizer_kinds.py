#!/usr/bin/env python3
"""Small tokenizers of every kind, with every normalizer, pre-tokenizer, decoder and template, and what Hugging Face
tokenizers makes of a torture list and random text.

Made with Python 3.11, tokenizers 0.23.3. From the project's root:
    python3 test/golden/make_tokenizer_kinds.py [OUT]        (default test/golden/tokenizer/kinds)
writes OUT/NAME.json and OUT/NAME.golden; the lines are those of make_tokenizer.py, after `template PREFIX;SUFFIX`, the
ids that a template puts around a text.
"""
import json
import pathlib
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from make_tokenizer import ROOT, TEXT, line, random_line

N, P, D, A = normalizers, pre_tokenizers, decoders, AddedToken

TORTURE = [
    "", " ", "  x", "a\tb\nc\r\nd", "Hello, world!", "The cat doesn't sit on the mat.", "Der Hund schläft nicht.",
    "η γάτα είναι εδώ", "<s>a</s>", "x <mask> y <mask>", "<r>  z", "bread breads", "12 345,67", "१२३ ²³¼",
    "  two  spaces ", "▁a ▁ b▁", "aa_bb__c", "éa e\u0301 \u0301x E\u0301", "ﬁ ½ ① Ａ \u00a0x\u200by",
    "ﬁ\u0301 ½\u0301a", "\u0344 \u0958 \u212b", "İI ẞ Σς", "你好 world 世界", "한국어 \u1100\u1161\u11a8", "👩\u200d👧 🇩🇪",
    "\0a\x07b\x7f\u200d\ufeff\ufffd", "\u061d\u166d、。!", "\U0001e8d0\u0730\u1dfb", "字", "字字 字", "<unk>", "<unk>字",
    "x" * 30, "do not . can 't ! he 's ?", "\u2028\u3000\u1680x", "bb\u0323\u0307", "<0x41>", "##a a##b",
    "</w> a</w>",
]


def darts(mapping):
    """A precompiled_charsmap: the double array of the keys' bytes, then the values (see lib/tokenizer/charsmap.c)."""
    values, root, units, used = b"", {}, [0] * 256, {0}
    for key, value in sorted(mapping.items()):
        at = root
        for byte in key.encode():
            at = at.setdefault(byte, {})
        at[0] = len(values)
        values += value.encode() + b"\0"

    def put(node, place):
        base = 1
        while any(base ^ label in used for label in node):
            base += 1
        while len(units) <= base | 255:
            units.extend([0] * 256)
        used.update(base ^ label for label in node)
        offset = place ^ base
        assert offset < 1 << 21
        units[place] |= offset << 10 | (0 in node) << 8
        for label, child in node.items():
            if label == 0:
                units[base] = 1 << 31 | child
            else:
                units[base ^ label] = label
                put(child, base ^ label)

    put(root, 0)
    return struct.pack("<I", 4 * len(units)) + struct.pack("<%dI" % len(units), *units) + values


CHARSMAP = darts({"ﬁ": "fi", "½": "1⁄2", "①": "1", "Ａ": "A", "\u00a0": " ", "\t": " ", "\n": " ", "\r": " ",
                  "e\u0301": "é", "\u200b": "", "\u200d": "", "\ufeff": "", "x\u0301": "y", "\u0344": "\u0308\u0301",
                  "\x07": "", "\u3000": " "})
ADDED = [A("<s>", special=True, normalized=False), A("</s>", special=True, normalized=False),
         A("<mask>", lstrip=True, special=True, normalized=False), A("<r>", rstrip=True, normalized=False),
         A("bread", single_word=True, normalized=True)]


def text():
    return [t for name in ("en", "de", "el") for t in (TEXT / (name + ".txt")).read_text("utf-8").splitlines()[:15]]


def unigram(size=330):
    tok = Tokenizer(models.Unigram())
    tok.pre_tokenizer = P.Metaspace()
    tok.train_from_iterator(text(), trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False))
    return [tuple(v) for v in json.loads(tok.to_str())["model"]["vocab"]]


def bytes_of(vocab, holes=()):
    return vocab[:1] + [("<0x%02X>" % b, -3.0) for b in range(256) if b not in holes] + vocab[1:]


def ties():
    """Scores with 17 digits, of which the reference's reader misses some, and segmentations that tie."""
    score = [-2.3421728610992432, -15.774467468261719, -1.8771917819976807, -18.728811264038086]
    names = ["a", "aa", "aaa", "ab", "b", "ba", "aba", "bb", "▁", "▁a", "x", "xx"]
    return [("<unk>", 0.0)] + [(n, score[i % 4] * (1 if len(n) == 1 else 2)) for i, n in enumerate(names)]


def wordpiece():
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tok.pre_tokenizer = P.BertPreTokenizer()
    tok.train_from_iterator([t.lower() for t in text()], trainers.WordPieceTrainer(
        vocab_size=350, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    return json.loads(tok.to_str())["model"]["vocab"]


WORDS = {w: i for i, w in enumerate(["[UNK]", "a", "the", "The", "cat", "▁a", "▁the", "12", "1", ",", "!", "ab", "字"])}
ALPHABET = {c: i for i, c in enumerate(sorted(P.ByteLevel.alphabet()))}


def template(single, *special):
    return processors.TemplateProcessing(single=single, pair=single + " $B", special_tokens=list(special))


def make(model, normalizer=None, pre=None, decoder=None, post=None, added=()):
    tok = Tokenizer(model)
    for name, part in {"normalizer": normalizer, "pre_tokenizer": pre, "decoder": decoder,
                       "post_processor": post}.items():
        if part:
            setattr(tok, name, part)
    tok.add_tokens(list(added))
    return tok


def words(**parts):
    return make(models.WordLevel(WORDS, "[UNK]"), **parts)


def letters(normalizer):
    """Ids are the bytes of the normalized text."""
    return make(models.BPE(ALPHABET, []), normalizer, P.ByteLevel(False, False, False), D.ByteLevel(), added=ADDED)


def kinds():
    uni, wp = unigram(), wordpiece()
    two_spaces = Regex(" {2,}")
    yield "uni_xlmr", make(models.Unigram(uni, 0), N.Sequence([N.Precompiled(CHARSMAP), N.Replace(two_spaces, " ")]),
                           P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), D.Metaspace(),
                           template("<s> $A </s>", ("<s>", len(uni)), ("</s>", len(uni) + 1)), ADDED)
    yield "uni_t5", make(models.Unigram(bytes_of(uni), 0, True), N.Sequence(
        [N.Precompiled(CHARSMAP), N.Strip(False, True), N.Replace(two_spaces, "▁")]), P.Metaspace(),
        D.Sequence([D.ByteFallback(), D.Metaspace()]), template("$A </s>", ("</s>", len(uni) + 257)), ADDED)
    yield "uni_holes", make(models.Unigram(bytes_of(uni, (0xE5, 0x41)), 0, True), None, P.Metaspace("▁", "first"),
                            D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]),
                            None, ADDED)
    yield "uni_none", make(models.Unigram(uni, 0))
    yield "uni_ties", make(models.Unigram(ties(), 0), N.Lowercase(), P.Metaspace("▁", "never", False),
                           D.Metaspace("▁", "never"))
    yield "uni_bytes", make(models.Unigram([("<unk>", 0.0)] + [(c, -1.5) for c in ALPHABET] + [("Ġa", -2.0)], 0), None,
                            P.ByteLevel(True, False, True), D.ByteLevel(), processors.ByteLevel())
    yield "wp_bert", make(models.WordPiece(wp, unk_token="[UNK]"), N.BertNormalizer(), P.BertPreTokenizer(),
                          D.WordPiece(), template("[CLS] $A [SEP]", ("[CLS]", 1), ("[SEP]", 2)),
                          [A("[MASK]", special=True)])
    yield "wp_cased", make(models.WordPiece(wp, unk_token="[UNK]", max_input_chars_per_word=12),
                           N.BertNormalizer(True, False, True, False), P.BertPreTokenizer(), D.WordPiece("##", False),
                           processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1)), ADDED)
    yield "wp_prefix", make(models.WordPiece(wp, unk_token="[UNK]", continuing_subword_prefix=""), None, P.Whitespace(),
                            D.Sequence([D.Strip("e", 2, 0), D.WordPiece("a", True)]),
                            processors.Sequence([processors.ByteLevel(), template("[CLS] [MASK] $A", ("[CLS]", 1),
                                                                                  ("[MASK]", 3))]))
    yield "wl_punctuation", words(pre=P.Sequence([P.WhitespaceSplit(), P.Punctuation("contiguous"), P.Digits(True)]),
                                  post=processors.RobertaProcessing(("!", 10), ("the", 2)), added=ADDED)
    yield "wl_removed", words(pre=P.Sequence([P.CharDelimiterSplit("e"), P.Punctuation("removed"), P.Digits(False)]))
    yield "wl_merged", words(pre=P.Sequence([P.Punctuation("merged_with_next"), P.Metaspace("_", "first")]),
                             decoder=D.Sequence([D.Strip("e", 0, 1), D.BPEDecoder("e")]))
    yield "wl_length", words(pre=P.Sequence([P.FixedLength(3), P.ByteLevel(True, False, False), P.Digits(True)]),
                             decoder=D.Sequence([D.Replace(Regex("[aeiou]+"), "<>"), D.ByteLevel()]))
    yield "n_bert", letters(N.BertNormalizer())
    yield "n_bert_part", letters(N.BertNormalizer(False, True, True, False))
    yield "n_nmt", letters(N.Sequence([N.Nmt(), N.NFKC()]))
    yield "n_accents", letters(N.Sequence([N.NFD(), N.StripAccents(), N.NFC()]))
    yield "n_bytes", letters(N.Sequence([N.Strip(), N.ByteLevel()]))
    yield "n_charsmap", letters(N.Precompiled(CHARSMAP))
    yield "n_albert", letters(N.Sequence([N.Replace("``", '"'), N.Replace("''", '"'), N.NFKD(), N.StripAccents(),
                                          N.Lowercase(), N.Precompiled(CHARSMAP), N.Replace(two_spaces, " ")]))
    yield "n_replace", letters(N.Sequence([N.Prepend("▁x"), N.Replace(" ", "▁"), N.Replace("aa", "b"),
                                           N.Replace("x", "")]))


def framed(tok):
    ids, plain = tok.encode("a").ids, tok.encode("a", add_special_tokens=False).ids
    at = next(i for i in range(len(ids)) if ids[i:i + len(plain)] == plain)
    return "template %s;%s" % (",".join(map(str, ids[:at])), ",".join(map(str, ids[at + len(plain):])))


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "test/golden/tokenizer/kinds")
    out.mkdir(parents=True, exist_ok=True)
    for i, (name, tok) in enumerate(kinds()):
        file = out / (name + ".json")
        if not file.exists():  # training breaks ties by hash order: a tokenizer that is there stays
            file.write_text(tok.to_str(pretty=False), "utf-8")
        data = json.loads(file.read_text("utf-8"))
        framing = framed(Tokenizer.from_str(json.dumps(data)))
        data["post_processor"] = None  # trims offsets, which starts[] does not
        tok = Tokenizer.from_str(json.dumps(data))
        lines = [framing] + [line(tok, t) for t in TORTURE] + [random_line(tok, 200 + i, 300)]
        (out / (name + ".golden")).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
