#!/usr/bin/env python3
"""Writes the broken tokenizer.json files beside itself; test_hostile_tokenizer.c says what each must give."""
import copy
import json
import pathlib

HERE = pathlib.Path(__file__).parent


def alphabet():
    keep = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    return {chr(b): i for i, b in enumerate(keep)} | {chr(256 + k): len(keep) + k for k in range(256 - len(keep))}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
VOCAB = alphabet() | {"aa": 256, "ab": 257}
GOOD = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL, "post_processor": None, "decoder": BYTE_LEVEL,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": VOCAB, "merges": ["a a", ["a", "b"]]}}
ADDED = {"id": 258, "content": "<x>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}


def write(name, data):
    text = data if isinstance(data, (str, bytes)) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    (HERE / (name + ".json")).write_bytes(text.encode() if isinstance(text, str) else text)


def change(name, path, value):
    """GOOD with the member at a path like "model.vocab" set, or taken away for ... ."""
    data = copy.deepcopy(GOOD)
    *folders, last = path.split(".")
    at = data
    for f in folders:
        at = at[f]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    write(name, data)


def vocab(name, **extra):
    change(name, "model.vocab", VOCAB | extra)


def regex(name, pattern, kind="Regex"):
    split = {"type": "Split", "pattern": {kind: pattern}, "behavior": "Isolated", "invert": False}
    change(name, "pre_tokenizer", {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]})


def added(name, *tokens):
    change(name, "added_tokens", [ADDED | t for t in tokens])


def nested(name, member, list_name):
    inner = {"type": "NFC"} if member == "normalizer" else BYTE_LEVEL
    for _ in range(20):
        inner = {"type": "Sequence", list_name: [inner]}
    change(name, member, inner)


write("good", GOOD)
write("empty", "")
write("null", "null")
write("array", "[1]")
write("truncated", json.dumps(GOOD)[:700])
write("trailing", json.dumps(GOOD) + "}")
write("deep", "[" * 3000)
write("not_utf8", b'{"model":{"vocab":{"\xff":1}}}')
write("nul_key", '{"model":{"type":"BPE","vocab":{"a\\u0000b":1},"merges":[]}}')
write("duplicate_member", '{"model":{"type":"BPE","vocab":{"a":1,"a":2},"merges":[]}}')
MODEL = '{"model":{"type":"BPE","vocab":%s,"merges":%s}}'
write("vocab_surrogate", MODEL % ('{"a\\ud800b":1}', "[]"))
write("vocab_control", MODEL % ('{"a\nb":1}', "[]"))
write("vocab_escape", MODEL % ('{"a\\qb":1}', "[]"))
write("vocab_escaped_twice", MODEL % ('{"a":1,"\\u0061":2}', "[]"))
write("vocab_comma", MODEL % ('{"a":1,}', "[]"))
write("vocab_leading_zero", MODEL % ('{"a":01}', "[]"))
write("vocab_exponent", MODEL % ('{"a":1e0}', "[]"))
write("vocab_long_number", MODEL % ('{"a":%s}' % ("9" * 40), "[]"))
write("vocab_name_escaped", MODEL.replace("vocab", "voc\\u0061b") % ('{"a":0}', "[]"))
write("vocab_unended", '{"model":{"vocab":{"a":1,"b')
write("merges_comma", MODEL % ('{"a":1}', '["a a",]'))
write("merges_deep", MODEL % ('{"a":1}', "[" * 3000))
write("merges_nested", MODEL % ('{"a":1}', '[["a",["a"]]]'))
write("merges_twice", MODEL % ('{"a":1}', '[],"merges":[]'))
change("version", "version", "9.9")
change("no_model", "model", ...)
change("model_array", "model", [])
change("no_vocab", "model.vocab", ...)
change("vocab_array", "model.vocab", ["a", "b"])
change("vocab_empty", "model.vocab", {})
change("no_merges", "model.merges", ...)
change("merges_object", "model.merges", {"a": "b"})
change("merge_number", "model.merges", [5])
change("merge_one_part", "model.merges", ["aa"])
change("merge_three_parts", "model.merges", ["a a a"])
change("merge_triple", "model.merges", [["a", "a", "a"]])
change("merge_unknown_token", "model.merges", ["a qq"])
change("merge_unknown_result", "model.merges", ["a c"])
change("type_unigram", "model.type", "Unigram")
change("type_number", "model.type", 5)
change("dropout", "model.dropout", 0.1)
change("byte_fallback", "model.byte_fallback", 1)
change("prefix", "model.continuing_subword_prefix", "#" * 65)
change("suffix_nul", "model.end_of_word_suffix", "a\0b")
change("fuse_unk_text", "model.fuse_unk", "yes")
change("pre_tokenizer_text", "pre_tokenizer", "ByteLevel")
change("pre_tokenizer_type", "pre_tokenizer", {"type": "Telepathy"})
change("many_steps", "pre_tokenizer", {"type": "Sequence", "pretokenizers": [
    {"type": "Digits", "individual_digits": True}] * 40 + [BYTE_LEVEL]})
nested("nested_pre_tokenizer", "pre_tokenizer", "pretokenizers")
nested("nested_normalizer", "normalizer", "normalizers")
change("normalizer_type", "normalizer", {"type": "Telepathy"})
change("normalizer_no_list", "normalizer", {"type": "Sequence"})
change("replace_no_pattern", "normalizer", {"type": "Replace", "content": "x"})
change("strip_number", "normalizer", {"type": "Strip", "strip_left": 1, "strip_right": True})
change("decoder_type", "decoder", {"type": "CTC", "pad_token": "<pad>"})
change("decoder_number", "decoder", 5)
vocab("id_negative", q=-1)
vocab("id_huge", qq=2 ** 40)
vocab("id_beyond_file", qq=10 ** 6)
vocab("id_fraction", qq=1.5)
vocab("id_text", qq="7")
vocab("id_duplicate", qq=5)
vocab("id_hole", qq=900)  # fine: the ids between stand for nothing
change("unk_missing", "model", {"type": "BPE", "unk_token": "<unk>", "vocab": {"a": 0}, "merges": []})
change("no_alphabet", "model", {"type": "BPE", "vocab": {"a": 0}, "merges": []})  # unknown bytes are dropped
regex("regex_bad", "(a")
regex("regex_class", "[a")
regex("regex_range", "[b-a]")
regex("regex_property", "\\p{Nonsense}")
regex("regex_intersection", "[a&&b]")
regex("regex_negated_inner", "[a[^b]]")
regex("regex_posix", "[[:alpha:]]")
regex("regex_recursion", "(?R)")
regex("regex_callout", "(?C1)")
regex("regex_verb", "(*ACCEPT)")
regex("regex_nested", "(" * 5000 + ")" * 5000)
regex("regex_huge_repeat", "((a{1000}){1000}){1000}")
regex("regex_catastrophic", "(a+)+$")
regex("regex_none", "a", "Pattern")
change("behavior", "pre_tokenizer", {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"String": "a"}, "behavior": "Torn", "invert": False}, BYTE_LEVEL]})
added("added_clash", {"id": 5})
added("added_known_content", {"content": "aa", "id": 3})
added("added_twice", {}, {"id": 258})
added("added_gap", {"id": 300})
added("added_negative", {"id": -2})
added("added_number", {"content": 7})
added("added_flag", {"special": "yes"})
added("added_long", {"content": "x" * 5000})
added("added_nul", {"content": "a\0b"})
change("added_object", "added_tokens", {"<x>": 1})
change("added_text", "added_tokens", ["<x>"])

# the other kinds, their steps, templates
UNIGRAM = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], ["ab", -1.5]]}
change("unigram_no_score", "model", UNIGRAM | {"vocab": [["<unk>", 0.0], ["a"]]})
change("unigram_score_text", "model", UNIGRAM | {"vocab": [["<unk>", "0"]]})
change("unigram_token_number", "model", UNIGRAM | {"vocab": [[7, 0.0]]})
TWICE = [["<unk>", 0.0], ["a", -2.0], ["b", -2.5]]
change("unigram_twice", "model", UNIGRAM | {"vocab": TWICE + [["ab", -9.0], ["ab", -1.0], ["a", -0.5]], "unk_id": 0})
change("unigram_twice_worse", "model", UNIGRAM | {"vocab": TWICE + [["ab", -1.0], ["ab", -9.0]], "unk_id": 0})
change("unigram_unk_outside", "model", UNIGRAM | {"unk_id": 3})
change("unigram_unk_text", "model", UNIGRAM | {"unk_id": "0"})
WORDPIECE = {"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
             "vocab": {"a": 0, "##b": 1}}
change("wordpiece_no_prefix", "model", {k: v for k, v in WORDPIECE.items() if k != "continuing_subword_prefix"})
change("wordpiece_limit_text", "model", WORDPIECE | {"max_input_chars_per_word": "9"})
change("wordlevel_no_unk", "model", {"type": "WordLevel", "vocab": {"a": 0}})
for name, text in {"empty": "", "short": "AAA=", "letters": "A?==", "length": "AAAAA", "size": "/////w==",
                   "no_units": "AAAAAA=="}.items():
    change("charsmap_" + name, "normalizer", {"type": "Precompiled", "precompiled_charsmap": text})
change("charsmap_number", "normalizer", {"type": "Precompiled", "precompiled_charsmap": 5})
change("bert_no_lowercase", "normalizer", {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True})
change("metaspace_two", "pre_tokenizer", {"type": "Metaspace", "replacement": "ab"})
change("metaspace_scheme", "pre_tokenizer", {"type": "Metaspace", "replacement": "_", "prepend_scheme": "often"})
change("fixed_length_zero", "pre_tokenizer", {"type": "FixedLength", "length": 0})
change("decoder_strip", "decoder", {"type": "Strip", "content": " ", "start": -1, "stop": 0})
change("template_id", "post_processor", {"type": "BertProcessing", "cls": ["a", 9999], "sep": ["b", 1]})
change("template_no_token", "post_processor", {"type": "TemplateProcessing", "special_tokens": {}, "single": [
    {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]})
change("template_no_text", "post_processor", {"type": "TemplateProcessing", "special_tokens": {}, "single": []})
change("template_type", "post_processor", {"type": "Telepathy"})
