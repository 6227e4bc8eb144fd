import numpy as np
import pytest

import qdisp


def test_encode_and_decode(tokenizer, texts):
    for lines in texts.values():
        for line in lines:
            ids = tokenizer.encode(line)
            assert ids.dtype == np.int32 and ids.max() < tokenizer.n_vocab
            assert tokenizer.decode(ids) == line
            np.testing.assert_array_equal(tokenizer.encode(line.encode("utf-8")), ids)


def test_offsets(tokenizer, texts):
    line = texts["ru"][0]
    ids, starts = tokenizer.encode(line, offsets=True)
    assert starts.shape == ids.shape and starts[0] == 0
    assert (np.diff(starts) >= 0).all() and starts[-1] < len(line.encode("utf-8"))


def test_names_of_special_tokens(tokenizer):
    pad = tokenizer.id("<pad>")
    assert pad in tokenizer.encode("a<pad>b")
    ids = tokenizer.encode("a<pad>b", special_as_text=True)
    assert pad not in ids and tokenizer.decode(ids) == "a<pad>b"


def test_nothing(tokenizer):
    assert tokenizer.encode("").shape == (0,) and tokenizer.decode([]) == ""


def test_vocabulary(tokenizer):
    token = tokenizer.token(100)
    assert tokenizer.id(token) == 100
    assert tokenizer.id("no such token at all") is None
    assert tokenizer.token(-1) is None and tokenizer.token(tokenizer.n_vocab) is None


def test_tiktoken(tmp_path):
    ranks = tmp_path / "small.tiktoken"
    ranks.write_text("YQ== 0\nYg== 1\nYWI= 2\n")
    with pytest.raises(qdisp.Error) as error:
        qdisp.Tokenizer(ranks)
    assert error.value.status == qdisp.Status.EUNSUPPORTED and "3 ranks" in error.value.message
    made = qdisp.Tokenizer(ranks, encoding="cl100k_base", special_tokens={"<|x|>": 3})
    assert list(made.encode("abb<|x|>")) == [2, 1, 3] and made.decode([2, 3]) == "ab<|x|>"
    with pytest.raises(ValueError):
        qdisp.Tokenizer(ranks, encoding="cl100k_base", special_tokens={"a,b": 3})
    with pytest.raises(TypeError):
        qdisp.Tokenizer(ranks, encoding=3)


def test_tokenizer_errors(tokenizer, tmp_path):
    with pytest.raises(qdisp.Error) as error:
        tokenizer.encode(b"ab\xffc")
    assert error.value.status == qdisp.Status.EENCODING and "2" in error.value.message
    with pytest.raises(qdisp.Error) as error:
        tokenizer.decode([tokenizer.n_vocab])
    assert error.value.status == qdisp.Status.EINVAL
    with pytest.raises(TypeError, match="text"):
        tokenizer.encode(3)
    with pytest.raises(UnicodeEncodeError):
        tokenizer.encode("\ud800")
    with pytest.raises(qdisp.Error) as error:
        qdisp.Tokenizer(tmp_path)
    assert error.value.status == qdisp.Status.ENOTFOUND


def test_corpus_of_a_folder(text_path):
    corpus = qdisp.Corpus(text_path, ["sw", "en"])
    assert corpus.languages == ["sw", "en"] and corpus.script("en") == "Latn"
    assert corpus.lines("en") == (text_path / "en.txt").read_text("utf-8").splitlines()
    assert qdisp.Corpus(text_path, "sw,en").languages == ["sw", "en"]
    assert len(qdisp.Corpus(text_path).languages) >= 24


def test_corpus_of_a_dict(texts):
    corpus = qdisp.Corpus(texts)
    assert corpus.languages == list(texts) and len(corpus) == 8
    assert all(corpus.lines(tag) == texts[tag] for tag in texts)
    joined = qdisp.Corpus({tag: "\n".join(lines) for tag, lines in texts.items()}, languages=["hi"])
    assert joined.languages == ["hi"] and joined.lines("hi") == texts["hi"]


def test_split(corpus):
    a, b = corpus.split(0.25, seed=1)
    assert (len(a), len(b)) == (2, 6)
    assert sorted(a.lines("ru") + b.lines("ru")) == sorted(corpus.lines("ru"))
    index = [corpus.lines("en").index(line) for line in a.lines("en")]
    assert [corpus.lines("hi")[i] for i in index] == a.lines("hi")
    with pytest.raises(ValueError, match="share"):
        corpus.split(1.5)


def test_describe(corpus):
    table = corpus.describe()
    assert list(table["language"]) == corpus.languages and list(table["script"]) == ["Latn", "Cyrl", "Deva"]
    assert table["n_bytes"][0] == sum(len(line.encode("utf-8")) for line in corpus.lines("en"))


@pytest.mark.parametrize("texts, error", [
    ({"en": ["a"], "fr": ["b", "c"]}, qdisp.Error), ({"en": ["a\nb"]}, ValueError), ({"en": [3]}, TypeError),
    ({"en": ["", "a"]}, qdisp.Error), ({"not a tag": ["a"]}, qdisp.Error), ({}, qdisp.Error)])
def test_corpus_errors(texts, error):
    with pytest.raises(error):
        qdisp.Corpus(texts)


def test_languages_that_are_not_there(texts, text_path, corpus):
    with pytest.raises(ValueError, match="'xx'"):
        qdisp.Corpus(texts, ["xx"])
    with pytest.raises(qdisp.Error, match="xx"):
        qdisp.Corpus(text_path, ["xx"])
    with pytest.raises(KeyError, match="xx"):
        corpus.lines("xx")
