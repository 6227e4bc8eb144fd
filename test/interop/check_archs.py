#!/usr/bin/env python3
"""transformers against qdisp, every architecture: check_archs.py LIBQDISP

For each folder of test/golden/arch, logits of random ids from the installed transformers and from the library, by
ctypes: of the folder, of what transformers saves having loaded it (experts also in one tensor, as it holds them), and
of what the library saves, read by either.
Needs torch, transformers (`./do interop` makes the environment)."""
import ctypes
import pathlib
import sys
import tempfile

import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
from make_archs import LENGTHS, MODELS, OUT, TARGET_LENGTHS, load, pieces, random_ids  # noqa: E402

TOLERANCE = 1e-4  # of the largest logit of a row: f32 sums in another order
SEED = 77777


class Batch(ctypes.Structure):  # qdisp_batch
    _fields_ = [("size", ctypes.c_uint64), ("ids", ctypes.c_void_p), ("starts", ctypes.c_void_p),
                ("n_seq", ctypes.c_size_t), ("source_ids", ctypes.c_void_p), ("source_starts", ctypes.c_void_p)]


class Options(ctypes.Structure):  # qdisp_run_options
    _fields_ = [("size", ctypes.c_uint64), ("nll", ctypes.c_void_p), ("logits", ctypes.c_void_p)]


class Library:
    def __init__(self, path):
        self.lib, self.ctx = ctypes.CDLL(path), ctypes.c_void_p()
        self.lib.qdisp_ctx_error.restype = ctypes.c_char_p
        self.check(self.lib.qdisp_ctx_new(None, ctypes.byref(self.ctx)))

    def check(self, status):
        assert status == 0, self.lib.qdisp_ctx_error(self.ctx).decode()

    def open(self, folder):
        model = ctypes.c_void_p()
        self.check(self.lib.qdisp_model_open(self.ctx, str(folder).encode(), ctypes.byref(model)))
        return model

    def save(self, folder, to):
        model = self.open(folder)
        self.check(self.lib.qdisp_model_save(model, str(to).encode()))
        self.lib.qdisp_model_free(model)

    def logits(self, folder, ids, starts, n_vocab, source=None, source_starts=None):
        model = self.open(folder)
        out = torch.empty(starts[-1], n_vocab)
        ends = (ctypes.c_size_t * len(starts))(*starts)
        batch = Batch(ctypes.sizeof(Batch), ids.data_ptr(), ctypes.addressof(ends), len(starts) - 1)
        if source is not None:
            source_ends = (ctypes.c_size_t * len(source_starts))(*source_starts)
            batch.source_ids, batch.source_starts = source.data_ptr(), ctypes.addressof(source_ends)
        options = Options(ctypes.sizeof(Options), None, out.data_ptr())
        self.check(self.lib.qdisp_model_run(model, ctypes.byref(batch), ctypes.byref(options)))
        self.lib.qdisp_model_free(model)
        return out


def reference(model, ids, starts, source, source_starts):
    with torch.no_grad():
        if source is None:
            return torch.cat([model(x).logits[0] for x in pieces(ids, starts)])
        return torch.cat([model(input_ids=x, labels=t).logits[0] for x, t in
                          zip(pieces(source, source_starts), pieces(ids, starts))])


def compare(library, name):
    config, options = MODELS[name]
    model = load(OUT / name, config, options)
    n_vocab = model.config.vocab_size
    ids, starts = random_ids(LENGTHS, n_vocab, SEED)
    source = source_starts = None
    if options.get("kind") == "seq2seq":
        source, source_starts = ids, starts
        ids, starts = random_ids(TARGET_LENGTHS, n_vocab, SEED + 1)
    theirs = reference(model, ids, starts, source, source_starts)
    with tempfile.TemporaryDirectory() as scratch:
        saved, written = pathlib.Path(scratch) / "transformers", pathlib.Path(scratch) / "qdisp"
        model.save_pretrained(saved)
        stacked = pathlib.Path(scratch) / "stacked"
        model.save_pretrained(stacked, save_original_format=False)
        library.save(OUT / name, written)
        results = [library.logits(folder, ids, starts, n_vocab, source, source_starts)
                   for folder in (OUT / name, saved, stacked, written)]
        results.append(reference(load(written, config, options), ids, starts, source, source_starts))
    worst = [((ours - theirs).abs().amax(1) / theirs.abs().amax(1)).max().item() for ours in results]
    print(f"{name}: logits of {len(theirs)} tokens differ by at most {worst[0]:.0e}; saved by transformers "
          f"{max(worst[1:3]):.0e}; saved by qdisp {worst[3]:.0e}, that in transformers {worst[4]:.0e}")
    return max(worst) <= TOLERANCE


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    library = Library(sys.argv[1])
    good = [compare(library, name) for name in MODELS]
    print(f"transformers {transformers.__version__}: {sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


sys.exit(main())
