"""The shared library: found, loaded, and called. Contexts, errors, cancellation."""

from __future__ import annotations

import ctypes.util
import enum
import os
import threading
from pathlib import Path
from typing import Any, Callable

import cffi

from . import _cdef

_HERE = Path(__file__).resolve().parent
_SONAME = "libqdisp.so.0"


def _declarations() -> str:
    made = _HERE / "qdisp_cdef.h"
    if made.is_file():
        return made.read_text("utf-8")
    headers = _HERE.parents[2] / "include" / "qdisp"  # a source tree that was not installed
    if headers.is_dir():
        return _cdef.from_headers(headers)
    raise ImportError(f"qdisp: {made} is missing: install the package again (pip install ./bindings/python)")


def _load(ffi: cffi.FFI) -> Any:
    """QDISP_LIBRARY, then the packaged file, then the system's."""
    given = os.environ.get("QDISP_LIBRARY")
    packaged = _HERE / _SONAME
    path = given or (str(packaged) if packaged.is_file() else ctypes.util.find_library("qdisp") or _SONAME)
    try:
        return ffi.dlopen(path)
    except OSError as error:
        source = "QDISP_LIBRARY names it" if given else "set QDISP_LIBRARY, or install libqdisp or this package again"
        raise ImportError(f"qdisp: cannot load {path}: {error} ({source})") from None


ffi = cffi.FFI()
ffi.cdef(_declarations())
lib = _load(ffi)


def _enum(name: str, c_type: str, prefix: str) -> Any:
    """A C enum as an IntEnum, names without their prefix."""
    members = {key[len(prefix):]: value for key, value in ffi.typeof(c_type).relements.items()}
    return enum.IntEnum(name, dict(sorted(members.items(), key=lambda item: item[1])))


Status = _enum("Status", "qdisp_status", "QDISP_")
DType = _enum("DType", "qdisp_dtype", "QDISP_DTYPE_")


class Error(Exception):
    """A failure that the library reports.

    Attributes:
        status: `Status`, such as `Status.EFORMAT`.
        message: names file, place and reason.
    """

    def __init__(self, status: int, message: str):
        super().__init__(status, message)
        try:
            self.status = Status(status)
        except ValueError:  # a newer library's
            self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({text(lib.qdisp_status_name(self.status))})"


def text(pointer: Any) -> str | None:
    """A C string as str; None for NULL."""
    return None if pointer == ffi.NULL else ffi.string(pointer).decode("utf-8", "replace")


def c_string(value: Any, what: str) -> Any:
    """str or None as a C string, which the caller has to hold until the call is over."""
    if value is None:
        return ffi.NULL
    if not isinstance(value, str):
        raise TypeError(f"{what}: a str is needed, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{what}: holds a NUL character")
    return ffi.new("char[]", value.encode("utf-8"))


def c_path(value: Any) -> Any:
    """A path (str, bytes, os.PathLike) as a C string."""
    raw = os.fsencode(value)
    if b"\0" in raw:
        raise ValueError("path: holds a NUL character")
    return ffi.new("char[]", raw)


def c_list(value: Any, what: str) -> Any:
    """A comma-separated str, or a list of items, as a C string; None stays NULL."""
    if value is None or isinstance(value, str):
        return c_string(value, what)
    if isinstance(value, (bytes, dict)) or not hasattr(value, "__iter__"):
        value = [value]
    items = [str(item) for item in value]
    if not items or any(not item or "," in item for item in items):
        raise ValueError(f"{what}: a non-empty list is needed, of items that are not empty and hold no comma")
    return c_string(",".join(items), what)


def whole(value: Any, what: str, low: int = 0, high: int = 2**63 - 1) -> int:
    """An int in [low, high]; TypeError for anything that is not a whole number, bool included."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what}: an int is needed, not {type(value).__name__}")
    number = value.__index__()
    if not low <= number <= high:
        raise ValueError(f"{what}: {number} is outside {low}..{high}")
    return number


class Context:
    """Threads, instruction set and callbacks that the library works with. Made by `configure`.

    Everything that is made from a context keeps it. The last message of a failure belongs to the context: threads that
    want to be sure of their own messages use contexts, and models, of their own.
    """

    def __init__(self, threads: int | None = None, isa: str | None = None,
                 progress: Callable[[str, float], Any] | None = None,
                 log: Callable[[str, str], Any] | None = None, own_blas: bool = False):
        for name, callback in (("progress", progress), ("log", log)):
            if callback is not None and not callable(callback):
                raise TypeError(f"{name}: a callable or None is needed, not {type(callback).__name__}")
        self._stop = False
        self._raised: BaseException | None = None
        self._n_running = 0
        self._lock = threading.Lock()
        self._progress, self._log = progress, log
        n_threads = 0 if threads is None else whole(threads, "threads", 1, 1024)
        c_isa = c_string(isa, "isa")
        # kept here: C calls them as long as the context lives
        on_error = {"onerror": self._on_error}
        self._callbacks = (ffi.callback("int(void *)", self._on_cancelled, error=1, **on_error),
                           ffi.callback("void(void *, const char *, double)", self._on_progress, **on_error),
                           ffi.callback("void(void *, qdisp_log_level, const char *)", self._on_log, **on_error))
        options = ffi.new("qdisp_ctx_options *")
        options.size = ffi.sizeof(options[0])
        options.n_threads = n_threads
        options.isa = c_isa
        options.own_blas = 1 if own_blas else 0
        options.cancelled = self._callbacks[0]
        if progress is not None:
            options.progress = self._callbacks[1]
        if log is not None:
            options.log = self._callbacks[2]
        out = ffi.new("qdisp_ctx **")
        status = lib.qdisp_ctx_new(options, out)
        if status != Status.OK:
            raise Error(status, f"isa {isa!r}, {n_threads or 'all'} threads: {text(lib.qdisp_status_text(status))}")
        self.handle = ffi.gc(out[0], lib.qdisp_ctx_free)

    @property
    def threads(self) -> int:
        """Number of threads in use."""
        return lib.qdisp_ctx_n_threads(self.handle)

    @property
    def isa(self) -> str:
        """Instruction set in use: "c", "avx2", "avx512" or "neon"."""
        return text(lib.qdisp_ctx_isa(self.handle))

    def __repr__(self) -> str:
        return f"Context(threads={self.threads}, isa={self.isa!r})"

    # C calls these from any thread. An exception must not cross it: it stops the work and is raised after the call.
    def _on_cancelled(self, _user: Any) -> int:
        return self._stop

    def _on_progress(self, _user: Any, what: Any, done: float) -> None:
        if not self._stop:
            self._progress(text(what), done)

    def _on_log(self, _user: Any, level: int, line: Any) -> None:
        self._log("warning" if level == lib.QDISP_LOG_WARNING else "info", text(line))

    def _on_error(self, _kind: type, error: BaseException, _traceback: Any) -> None:
        self._raised = self._raised or error
        self._stop = True

    def _interrupt(self) -> None:
        with self._lock:
            self._stop = self._n_running > 0  # else the work is over, and the next must not be stopped

    def _run(self, function: Callable, arguments: tuple) -> tuple[int, str]:
        with self._lock:
            self._n_running += 1
        try:
            status = function(*arguments)
            return status, text(lib.qdisp_ctx_error(self.handle)) if status else ""
        finally:
            with self._lock:
                self._n_running -= 1
                self._stop = self._stop and self._n_running > 0

    def _run_interruptible(self, function: Callable, arguments: tuple) -> tuple[int, str, BaseException | None]:
        """Runs on a thread of its own, so that the main thread can take a Ctrl-C and ask the work to stop.

        Python hands signals to the main thread only while that runs Python code; waiting for a lock counts.
        """
        result: list[tuple[int, str]] = []
        interrupt = None
        done = threading.Lock()
        done.acquire()

        def work() -> None:
            try:
                result.append(self._run(function, arguments))
            finally:
                done.release()

        threading.Thread(target=work, name="qdisp", daemon=True).start()
        while True:
            try:
                done.acquire()
                return (*result[0], interrupt)
            except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt, or what a signal handler raised
                interrupt = interrupt or error
                self._interrupt()

    def call(self, name: str, *arguments: Any, long: bool = False) -> tuple:
        """Calls a function that returns a status, with the outputs left off, and returns the outputs.

        Handles come back owned: freed when they are collected. long: work that Ctrl-C can stop. Raises Error, or what
        interrupted the call.
        """
        function = getattr(lib, name)
        outs = [ffi.new(kind) for kind in ffi.typeof(function).args[len(arguments):]]
        interrupt = None
        if long and threading.current_thread() is threading.main_thread():
            status, message, interrupt = self._run_interruptible(function, (*arguments, *outs))
        else:
            status, message = self._run(function, (*arguments, *outs))
        results = tuple(_own(out) for out in outs) if status == Status.OK else ()
        raised, self._raised = interrupt or self._raised, None
        if raised is not None:
            raise raised
        if status != Status.OK:
            raise Error(status, message or text(lib.qdisp_status_text(status)))
        return results


_FREE = {name: getattr(lib, f"{name}_free") for name in
         ("qdisp_table", "qdisp_report", "qdisp_model", "qdisp_tokenizer", "qdisp_corpus", "qdisp_calib",
          "qdisp_quantizer")}


def _own(out: Any) -> Any:
    """The value behind an out pointer; a handle with its destructor."""
    item = ffi.typeof(out).item
    if item.kind != "pointer":
        return out[0]
    return ffi.gc(out[0], _FREE[item.item.cname])


_default: Context | None = None
_default_lock = threading.Lock()


def context() -> Context:
    """The context that new objects are made from."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Context()
        return _default


def configure(threads: int | None = None, isa: str | None = None,
              progress: Callable[[str, float], Any] | None = None,
              log: Callable[[str, str], Any] | None = None, own_blas: bool = False) -> Context:
    """Makes the context that objects made from now on use; those made before keep theirs.

    Args:
        threads: 1..1024; None: one for every processor the process may run on.
        isa: cap on the instruction set: "c", "avx2", "avx512", "neon"; None: the best the CPU has. Results do not
            differ.
        progress: called as progress(what, done) during long work, done from 0 to 1, on a thread of the library, never
            twice at once. An exception that it raises stops the work and comes out of the call.
        log: called as log(level, line), level "info" or "warning".
        own_blas: nothing else in this process uses the OpenBLAS that qdisp is linked with (numpy's wheels bring one of
            their own): it may be set to one thread, and qdisp's threads do the work. Faster.

    Returns the context. Errors: Error (an instruction set that this CPU lacks), TypeError, ValueError.
    """
    global _default
    made = Context(threads, isa, progress, log, own_blas)
    with _default_lock:
        _default = made
    return made


def version() -> str:
    """Version of the library that is loaded, "MAJOR.MINOR.PATCH"."""
    return text(lib.qdisp_version())
