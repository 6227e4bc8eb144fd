import gc
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

import qdisp
from qdisp import _cdef, _lib

HEADERS = Path(__file__).resolve().parents[3] / "include" / "qdisp"


def test_every_function_of_the_headers_is_declared():
    declared = {name for header in HEADERS.glob("*.h")
                for name in re.findall(r"^QDISP_API\b[^;(]*?(\w+)\(", header.read_text("utf-8"), re.M)}
    assert len(declared) > 80
    for name in declared:
        assert _lib.ffi.typeof(getattr(_lib.lib, name)).kind == "function"


def test_the_stored_declarations_are_those_of_the_headers():
    assert _lib._declarations() == _cdef.from_headers(HEADERS)


def test_statuses():
    assert qdisp.Status.OK == 0 and qdisp.Status.EMISMATCH == 10 and len(qdisp.Status) == 11
    error = qdisp.Error(2, "why")
    assert error.status is qdisp.Status.EINVAL and str(error) == "why (QDISP_EINVAL)" and error.args == (2, "why")


def test_version():
    assert qdisp.__version__ == qdisp.version() == _version_of_headers()


def _version_of_headers():
    text = (HEADERS / "base.h").read_text("utf-8")
    return ".".join(re.search(rf"VERSION_{part} (\d+)", text).group(1) for part in ("MAJOR", "MINOR", "PATCH"))


def test_configure(default_context):
    context = qdisp.configure(threads=1, isa="c")
    assert (context.threads, context.isa) == (1, "c") and "isa='c'" in repr(context)
    for arguments, error in [({"threads": 0}, ValueError), ({"threads": 2000}, ValueError),
                             ({"threads": 1.5}, TypeError), ({"isa": 3}, TypeError),
                             ({"isa": "no-such"}, qdisp.Error), ({"progress": 3}, TypeError)]:
        with pytest.raises(error):
            qdisp.configure(**arguments)
    assert _lib.context() is context


def test_the_same_on_one_thread_and_plain_c(default_context, model_path, model):
    qdisp.configure(threads=1, isa="c")
    np.testing.assert_array_equal(qdisp.Model(model_path).census()["kurtosis"], model.census()["kurtosis"])


def test_progress(default_context, model_path, texts):
    seen = []
    qdisp.configure(progress=lambda what, done: seen.append((what, done)))
    qdisp.diagnose(model_path, None, texts, methods="rtn", bits=4, n_resamples=100)
    assert seen and all(isinstance(what, str) and 0 <= done <= 1 for what, done in seen)


def test_an_exception_in_progress_stops_the_work(default_context, model_path, texts):
    angry = True

    def progress(what, done):
        if angry:
            raise RuntimeError("enough")

    qdisp.configure(progress=progress)
    model = qdisp.Model(model_path)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="enough"):
            qdisp.diagnose(model, qdisp.Tokenizer(model_path), texts, methods="rtn", bits=4)
    angry = False
    assert len(model.census())  # the context stays good


def test_ctrl_c(default_context, model_path, text_path):
    model, tokenizer = qdisp.Model(model_path), qdisp.Tokenizer(model_path)
    corpus = qdisp.Corpus(text_path)
    calibration = qdisp.Calibration(model)

    def work():
        calibration.collect(tokenizer, corpus)
        qdisp.Quantizer("la-aciq", 4, 64, steps=1000).plan(model, calibration)  # some minutes

    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - started < 30  # far below minutes, far above what a slow machine needs
    assert len(model.census())  # the context goes on


def test_any_order_of_collection(model_path, texts):
    """Every order of dropping the Python objects frees the C handles safely."""
    for order in itertools.islice(itertools.permutations(range(6)), 0, None, 89):
        model = qdisp.Model(model_path)
        plan = qdisp.Quantizer("rtn").plan(model)
        objects = [model, plan, qdisp.apply_plan(plan, model), qdisp.Corpus(texts).split()[1],
                   qdisp.Calibration(model), model.tensor(model.tensors()["name"][0])]
        del model, plan
        for i in order:
            objects[i] = None
            gc.collect()


def test_a_quantized_model_keeps_the_arrays_of_its_base(model, model_path, tokenizer):
    config = (model_path / "config.json").read_text("utf-8")
    arrays = {name: np.copy(model.tensor(name)) for name in model.tensors()["name"]}
    base = qdisp.Model.from_tensors(config, arrays)
    alive = weakref.ref(arrays["transformer.ln_f.weight" if "transformer.ln_f.weight" in arrays else "ln_f.weight"])
    quantized = qdisp.apply_plan(qdisp.Quantizer("rtn", 8).plan(base), base)
    ids = tokenizer.encode("A small test.")
    expected = quantized.forward(ids)
    del base, arrays
    gc.collect()
    assert alive() is not None
    np.testing.assert_array_equal(quantized.forward(ids), expected)
    del quantized
    gc.collect()
    assert alive() is None


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow(model):
    def work():
        for _ in range(500):
            model.tensors()["n_bytes"]
            with pytest.raises(qdisp.Error):
                model.forward([10**6])

    work()
    before = resident_bytes()
    work()
    # a table of some 70 rows has more than 10 kB: 500 that were lost would take 5 MB
    assert resident_bytes() - before < 2 << 20


def test_cycles_are_collected(model_path):
    model = qdisp.Model(model_path)
    model.itself = model
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_threads_share_a_model(model, tokenizer, texts):
    sequences = [tokenizer.encode(line) for line in texts["en"]]
    expected = [model.nll(ids) for ids in sequences]
    results = [None] * len(sequences)

    def work(i):
        results[i] = model.nll(sequences[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(sequences))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, nll in zip(results, expected):
        np.testing.assert_allclose(result, nll, rtol=1e-5, atol=1e-5)  # OpenBLAS with threads may split otherwise


def test_a_path_with_nul():
    with pytest.raises(ValueError, match="NUL"):
        qdisp.Model("a\0b")
    with pytest.raises(TypeError):
        qdisp.Model(3)


def test_a_library_that_is_not_there():
    code = "import qdisp"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "QDISP_LIBRARY": "/nowhere/libqdisp.so.0"},
                          capture_output=True, text=True)
    assert done.returncode == 1 and "QDISP_LIBRARY" in done.stderr and "/nowhere/libqdisp.so.0" in done.stderr
