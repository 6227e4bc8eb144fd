"""Golden values of the embedded model: what transformers makes of examples/data.

    python test/golden/make_embedded.py         writes test/golden/embedded_nll.csv

Run it again whenever examples/data/model or the first lines of examples/data/text change. For the first 8 lines of
every language: ids = [bos] + encode(line), the number of ids, and the negative log-likelihood of the line in nats (the
sum over all ids but the first). Made with transformers 5.23.0, torch 2.15.0, tokenizers 0.23.3; f32, eager, on a CPU.
"""
import pathlib

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
N_LINES = 8


def main():
    folder = ROOT / "examples" / "data" / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    rows = ["language,line,n_ids,nll_nats"]
    for path in sorted((ROOT / "examples" / "data" / "text").glob("*.txt")):
        for i, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:N_LINES]):
            ids = [model.config.bos_token_id] + tokenizer.encode(line, add_special_tokens=False).ids
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].double()
            p = torch.log_softmax(logits, -1)
            nll = -sum(p[k, ids[k + 1]].item() for k in range(len(ids) - 1))
            rows.append(f"{path.stem},{i},{len(ids)},{nll:.9g}")
    (ROOT / "test" / "golden" / "embedded_nll.csv").write_text("\n".join(rows) + "\n")
    print(len(rows) - 1, "rows")


if __name__ == "__main__":
    main()
