"""gguf_bytes.py - the parts of a GGUF file as bytes, sound or broken at will, for the make scripts beside it."""
import struct

U8, I8, U32, I32, F32, BOOL, STRING, ARRAY, U64, F64 = 0, 1, 4, 5, 6, 7, 8, 9, 10, 12


def u32(x):
    return struct.pack("<I", x)


def u64(x):
    return struct.pack("<Q", x)


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return u64(len(s)) + s


def key(name, kind, value):
    return text(name) + u32(kind) + value


def tensor(name, ne, kind, offset):
    return text(name) + u32(len(ne)) + b"".join(u64(n) for n in ne) + u32(kind) + u64(offset)


PACK = {U8: "<B", I8: "<b", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", F64: "<d"}


def value(kind, x):
    return text(x) if kind == STRING else struct.pack(PACK[kind], x)


def scalar(name, kind, x):
    return key(name, kind, value(kind, x))


def array(name, kind, xs):
    return key(name, ARRAY, u32(kind) + u64(len(xs)) + b"".join(value(kind, x) for x in xs))


def file_bytes(keys, tensors, data=b"", version=3, n_keys=None, n_tensors=None, alignment=32):
    """A file of keys and tensors (bytes each), with claims of their numbers; data follow the padding, None: neither."""
    head = (b"GGUF" + u32(version) + u64(len(tensors) if n_tensors is None else n_tensors) +
            u64(len(keys) if n_keys is None else n_keys) + b"".join(keys) + b"".join(tensors))
    return head + (bytes(-len(head) % alignment) + data if data is not None else b"")
