"""Makes the broken PyTorch checkpoints of test/hostile/torch, and expected.txt: file, status, part of the message.

    python test/hostile/make_torch_files.py

Only the standard library; the same bytes every time. Nothing here is pickled by Python: the bytes are written out.
"""
import pathlib
import struct
import zlib

OUT = pathlib.Path(__file__).resolve().parent / "torch"
EXPECTED = []


def text(s):
    b = s.encode() if isinstance(s, str) else s
    return b"X" + struct.pack("<I", len(b)) + b


def number(n):
    return b"J" + struct.pack("<i", n) if -2**31 <= n < 2**31 else b"\x8a\x08" + struct.pack("<q", n)


def tuple_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def name(module, n):
    return b"c" + module.encode() + b"\n" + n.encode() + b"\n"


def storage(kind="FloatStorage", key="0", n=6, module="torch"):
    return tuple_of(text("storage"), name(module, kind), text(key), text("cpu"), number(n)) + b"Q"


def tensor(of=None, offset=0, shape=(2, 3), strides=(3, 1), function="_rebuild_tensor_v2"):
    return (name("torch._utils", function) + tuple_of(of or storage(), number(offset), tuple_of(*map(number, shape)),
            tuple_of(*map(number, strides)), b"\x89", name("collections", "OrderedDict") + b")R") + b"R")


def pickle(**items):
    return b"\x80\x02}(" + b"".join(text(k) + v for k, v in items.items()) + b"u."


def archive(entries, **changes):
    """entries: (name, bytes[, {field: value}]) stored one after the other, as torch does, without alignment."""
    out, central = b"", b""
    for path, data, *fields in entries:
        f = {"method": 0, "flags": 0, "size": len(data), "plain": len(data), "offset": len(out), "local": path,
             "extra": b""}
        f.update(*fields)
        crc, local = zlib.crc32(data), f["local"].encode()
        out += struct.pack("<IHHHHHIIIHH", 0x04034b50, 20, f["flags"], f["method"], 0, 0, crc, f["size"] & 0xffffffff,
                           f["plain"] & 0xffffffff, len(local), 0) + local + data
        central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 20, 20, f["flags"], f["method"], 0, 0, crc, f["size"],
                               f["plain"], len(path.encode()), len(f["extra"]), 0, 0, 0, 0, f["offset"])
        central += path.encode() + f["extra"]
    c = {"n": len(entries), "size": len(central), "first": len(out), "disk": 0, "comment": b"", "zip64": b""}
    c.update(changes)
    return (out + central + c["zip64"] + struct.pack("<IHHHHIIH", 0x06054b50, c["disk"], 0, c["n"], c["n"], c["size"],
            c["first"], len(c["comment"])) + c["comment"])


DATA = struct.pack("<6f", *range(6))
GOOD = pickle(weight=tensor(), bias=tensor(storage(key="0"), 3, (3,), (1,)))


def checkpoint(p=GOOD, data=DATA, extra=(), **changes):
    return archive([("a/data.pkl", p), ("a/byteorder", b"little"), ("a/data/0", data), *extra], **changes)


def case(file, data, status="EFORMAT", reason=""):
    (OUT / file).write_bytes(data)
    EXPECTED.append(f"{file} {status} {reason}")


def pickled(file, p, reason, status="EFORMAT"):
    case(file, checkpoint(p), status, reason)


def zips():
    good = checkpoint()
    case("good.bin", good, "OK")
    case("cut.bin", good[:-30], reason="its end is missing")
    case("comment.bin", checkpoint(comment=b"hello"), "OK")
    case("trailing.bin", good + b"hidden", reason="its end is missing")
    case("no_pickle.bin", archive([("a/data/0", DATA)]), reason="without data.pkl")
    case("empty.bin", archive([]), reason="without data.pkl")
    case("torchscript.bin", checkpoint(extra=[("a/constants.pkl", b"x")]), "EUNSUPPORTED", "a TorchScript archive")
    case("big_endian.bin", archive([("a/data.pkl", GOOD), ("a/byteorder", b"big"), ("a/data/0", DATA)]), "EUNSUPPORTED",
         "byte order 'big'")
    case("deflated_pickle.bin", archive([("a/data.pkl", zlib.compress(GOOD)[2:-4], {"method": 8}), ("a/data/0", DATA)]),
         "EUNSUPPORTED", "entry 'a/data.pkl' is compressed")
    case("deflated_data.bin", archive([("a/data.pkl", GOOD), ("a/data/0", b"xx", {"method": 8, "plain": 24})]),
         "EUNSUPPORTED", "entry 'a/data/0' is compressed")
    case("encrypted.bin", archive([("a/data.pkl", GOOD), ("a/data/0", DATA, {"flags": 1})]), "EUNSUPPORTED",
         "or encrypted")
    case("two_sizes.bin", archive([("a/data.pkl", GOOD), ("a/data/0", DATA, {"plain": 25})]), reason="two sizes")
    case("offset_past_end.bin", archive([("a/data.pkl", GOOD), ("a/data/0", DATA, {"offset": 0xfffffff0})]),
         reason="begins outside of the archive")
    case("offset_wrong.bin", archive([("a/data.pkl", GOOD), ("a/data/0", DATA, {"offset": 3})]),
         reason="does not begin where the directory says")
    case("size_past_end.bin", archive([("a/data.pkl", GOOD), ("a/data/0", DATA, {"size": 2**31, "plain": 2**31})]),
         reason="passes the end of the data")
    case("same_place.bin", archive([("a/data.pkl", GOOD), ("a/data/0", DATA), ("a/data/0", DATA,
         {"offset": len(GOOD) + 40})]), reason="two entries overlap")
    case("overlap.bin", archive([("a/data.pkl", GOOD, {"size": len(GOOD) + 40, "plain": len(GOOD) + 40}),
         ("a/data/0", DATA)]), reason="two entries overlap")
    case("same_name.bin", checkpoint(extra=[("a/data/0", DATA)]), reason="two entries have one name")
    case("other_name.bin", archive([("a/data.pkl", GOOD), ("a/data/0", DATA, {"local": "b/data/0"})]),
         reason="another name than the directory says")
    case("many_entries.bin", checkpoint(n=60000), reason="more entries than its directory has room for")
    case("fewer_entries.bin", checkpoint(n=2), reason="the archive has no entry 'a/data/0'")
    case("directory_past_end.bin", checkpoint(size=2**31), reason="its directory passes the end")
    case("directory_wrong.bin", checkpoint(first=5), reason="its directory is broken")
    case("several_disks.bin", checkpoint(disk=1), "EUNSUPPORTED", "in several parts")
    locator = struct.pack("<IIQI", 0x07064b50, 0, 2**63, 1)
    case("zip64_past_end.bin", checkpoint(zip64=locator), reason="zip64 end is not where it should be")
    end64 = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, 2**60, 2**60, 2**60, 0)
    case("zip64_entries.bin", checkpoint(zip64=end64 + struct.pack("<IIQI", 0x07064b50, 0, len(good) - 22, 1)),
         reason="its directory passes the end")
    case("zip64_extra.bin", archive([("a/data.pkl", GOOD), ("a/data/0", DATA, {"size": 2**32 - 1, "plain": 2**32 - 1,
         "extra": struct.pack("<HHQ", 1, 8, 24)})]), reason="a broken extra field")
    case("zip64_huge.bin", archive([("a/data.pkl", GOOD), ("a/data/0", DATA, {"size": 2**32 - 1, "plain": 2**32 - 1,
         "extra": struct.pack("<HHQQ", 1, 16, 2**62, 2**62)})]), reason="passes the end of the data")


def pickles():
    call = text("touch /tmp/qdisp-owned")
    pickled("os_system.bin", b"\x80\x02" + name("os", "system") + b"(" + call + b"tR.", "wants os.system")
    pickled("eval.bin", pickle(weight=name("builtins", "eval") + b"(" + call + b"tR"), "wants builtins.eval")
    pickled("stack_global.bin", b"\x80\x04" + text("posix") + text("system") + b"\x93.", "wants posix.system")
    pickled("getattr.bin", b"\x80\x02" + name("torch", "load") + b".", "wants torch.load")
    pickled("module.bin", b"\x80\x02" + name("my_project.model", "Model") + b".", "wants my_project.model.Model")
    pickled("instance.bin", b"\x80\x02(ios\nsystem\n.", "operation 0x69", "EUNSUPPORTED")
    pickled("new_object.bin", b"\x80\x02" + name("collections", "OrderedDict") + b")\x81.", "operation 0x81",
            "EUNSUPPORTED")
    pickled("call_of_dict.bin", b"\x80\x02})R.", "a call of no function")
    pickled("dict_arguments.bin", b"\x80\x02" + name("collections", "OrderedDict") + b"](K\x01et\x85R.", "")
    pickled("no_values.bin", b"\x80\x02R.", "takes more values than there are")
    pickled("no_mark.bin", b"\x80\x02NNt.", "no mark")
    pickled("only_mark.bin", b"\x80\x02(.", "takes more values than there are")
    pickled("items_of_nothing.bin", b"\x80\x02(NNu.", "items of no list or dict")
    pickled("odd_items.bin", b"\x80\x02}(Nu.", "a key without a value")
    pickled("memo_huge.bin", b"\x80\x02}r\xff\xff\xff\x7f.", "beyond the size of the pickle")
    pickled("memo_empty.bin", b"\x80\x02}q\x05h\x03.", "the memo has nothing there")
    pickled("text_past_end.bin", b"\x80\x02X\xff\xff\xff\x7fabc", "cut short")
    pickled("text64_past_end.bin", b"\x80\x04\x8d" + b"\xff" * 8 + b"abc", "cut short")
    pickled("long_past_end.bin", b"\x80\x02\x8b\xff\xff\xff\x7f.", "cut short")
    pickled("frame_past_end.bin", b"\x80\x04\x95" + b"\xff" * 8 + b".", "a frame passes the end")
    pickled("endless.bin", b"\x80\x02}", "cut short")
    pickled("no_line.bin", b"\x80\x02ctorch", "cut short")
    pickled("protocol_9.bin", b"\x80\x09}.", "not protocol 2 to 5")
    pickled("not_a_dict.bin", b"\x80\x02K\x01.", "holds no dict with tensors")
    pickled("itself.bin", b"\x80\x02}q\x00" + text("a") + b"h\x00s.", "too deep or too often")
    pickled("deep.bin", b"\x80\x02" + (b"}" + text("a")) * 3000 + b"}" + b"s" * 3000 + b".", "too deep or too often")
    bomb = b"}q\x00" + text("w") + tensor() + b"s0"[:1]
    for i in range(1, 14):
        bomb += b"}q" + bytes([i]) + b"(" + b"".join(text(c) + b"h" + bytes([i - 1]) for c in "abcdefgh") + b"u"
    pickled("dict_bomb.bin", b"\x80\x02" + bomb + b".", "too deep or too often")
    pickled("nested_tuples.bin", b"\x80\x02" + b"(" * 5000 + b"t" * 5000 + b".", "holds no dict with tensors")


def tensors():
    def one(file, t, reason, status="EFORMAT"):
        pickled(file, pickle(weight=t), "tensor 'weight': " + reason, status)
    one("shape_past_end.bin", tensor(shape=(3, 3)), "its elements pass the end of its storage (6)")
    one("offset_overflow.bin", tensor(offset=2**62), "its elements pass the end")
    one("stride_overflow.bin", tensor(strides=(2**62, 2**62)), "its elements pass the end")
    one("shape_overflow.bin", tensor(shape=(2**33, 2**33), strides=(0, 0)), "its elements pass the end")
    one("expanded.bin", tensor(shape=(2**30, 2**30), strides=(0, 0)), "its elements lie over each other",
        "EUNSUPPORTED")
    one("negative_stride.bin", tensor(strides=(-3, 1)), "offset, shape or strides")
    one("negative_shape.bin", tensor(shape=(-2, 3)), "offset, shape or strides")
    one("fewer_strides.bin", tensor(strides=(3,)), "offset, shape or strides")
    one("text_offset.bin", tensor().replace(number(0) + b"(", text("x") + b"("), "offset, shape or strides")
    one("many_dims.bin", tensor(shape=(1,) * 40, strides=(1,) * 40), "offset, shape or strides")
    one("storage_claims.bin", tensor(storage(n=2**40)), "its storage claims 1099511627776 elements")
    one("storage_overflow.bin", tensor(storage(n=2**62)), "its storage claims")
    one("storage_negative.bin", tensor(storage(n=-1)), "its storage is described in another way")
    one("no_storage.bin", tensor(b"N"), "it has no storage")
    one("no_entry.bin", tensor(storage(key="7")), "the archive has no entry 'a/data/7'")
    one("key_climbs.bin", tensor(storage(key="../../etc/passwd")), "the archive has no entry")
    one("key_long.bin", tensor(storage(key="7" * 2000)), "the name of its storage is too long or holds a zero byte")
    one("class_no_storage.bin", tensor(storage("float32")), "'float32' is no class of storages")
    one("untyped.bin", tensor(storage("UntypedStorage", n=24, module="torch.storage")), "the type of its elements")
    one("parameter_of_itself.bin", name("torch._utils", "_rebuild_parameter") + b"(N\x88NtR",
        "a parameter of no tensor")
    pickled("name_not_utf8.bin", b"\x80\x02}" + text(b"\xff\xfe") + tensor() + b"s.", "too long, or no text")
    pickled("name_long.bin", b"\x80\x02}" + text("n" * 3000) + tensor() + b"s.", "too long, or no text")
    pickled("same_tensor.bin", b"\x80\x02}(" + (text("w") + tensor()) * 2 + b"u.", "two tensors are named 'w'")
    case("legacy.bin", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "EUNSUPPORTED", "torch.save wrote before 1.6")


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    zips()
    pickles()
    tensors()
    (OUT / "expected.txt").write_text("\n".join(EXPECTED) + "\n")


main()
