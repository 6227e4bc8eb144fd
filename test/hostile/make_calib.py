"""Writes the broken calibration and CSV files of calib/ and table/, and the list of what each must be refused with
(calib/expected.txt, table/expected.txt: file, status, part of the message)."""
import json
import os
import struct

here = os.path.dirname(os.path.abspath(__file__))


def good():
    meta = {"qdisp.calibration": "1 1 1 2", "map.0": "2 w", "language.0": "en"}
    arrays = {}
    for fold in ("fit", "guard"):
        arrays[f"en.{fold}.squares"] = ("F64", [1.0, 2.0])
        arrays[f"en.{fold}.n_rows"] = ("I64", [3])
        arrays[f"en.{fold}.abs_sums"] = ("F64", [1.0, 2.0])
        arrays[f"en.{fold}.counts"] = ("I64", [3, 10])
    return meta, arrays


def blob(meta, arrays):
    header, data = {"__metadata__": meta}, b""
    for name, (dtype, values) in arrays.items():
        raw = struct.pack("<%d%s" % (len(values), "d" if dtype == "F64" else "q"), *values)
        header[name] = {"dtype": dtype, "shape": [len(values)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


cases = {}


def case(name, part, change, status="EFORMAT"):
    meta, arrays = good()
    change(meta, arrays)
    cases[name] = (blob(meta, arrays), status, part)


case("good", "", lambda m, a: None, "OK")
case("no_version", "not a calibration", lambda m, a: m.pop("qdisp.calibration"))
case("version_2", "version 1", lambda m, a: m.update({"qdisp.calibration": "2 1 1 2"}))
case("version_text", "not a calibration", lambda m, a: m.update({"qdisp.calibration": "one map"}))
case("negative_layers", "not a calibration", lambda m, a: m.update({"qdisp.calibration": "1 1 -1 2"}))
case("many_maps", "linear maps", lambda m, a: m.update({"qdisp.calibration": "1 1000000000 1 2"}))
case("two_maps_claimed", "map.1", lambda m, a: m.update({"qdisp.calibration": "1 2 1 2"}))
case("many_layers", "abs_sums", lambda m, a: m.update({"qdisp.calibration": "1 1 100000000000 2"}))
case("most_layers", "not a calibration", lambda m, a: m.update({"qdisp.calibration": "1 1 18446744073709551615 2"}))
case("map_missing", "map.0", lambda m, a: m.pop("map.0"))
case("map_text", "map.0", lambda m, a: m.update({"map.0": "w"}))
case("map_zero", "no inputs", lambda m, a: m.update({"map.0": "0 w"}))
case("map_huge", "en.fit.squares", lambda m, a: m.update({"map.0": "100000000000000000 w"}))
case("map_wider", "en.fit.squares", lambda m, a: m.update({"map.0": "3 w"}))
case("language_twice", "'en' comes twice", lambda m, a: m.update({"language.1": "en"}))
case("language_without_data", "sw.fit.squares", lambda m, a: m.update({"language.1": "sw"}))
case("language_empty", "", lambda m, a: m.update({"language.1": ""}))
case("array_missing", "en.guard.n_rows", lambda m, a: a.pop("en.guard.n_rows"))
case("array_long", "en.fit.counts", lambda m, a: a.update({"en.fit.counts": ("I64", [3, 10, 1])}))
case("array_type", "en.fit.n_rows", lambda m, a: a.update({"en.fit.n_rows": ("F64", [3.0])}))
case("squares_negative", "'en'", lambda m, a: a.update({"en.fit.squares": ("F64", [1.0, -2.0])}))
case("squares_nan", "'en'", lambda m, a: a.update({"en.fit.squares": ("F64", [1.0, float("nan")])}))
case("squares_inf", "'en'", lambda m, a: a.update({"en.guard.squares": ("F64", [float("inf"), 1.0])}))
case("sums_nan", "'en'", lambda m, a: a.update({"en.fit.abs_sums": ("F64", [float("nan"), 1.0])}))
case("sums_negative", "'en'", lambda m, a: a.update({"en.guard.abs_sums": ("F64", [1.0, -1.0])}))
case("rows_negative", "'en'", lambda m, a: a.update({"en.fit.n_rows": ("I64", [-3])}))
case("rows_huge", "'en'", lambda m, a: a.update({"en.fit.n_rows": ("I64", [2 ** 63 - 1])}))
case("tokens_negative", "'en'", lambda m, a: a.update({"en.fit.counts": ("I64", [-3, 10])}))
case("bytes_negative", "'en'", lambda m, a: a.update({"en.guard.counts": ("I64", [3, -10])}))
case("squares_without_rows", "'en'", lambda m, a: a.update({"en.guard.n_rows": ("I64", [0])}))


def gradients(change):
    def both(meta, arrays):
        meta["outputs.0"] = "3"
        for fold in ("fit", "guard"):
            arrays[f"en.{fold}.gradients"] = ("F64", [1.0, 0.0, 2.0])
            arrays[f"en.{fold}.n_scored"] = ("I64", [3])
        change(meta, arrays)
    return both


case("gradients", "", gradients(lambda m, a: None), "OK")
case("gradients_negative", "'en'", gradients(lambda m, a: a.update({"en.fit.gradients": ("F64", [1.0, -1.0, 0.0])})))
case("gradients_nan", "'en'", gradients(lambda m, a: a.update({"en.fit.gradients": ("F64", [float("nan")] * 3)})))
case("gradients_short", "en.guard.gradients",
     gradients(lambda m, a: a.update({"en.guard.gradients": ("F64", [1.0])})))
case("gradients_without_outputs", "en.fit.gradients", gradients(lambda m, a: m.pop("outputs.0")))
case("gradients_alone", "only one of", gradients(lambda m, a: a.pop("en.guard.n_scored")))
case("scored_negative", "'en'", gradients(lambda m, a: a.update({"en.fit.n_scored": ("I64", [-1])})))
case("outputs_text", "outputs.0", gradients(lambda m, a: m.update({"outputs.0": "many"})))
case("outputs_huge", "en.fit.gradients", gradients(lambda m, a: m.update({"outputs.0": "100000000000000000"})))
whole = blob(*good())
cases["empty"] = (b"", "EFORMAT", "")
cases["truncated"] = (whole[:-8], "EFORMAT", "")
cases["header_only"] = (whole[:40], "EFORMAT", "")
cases["header_longer"] = (struct.pack("<Q", 1 << 40) + whole[8:], "EFORMAT", "")
cases["text"] = (b"language,n_tokens\nen,3\n", "EFORMAT", "")

tables = {
    "good": (b"a,b\n1,x\n", "OK", ""),
    "empty": (b"", "EFORMAT", "empty"),
    "only_newlines": (b"\n\n\n", "EFORMAT", "no name"),
    "short_row": (b"a,b\n1,2\n3\n", "EFORMAT", "line 3"),
    "long_row": (b"a,b\n1,2,3\n", "EFORMAT", "line 2"),
    "open_quote": (b"a\n\"x\ny\n", "EFORMAT", "line 2"),
    "only_quote": (b"\"", "EFORMAT", "line 1"),
    "quoted_nothing": (b"\"\"\n1\n", "EFORMAT", "no name"),
    "column_twice": (b"a,a\n1,2\n", "EFORMAT", "'a'"),
    "column_without_name": (b"a,\n1,2\n", "EFORMAT", "column 2"),
    "nul": (b"a,b\n1,\0\n", "EFORMAT", "NUL"),
    "latin1": (b"a,b\n1,\xe9t\xe9\n", "EENCODING", "byte 6"),
    "utf16": ("\ufeffa,b\n1,2\n".encode("utf-16-le"), "EENCODING", "byte 0"),
    "surrogate": (b"a\n\xed\xa0\x80\n", "EENCODING", "byte 2"),
    "bom_only": (b"\xef\xbb\xbf", "EFORMAT", "empty"),
    "commas": (b"," * 5000 + b"\n", "EFORMAT", "column 1"),
    "carriage_returns": (b"a\r\r\r1\r", "OK", ""),
    "text_after_quote": (b"a\n\"x\"y\n", "OK", ""),
    "huge_number": (b"a\n" + b"9" * 5000 + b"\n", "OK", ""),
    "huge_exponent": (b"a\n1e999999999999\n", "OK", ""),
}

for folder, rows in (("calib", cases), ("table", tables)):
    os.makedirs(os.path.join(here, folder), exist_ok=True)
    with open(os.path.join(here, folder, "expected.txt"), "w") as listing:
        for name, (data, status, part) in rows.items():
            file = name + (".safetensors" if folder == "calib" else ".csv")
            with open(os.path.join(here, folder, file), "wb") as out:
                out.write(data)
            listing.write(f"{file} {status} {part}\n")
