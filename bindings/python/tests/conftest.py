"""Inputs of the tests: the embedded model and text."""

from pathlib import Path

import pytest

import qdisp

DATA = Path(__file__).resolve().parents[3] / "examples" / "data"


@pytest.fixture(scope="session")
def model_path():
    return DATA / "model"


@pytest.fixture(scope="session")
def text_path():
    return DATA / "text"


@pytest.fixture(scope="session")
def model(model_path):
    return qdisp.Model(model_path)


@pytest.fixture(scope="session")
def tokenizer(model_path):
    return qdisp.Tokenizer(model_path)


@pytest.fixture(scope="session")
def texts(text_path):
    """Eight lines of three languages and scripts."""
    return {tag: (text_path / f"{tag}.txt").read_text("utf-8").splitlines()[:8] for tag in ("en", "ru", "hi")}


@pytest.fixture(scope="session")
def corpus(texts):
    return qdisp.Corpus(texts)


@pytest.fixture(scope="session")
def calibration(model, tokenizer, corpus):
    return qdisp.Calibration(model).collect(tokenizer, corpus)


@pytest.fixture()
def default_context():
    """Lets a test configure, and puts the default context back."""
    from qdisp import _lib

    before = _lib.context()
    yield
    _lib._default = before
