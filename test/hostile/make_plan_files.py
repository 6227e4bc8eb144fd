#!/usr/bin/env python3
"""Writes the broken plans of plan/ and what each must be refused with (expected.txt: file, status, part of the
message). They are for the model gguf_model/good.gguf. Only the standard library; the same bytes every time."""
import os

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plan")
COLUMNS = "tensor,method,type,bits,group_size,levels,alpha,clip,gain,inputs,weights,keep,options".split(",")
LAYER = "model.layers.0."
GOOD = {"tensor": LAYER + "self_attn.q_proj.weight", "method": "rtn", "type": "int", "bits": "4", "group_size": "8",
        "levels": "narrow", "clip": "ABCDEFGH", "gain": "A"}
MORE = [{**GOOD, "tensor": LAYER + "mlp.down_proj.weight", "group_size": "-1", "clip": "AAAAAAAA", "inputs": "ABCDEF"},
        {**GOOD, "tensor": LAYER + "mlp.up_proj.weight", "group_size": "-2", "alpha": "0.1", "clip": "",
         "keep": "0:0 0:7 5:2"}]
lines = []


def text(rows, columns=COLUMNS):
    return "".join(",".join(row.get(c, "") for c in columns) + "\n" for row in [dict(zip(columns, columns)), *rows])


def file(name, status, reason, data=None, **changed):
    data = text([*MORE, {**GOOD, **changed}]) if data is None else data
    with open(os.path.join(HERE, name + ".csv"), "wb") as f:
        f.write(data.encode())
    lines.append(f"{name}.csv {status} {reason}\n")


def without(column):
    return text([GOOD], [c for c in COLUMNS if c != column])


def main():
    os.makedirs(HERE, exist_ok=True)
    file("good", "OK", "")
    file("no_rows", "OK", "", data=text([]))
    file("only_needed_columns", "OK", "", data=text([GOOD], COLUMNS[:1] + COLUMNS[3:8]))
    file("more_columns", "OK", "", data=text([{**GOOD, "surprise": "1"}], COLUMNS + ["surprise"]))

    for column in ("tensor", "bits", "group_size", "levels", "alpha", "clip"):
        file("no_" + column, "EINVAL", f"plan: no column '{column}'", data=without(column))
    file("tensor_unknown", "EMISMATCH", "plan row 3: the model has no linear map 'q_proj'", tensor="q_proj")
    file("tensor_empty", "EMISMATCH", "plan row 3: the model has no linear map ''", tensor="")
    file("tensor_number", "EINVAL", "plan row 1: tensor is a number", data=text([{**GOOD, "tensor": "7"}]))
    file("tensor_of_a_norm", "EMISMATCH", "no linear map 'model.norm.weight'", tensor="model.norm.weight")
    file("tensor_twice", "EINVAL", "plan rows 1 and 3 name the same tensor", tensor=LAYER + "mlp.down_proj.weight",
         inputs="A", clip="A")
    file("tensor_thousands_of_times", "EINVAL", "plan rows 1 and 2 name the same tensor", data=text([GOOD] * 3000))
    file("method_unknown", "EINVAL", "plan row 3: method is none of those", method="magic")
    file("method_number", "EINVAL", "plan row 1: method is a number", data=text([{**GOOD, "method": "4"}]))
    file("method_gptq_alone", "EINVAL", "", method="gptq")
    file("type_unknown", "EINVAL", "plan row 3: type is neither int nor", type="uint")
    for name, bits in (("1", "1"), ("9", "9"), ("negative", "-4"), ("huge", "18446744073709551620"),
                       ("fraction", "4.5"), ("nan", "nan"), ("missing", "")):
        file("bits_" + name, "EINVAL", "plan row 3: bits is not 2..8", bits=bits)
    for name, size in (("0", "0"), ("7", "7"), ("minus_3", "-3"), ("huge", "1e30"), ("wraps", "18446744073709551608"),
                       ("missing", "")):
        file("group_" + name, "EINVAL", "plan row 3: group_size is not 8 or more", group_size=size)
    # text in one row makes the column text
    file("bits_text", "EINVAL", "plan row 1: bits is not 2..8", bits="four")
    file("group_text", "EINVAL", "plan row 1: group_size is not 8 or more", group_size="row")
    file("levels_unknown", "EINVAL", "plan row 3: levels is not narrow", levels="wide")
    file("levels_missing", "EINVAL", "plan row 3: levels is not narrow", levels="")
    file("alpha_missing", "EINVAL", "plan row 3: alpha is not a number of 0 or more", group_size="-2", clip="")
    file("alpha_negative", "EINVAL", "plan row 3: alpha is not", group_size="-2", clip="", alpha="-1")
    file("alpha_inf", "EINVAL", "plan row 3: alpha is not", group_size="-2", clip="", alpha="inf")
    file("alpha_too_large", "ENUMERIC", LAYER + "self_attn.q_proj.weight", group_size="-2", clip="", alpha="1e300")
    file("alpha_tiny", "OK", "", group_size="-2", clip="", alpha="1e-300")
    file("clip_missing", "EMISMATCH", "plan row 3: clip has 0 characters, the tensor 8 groups", clip="")
    file("clip_short", "EMISMATCH", "plan row 3: clip has 7 characters, the tensor 8 groups", clip="ABCDEFG")
    file("clip_long", "EMISMATCH", "plan row 3: clip has 5000 characters, the tensor 8 groups", clip="A" * 5000)
    file("clip_character", "EINVAL", "plan row 3: clip character 8 is not one of", clip="AAAAAAA*")
    file("clip_accent", "EINVAL", "plan row 3: clip character 1 is not one of", clip="\u00c4\u00c4\u00c4\u00c4")
    file("gain_short", "EMISMATCH", "plan row 3: gain has 2 characters", gain="AB")
    file("inputs_short", "EMISMATCH", "plan row 3: inputs has 3 characters, the tensor 8 inputs", inputs="ABC")
    file("keep_text", "EINVAL", "plan row 3: keep is not row:column pairs", keep="all")
    file("keep_half", "EINVAL", "plan row 3: keep is not row:column pairs", keep="0:")
    file("keep_outside", "EINVAL", "plan row 3: keep is not row:column pairs of the matrix", keep="8:0")
    file("keep_huge", "EINVAL", "plan row 3: keep is not row:column pairs", keep="0:99999999999999999999999")
    file("keep_last_space", "EINVAL", "plan row 3: keep is not row:column pairs", keep="0:0 ")
    file("keep_twice", "EINVAL", "plan row 3: keep is not in ascending order", keep="0:1 0:1")
    file("keep_backwards", "EINVAL", "plan row 3: keep is not in ascending order", keep="1:0 0:1")
    file("weights_text", "EINVAL", "plan row 3: weights is not language:weight pairs", weights="even")
    file("weights_sum", "EINVAL", "plan row 3: weights is not language:weight pairs", weights='"en:0.5,sw:0.2"')
    file("weights_negative", "EINVAL", "plan row 3: weights is not language:weight", weights='"en:1.5,sw:-0.5"')
    file("weights_nan", "EINVAL", "plan row 3: weights is not language:weight pairs", weights='"en:nan,sw:1"')
    file("weights_twice", "EINVAL", "plan row 3: weights names", weights='"en:0.4,en:0.6"')
    file("type_of_another_method", "EINVAL", "plan row 3: type is neither int nor", type="nf4")
    file("type_not_the_methods", "EINVAL", "plan row 3: type int is not that of nf4", method="nf4")
    file("nf4_of_8_bits", "EINVAL", "nf4 has 4 bits, not 8", method="nf4", type="nf4", bits="8")
    file("mxfp4_in_groups_of_8", "EINVAL", "mxfp4 has groups of 32", method="mxfp4", type="mxfp4")
    file("hqq_lp", "EINVAL", "hqq: lp: 3 is not in 0..1", method="hqq", options="lp=3")
    file("hqq_iterations", "EINVAL", "hqq: iterations: 1e+09 is not", method="hqq", options="iterations=1e9")
    file("hqq_beta", "EINVAL", "hqq: beta is not above 0", method="hqq", options="beta=-1")
    file("hqq", "OK", "", method="hqq", levels="asym", options="lp=0.5", keep="1:1")
    file("asym", "OK", "", levels="asym")
    file("options_unknown", "EINVAL", "plan row 3: options: rtn has no option 'speed'", options="speed=11")
    file("options_text", "EINVAL", "plan row 3: options is not name=number pairs", options="fast")
    with open(os.path.join(HERE, "expected.txt"), "w", encoding="utf-8") as f:
        f.write("".join(lines))


main()
