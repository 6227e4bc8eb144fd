"""Makes test/golden/torch: checkpoints by torch.save, and what torch reads from them; and bloom_f32 once more as a
folder whose matrices are transposed views.

    python test/golden/make_torch.py

Made with torch 2.15.0 and safetensors. values.safetensors holds every float tensor of views.bin as contiguous f32.
"""
import collections
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file

OUT = pathlib.Path(__file__).resolve().parent / "torch"


def main():
    torch.manual_seed(5)
    w = torch.randn(7, 12)
    shared = torch.randn(40).half()
    state = collections.OrderedDict(
        plain=w, transposed=torch.randn(70, 9).t(), half_transposed=torch.randn(5, 70).half().t(),
        parameter=torch.nn.Parameter(torch.randn(3, 4).bfloat16()), bf16_columns=torch.randn(6, 10).bfloat16()[:, 1::3],
        first=shared[:20].view(4, 5), second=shared[10:].view(5, 6), rows=w[1::2], square=w[2:6, 3:7],
        permuted=torch.randn(3, 4, 5).permute(2, 0, 1), batch_transposed=torch.randn(3, 66, 4).transpose(1, 2),
        four=torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2), scalar=torch.tensor(2.5), empty=torch.empty(0, 4),
        ones=torch.randn(1, 9, 1).transpose(0, 2), e4m3=torch.randn(3, 5).to(torch.float8_e4m3fn),
        e5m2=torch.randn(4, 4).to(torch.float8_e5m2), wide=torch.randn(2, 3).double(), index=torch.arange(5),
        small=torch.arange(6, dtype=torch.int8), mask=torch.tensor([True, False]),
        u16=torch.arange(4).to(torch.uint16), five=torch.randn(2, 1, 2, 1, 3))
    state._metadata = {"": {"version": 1}}
    torch.save(state, OUT / "views.bin")
    floats = {n: t.detach().float().contiguous().clone() for n, t in state.items()
              if t.is_floating_point() and t.dtype != torch.float64 and t.dim() < 5}
    save_file(floats, OUT / "values.safetensors")
    torch.save({"epoch": 3, "lr": 1e-3, "seed": 1 << 80, "shape": w.shape, "dtype": torch.bfloat16, "names": ["a", "b"],
                "model": {"encoder": {"weight": w[:2, :3].clone()}, "bias": torch.ones(2)},
                "optimizer": {"state": {0: {"exp_avg": w[:2, :2].clone()}}}}, OUT / "nested.bin", pickle_protocol=4)
    torch.save({"weight": torch.ones(2)}, OUT / "legacy.bin", _use_new_zipfile_serialization=False)
    bloom = OUT.parent / "bloom_f32"
    (OUT / "bloom").mkdir(exist_ok=True)
    shutil.copy(bloom / "config.json", OUT / "bloom" / "config.json")
    loaded = load_file(bloom / "model.safetensors")
    weights = {n: t.t().contiguous().t() if t.dim() == 2 else t for n, t in loaded.items()}
    torch.save(weights, OUT / "bloom" / "pytorch_model.bin")


main()
