#!/usr/bin/env python3
"""The sentencepiece library against qdisp: check_sentencepiece.py CACHE

Models of every type and option are trained on the embedded text into CACHE; ids and decoded text must be the same over
all texts (texts.py). Needs sentencepiece and the qdisp package."""
import os
import sys

import qdisp
import sentencepiece
import texts

SYMBOLS = {"user_defined_symbols": ["<sep>", "ab", "the", "\u2581of", "  x"], "control_symbols": ["<ctl>"]}
MODELS = {
    "unigram": {},
    "unigram_bytes": {"byte_fallback": True, "character_coverage": 0.98, "normalization_rule_name": "identity",
                      "remove_extra_whitespaces": False},
    "unigram_user": {"normalization_rule_name": "nfkc_cf", **SYMBOLS},
    "unigram_across": {"split_by_whitespace": False, "add_dummy_prefix": False},
    "unigram_suffix": {"treat_whitespace_as_suffix": True},
    "bpe": {"model_type": "bpe", "character_coverage": 0.99},
    "bpe_bytes": {"model_type": "bpe", "byte_fallback": True, "character_coverage": 0.98, "split_digits": True,
                  "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
                  "allow_whitespace_only_pieces": True},
    "bpe_user": {"model_type": "bpe", **SYMBOLS},
    "bpe_across": {"model_type": "bpe", "split_by_whitespace": False},
    "bpe_suffix": {"model_type": "bpe", "treat_whitespace_as_suffix": True},
    "char": {"model_type": "char", "vocab_size": 1000},
    "word": {"model_type": "word"},
}


def train(folder):
    os.makedirs(folder, exist_ok=True)
    source = os.path.join(texts.ROOT, "examples", "data", "text")
    files = ",".join(os.path.join(source, name) for name in sorted(os.listdir(source)) if name.endswith(".txt"))
    for name, options in MODELS.items():
        if not os.path.exists(os.path.join(folder, name + ".model")):
            sentencepiece.SentencePieceTrainer.train(**{
                "input": files, "model_prefix": os.path.join(folder, name), "vocab_size": 4000, "num_threads": 1,
                "hard_vocab_limit": False, "minloglevel": 2, "max_sentence_length": 20000, **options})


def main():
    cache = sys.argv[1]
    folder = os.path.join(cache, "sentencepiece")
    train(folder)
    good = []
    for name in MODELS:
        path = os.path.join(folder, name + ".model")
        reference, ours = sentencepiece.SentencePieceProcessor(model_file=path), qdisp.Tokenizer(path)
        good.append(texts.compare(name, ours.encode, reference.encode, texts.everything(cache)))
        lines = [line for _, lines in texts.embedded() for line in lines] + texts.torture()
        encoded = [reference.encode(line) for line in lines]
        bad = [ids for ids in encoded if ours.decode(ids) != reference.decode(ids)]
        print(f"{name}: {len(lines)} texts decoded, {len(bad)} differ", *bad[:2])
        good.append(not bad)
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


sys.exit(main())
