"""qdisp: which languages does a quantization of a multilingual language model hurt, and what to do about it.

    report = qdisp.diagnose("model-folder", None, "text-folder")
    print(report["quantizers"])

Everything is computed by libqdisp; numbers come as numpy arrays, without copies where that is possible.

Threads: Model, Tokenizer, Corpus and Quantizer are immutable, and any number of threads may use one at once; the
library works with the GIL released, on threads of its own (`configure`). Calibration and Table belong to one thread at
a time. The message of an Error belongs to a context: threads that fail at the same moment on one context may see each
other's.

Ctrl-C during long work stops it, and all other long work of the same context, and raises KeyboardInterrupt. This holds
for calls from the main thread, the only one to which Python delivers it.
"""

from . import stats
from ._eval import activations, compare, diagnose, eval_text, gate, losses, losses_with
from ._fertility import fertility
from ._gguf import open_imatrix, plan_overrides, save_imatrix
from ._lib import Context, Error, Status, configure, version
from ._model import Model, ModelInfo, ModelKind, architectures, census, inspect
from ._quant import (Calibration, Quantizer, apply_plan, dequantize_packed, packers, quantize_packed, quantizers,
                     superweights, write_plan)
from ._run import SITES, Activation, Attentions, Hidden, Run
from ._stats import Moments, Shape, bootstrap_ratio, kurtosis, moments, quantiles, shape, spearman
from ._table import Report, Table
from ._text import Corpus, Tokenizer

__version__ = version()

__all__ = [
    "Activation", "Attentions", "Calibration", "Context", "Corpus", "Error", "Hidden", "Model", "ModelInfo",
    "ModelKind", "Moments", "Quantizer", "Report", "Run", "SITES", "Shape", "Status", "Table", "Tokenizer",
    "activations", "apply_plan", "architectures", "bootstrap_ratio", "census", "compare", "configure",
    "dequantize_packed", "diagnose", "eval_text", "fertility", "gate", "inspect", "kurtosis", "losses", "losses_with",
    "moments", "open_imatrix", "packers", "plan_overrides", "quantiles", "quantize_packed", "quantizers",
    "save_imatrix", "shape", "spearman", "stats", "superweights", "version", "write_plan",
]
