"""Golden values of the BLOOM forward pass: small random models, and what transformers makes of them.

    python test/golden/make_bloom.py            writes test/golden/bloom_*/ (config.json, model.safetensors,
                                                golden.safetensors)
    python test/golden/make_bloom.py check DIR SAVED   compares transformers on DIR and on SAVED, which is
                                                what qdisp_model_save wrote for DIR

Made with transformers 5.23.0, torch 2.15.0, safetensors 0.8.0; f32, eager, on a CPU. Weights are drawn wide enough
that attention is far from uniform and the norms' weights and biases matter. golden.safetensors: ids and starts of
sequences of 1, 17 and 33 tokens, logits [n_tokens, n_vocab], nll [n_tokens] (NaN for the first of a sequence), and
hidden_mean [n_layer + 1, n_embd], mean |h| over tokens after the embedding norm and after each block.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
LENGTHS = (1, 17, 33)
# name: heads, head size, layers, vocabulary, dtype, residual after the norm, tied head, names without prefix
MODELS = {
    "bloom_f16": (4, 12, 2, 97, torch.float16, False, True, False),
    "bloom_bf16": (6, 8, 3, 131, torch.bfloat16, True, True, False),
    "bloom_f32": (3, 4, 2, 300, torch.float32, False, False, False),
    "bloom_bare": (6, 4, 2, 113, torch.float16, True, True, True),
}


def make(name, seed):
    n_head, head_dim, n_layer, n_vocab, dtype, post, tied, bare = MODELS[name]
    torch.manual_seed(seed)
    config = BloomConfig(
        vocab_size=n_vocab, hidden_size=n_head * head_dim, n_layer=n_layer, n_head=n_head,
        apply_residual_connection_post_layernorm=post, tie_word_embeddings=tied, bos_token_id=1, eos_token_id=2,
        pad_token_id=3)
    model = BloomForCausalLM(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "layernorm.weight" in key or "ln_f.weight" in key:
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif p.dim() == 1:
                p.copy_(0.1 * torch.randn_like(p))
            elif "word_embeddings" in key or "lm_head" in key:
                p.copy_(0.5 * torch.randn_like(p))
            else:
                p.copy_(1.5 * torch.randn_like(p) / p.shape[1] ** 0.5)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (model.transformer if bare else model).to(dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if bare:  # as old checkpoints: other names for the sizes, no prefix
        config = json.loads((folder / "config.json").read_text())
        for new, old in (("hidden_size", "n_embed"), ("n_head", "num_attention_heads"),
                         ("n_layer", "num_hidden_layers")):
            config[old] = config.pop(new)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def run(model, ids, starts):
    logits, nll, hidden = [], [], 0
    n = model.config.n_layer
    outputs = []
    hooks = [model.transformer.word_embeddings_layernorm.register_forward_hook(lambda m, i, o: outputs.append(o))]
    hooks += [b.register_forward_hook(lambda m, i, o: outputs.append(o[0])) for b in model.transformer.h]
    with torch.no_grad():
        for a, b in zip(starts[:-1], starts[1:]):
            outputs.clear()
            x = ids[a:b].long()[None]
            y = model(x).logits[0]
            logits.append(y)
            p = torch.log_softmax(y.double(), -1)
            nll += [float("nan")] + [-p[i, x[0, i + 1]].item() for i in range(len(y) - 1)]
            hidden = hidden + torch.stack([o[0].abs().double().sum(0) for o in outputs[: n + 1]])
    for h in hooks:
        h.remove()
    return torch.cat(logits), torch.tensor(nll, dtype=torch.float32), (hidden / len(ids)).float()


def main():
    for seed, name in enumerate(MODELS):
        make(name, seed)
        model = load(HERE / name)
        g = torch.Generator().manual_seed(100 + seed)
        ids = torch.randint(0, model.config.vocab_size, (sum(LENGTHS),), generator=g, dtype=torch.int32)
        starts = [0]
        for n in LENGTHS:
            starts.append(starts[-1] + n)
        logits, nll, hidden = run(model, ids, starts)
        save_file({"ids": ids, "starts": torch.tensor(starts), "logits": logits.contiguous(), "nll": nll,
                   "hidden_mean": hidden}, HERE / name / "golden.safetensors")
        print(name, sum(p.numel() for p in model.parameters()), "parameters, nll", nll.nanmean().item(),
              "max |logit|", logits.abs().max().item())


def check(folder, saved):
    golden = load_file(pathlib.Path(folder) / "golden.safetensors")
    a = run(load(folder), golden["ids"], golden["starts"].tolist())
    b = run(load(saved), golden["ids"], golden["starts"].tolist())
    same = torch.equal(a[0], b[0])
    print(saved, "gives the same logits" if same else f"differs by {(a[0] - b[0]).abs().max().item()}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(check(*sys.argv[2:]) if sys.argv[1:2] == ["check"] else main())
