"""Golden values of every architecture: small random models, and what transformers makes of them.

    python test/golden/make_archs.py [NAME...]     writes test/golden/arch/NAME/{config.json, model.safetensors,
                                                   golden.safetensors}; all of them without names

Made with transformers 5.24.0, torch 2.15.0, safetensors 0.8.0; f32, eager, on a CPU (the versions also stand in the
metadata of every golden.safetensors). config.json and tensor names are those that published checkpoints have, with
their quirks (buffers kept as tensors, gamma and beta, experts one by one). Weights are drawn wide enough that attention
is far from uniform, norms and biases are random too, and all are values that the file's type holds exactly.

golden.safetensors
    ids, starts                the sequences, of LENGTHS tokens, one after another; starts has one more entry
    target_ids, target_starts  encoder-decoder: what the decoder must say for each; it is given them shifted right
    logits [n, n_vocab]        of every token (encoder-decoder: of every target token)
    nll [n]                    decoder: of the token given those before it, NaN for the first of a sequence; masked
                               models: of the token with mask_id in its place; encoder-decoder: of the target token
    hidden [n_layer + 1, 18, n_embd]   residual stream of the first two sequences: into the first block, out of each
    hidden_signs [n_layer + 1, n, 2]   of all tokens: sum_j s_k(j) h_j for k = 0, 1
    final_signs [n, 2]         the same of the model's last hidden state (after the last norm or projection)
    attention [n_layer, n_head, 17, 17]   probabilities of the second sequence
    attention_signs [n_layer, n_head, n, 2]   of all query tokens: sum_j s_k(j) p_j over the keys j of the sequence
    decoder_* and cross_*      the same of an encoder-decoder's other half ("hidden", "attention" are the encoder's);
                               cross_attention [n_layer, n_head, n_target of the second pair, 17]
    mask_id                    masked models
    grad.NAME [n_in + 2 n_out + 1]   of L, the sum of the NLL of sequences 1 and 2 (17 and 33 tokens; masked models: of
                               tokens i % 3 == 1 of each sequence, all of these replaced by mask_id at once), for linear
                               map NAME with y = W x, W [n_out, n_in]: sum_i s_0(i) dL/dW_ij; sum_j dL/dW_ij s_1(j);
                               the sum over tokens of (dL/dy_i)^2; the Frobenius norm of dL/dW. NAME is the weight's in
                               model.safetensors, or "head" where that is the embedding (then dL/dW is the head's part
                               alone).

s_k(j) = 1 - 2 * bit, bit the top bit of splitmix64's output for state (k << 32) + j, that is of mix((k << 32) + j +
0x9e3779b97f4a7c15)."""
import json
import math
import pathlib
import shutil
import sys

import safetensors
import torch
import transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent / "arch"
LENGTHS = (1, 17, 33, 41)
TARGET_LENGTHS = (5, 13, 21, 1)
GRAD_SEQUENCES = (1, 2)
FIRST_ID = 4  # ids below are special in some models (padding does not count as a position)
VERSIONS = {"versions": f"transformers {transformers.__version__}, torch {torch.__version__}, safetensors "
                        f"{safetensors.__version__}"}


# The models. A row: config.json as published checkpoints write it, and options of save().
def gpt2(**more):
    return {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
            "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "layer_norm_epsilon": 1e-5, "n_ctx": 64,
            "n_embd": 48, "n_head": 4, "n_layer": 2, "n_positions": 64, "vocab_size": 61, "bos_token_id": 0,
            "eos_token_id": 0, **more}


def opt(**more):
    return {"architectures": ["OPTForCausalLM"], "model_type": "opt", "activation_function": "relu", "ffn_dim": 90,
            "hidden_size": 48, "max_position_embeddings": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
            "vocab_size": 61, "word_embed_proj_dim": 48, "do_layer_norm_before": True, "dropout": 0.1,
            "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1, **more}


def gpt_neox(**more):
    return {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 48,
            "intermediate_size": 90, "layer_norm_eps": 1e-5, "max_position_embeddings": 64, "num_attention_heads": 3,
            "num_hidden_layers": 2, "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False,
            "use_parallel_residual": True, "vocab_size": 61, "bos_token_id": 0, "eos_token_id": 0, **more}


def xglm(**more):
    return {"architectures": ["XGLMForCausalLM"], "model_type": "xglm", "activation_function": "gelu",
            "attention_heads": 4, "d_model": 48, "ffn_dim": 90, "num_layers": 2, "scale_embedding": True,
            "max_position_embeddings": 64, "vocab_size": 61, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
            "decoder_start_token_id": 2, "dropout": 0.1, **more}


def encoder(model_type, name, **more):
    return {"architectures": [name], "model_type": model_type, "hidden_act": "gelu", "hidden_size": 48,
            "intermediate_size": 90, "max_position_embeddings": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
            "vocab_size": 61, **more}


def t5(model_type, name, **more):
    return {"architectures": [name], "model_type": model_type, "d_ff": 90, "d_kv": 12, "d_model": 48,
            "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "is_encoder_decoder": True,
            "layer_norm_epsilon": 1e-6, "num_heads": 4, "num_layers": 2, "relative_attention_num_buckets": 8,
            "vocab_size": 61, **more}


def llama(model_type="llama", name="LlamaForCausalLM", **more):
    return {"architectures": [name], "model_type": model_type, "hidden_act": "silu", "hidden_size": 48,
            "intermediate_size": 90, "max_position_embeddings": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
            "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "vocab_size": 61, "bos_token_id": 1,
            "eos_token_id": 2, "tie_word_embeddings": False, **more}


def gemma(model_type, name, **more):
    return llama(model_type, name, **{"head_dim": 12, "num_key_value_heads": 1, "hidden_size": 40,
                                      "hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh",
                                      "rms_norm_eps": 1e-6, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
                                      "tie_word_embeddings": True, **more})


def falcon(**more):
    return {"architectures": ["FalconForCausalLM"], "model_type": "falcon", "alibi": False, "bias": False,
            "hidden_size": 32, "layer_norm_epsilon": 1e-5, "multi_query": True, "new_decoder_architecture": False,
            "num_attention_heads": 4, "num_hidden_layers": 2, "parallel_attn": True, "vocab_size": 61,
            "bos_token_id": 1, "eos_token_id": 1, **more}


def bloom(**more):
    return {"architectures": ["BloomForCausalLM"], "model_type": "bloom", "hidden_size": 24, "n_head": 6, "n_layer": 2,
            "apply_residual_connection_post_layernorm": False, "layer_norm_epsilon": 1e-5, "vocab_size": 61,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3, **more}


SMALL = {"hidden_size": 24, "head_dim": 12, "intermediate_size": 45}  # heads wider than the hidden size / n_head
MODELS = {
    "gpt2": (gpt2(n_inner=90), {}),
    # as gpt2 itself: names without prefix, the causal mask among the tensors
    "gpt2_bare": (gpt2(scale_attn_by_inverse_layer_idx=True, n_embd=24, n_layer=3, vocab_size=53),
                  {"drop": "transformer.", "masks": "h.{}.attn.bias"}),
    # a tied head that is stored none the less
    "opt": (opt(), {"copies": {"lm_head.weight": "model.decoder.embed_tokens.weight"}}),
    "opt_post": (opt(do_layer_norm_before=False, word_embed_proj_dim=20), {"drop": "model."}),
    "gpt_neox": (gpt_neox(), {"masks": "gpt_neox.layers.{}.attention.bias",
                              "rename": (("lm_head.weight", "embed_out.weight"),)}),
    "gpt_neox_serial": (gpt_neox(use_parallel_residual=False, rotary_pct=0.5, hidden_size=24, num_attention_heads=2),
                        {}),
    "xglm": (xglm(), {}),
    "xlm_roberta": (encoder("xlm-roberta", "XLMRobertaForMaskedLM", layer_norm_eps=1e-5, type_vocab_size=1,
                            pad_token_id=1, bos_token_id=0, eos_token_id=2),
                    {"kind": "masked", "copies": {"lm_head.decoder.bias": "lm_head.bias"},
                     "rename": (("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"),)}),
    # as bert itself: gamma and beta, the pooler and the head of the next sentence
    "bert": (encoder("bert", "BertForMaskedLM", layer_norm_eps=1e-12, type_vocab_size=2, pad_token_id=0),
             {"kind": "masked", "rename": (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias",
                                                                                     "LayerNorm.beta")),
              "extra": {"bert.pooler.dense.weight": (48, 48), "bert.pooler.dense.bias": (48,),
                        "cls.seq_relationship.weight": (2, 48), "cls.seq_relationship.bias": (2,)}}),
    "t5": (t5("t5", "T5ForConditionalGeneration", feed_forward_proj="relu", num_decoder_layers=1,
              relative_attention_max_distance=20, d_model=32),
           {"kind": "seq2seq",  # a table that no block uses, as t5 itself
            "extra": {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": (8, 4)}}),
    "mt5": (t5("mt5", "MT5ForConditionalGeneration", feed_forward_proj="gated-gelu", tie_word_embeddings=False,
               relative_attention_max_distance=20, d_model=24, d_ff=45),
            {"kind": "seq2seq", "untied": True, "copies": {"encoder.embed_tokens.weight": "shared.weight",
                                           "decoder.embed_tokens.weight": "shared.weight"}}),
    "llama": (llama(), {}),
    "llama_linear": (llama(**SMALL, attention_bias=True, mlp_bias=True, rope_scaling={"type": "linear",
                                                                                       "factor": 2.5}),
                     {"extra": {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": (6,) for i in range(2)}}),
    "llama_dynamic": (llama(**SMALL, tie_word_embeddings=True, max_position_embeddings=24,
                            rope_scaling={"type": "dynamic", "factor": 3.0}), {}),
    "llama_yarn": (llama(**SMALL, rope_theta=100.0, rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, "beta_slow": 0.1,
        "original_max_position_embeddings": 24}), {}),
    "llama_llama3": (llama(**SMALL, tie_word_embeddings=True, rope_theta=5000.0, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}), {"as_saved": True}),
    "mistral": (llama("mistral", "MistralForCausalLM", sliding_window=9), {}),
    "qwen2": (llama("qwen2", "Qwen2ForCausalLM", tie_word_embeddings=True, sliding_window=8, max_window_layers=1,
                    use_sliding_window=False, rope_theta=1000000.0), {}),
    "qwen2_window": (llama("qwen2", "Qwen2ForCausalLM", hidden_size=24, intermediate_size=45, num_hidden_layers=3,
                           num_key_value_heads=1, sliding_window=9, max_window_layers=1, use_sliding_window=True), {}),
    "qwen3": (llama("qwen3", "Qwen3ForCausalLM", hidden_size=40, head_dim=12, tie_word_embeddings=True,
                    attention_bias=False, sliding_window=None, max_window_layers=2, use_sliding_window=False), {}),
    "gemma": (gemma("gemma", "GemmaForCausalLM"), {}),
    "gemma2": (gemma("gemma2", "Gemma2ForCausalLM", num_key_value_heads=2, attn_logit_softcapping=3.0,
                     final_logit_softcapping=4.0, query_pre_attn_scalar=20, sliding_window=9), {}),
    "gemma3": (gemma("gemma3_text", "Gemma3ForCausalLM", hidden_size=24, intermediate_size=45, num_hidden_layers=3,
                     num_key_value_heads=2, query_pre_attn_scalar=20, sliding_window=9, sliding_window_pattern=3,
                     rope_theta=1000000.0, rope_local_base_freq=10000.0,
                     rope_scaling={"factor": 8.0, "rope_type": "linear"}), {}),
    "gemma3_saved": (gemma("gemma3_text", "Gemma3ForCausalLM", hidden_size=24, intermediate_size=45,
                           num_key_value_heads=2, query_pre_attn_scalar=12, sliding_window=9, sliding_window_pattern=2,
                           rope_theta=500000.0),
                     {"as_saved": True}),
    "phi3": (llama("phi3", "Phi3ForCausalLM", sliding_window=9, pad_token_id=0, rope_scaling=None,
                   original_max_position_embeddings=64), {}),
    "phi3_longrope": (llama("phi3", "Phi3ForCausalLM", hidden_size=32, intermediate_size=45, sliding_window=None,
                            pad_token_id=0, tie_word_embeddings=True, partial_rotary_factor=0.75,
                            original_max_position_embeddings=24, rope_scaling={
                                "type": "longrope", "short_factor": [1.0, 1.25, 1.5],
                                "long_factor": [1.5, 2.75, 6.0]}), {}),
    "falcon": (falcon(hidden_size=48), {}),
    "falcon_new": (falcon(new_decoder_architecture=True, num_kv_heads=2), {}),
    "falcon_rw": (falcon(alibi=True, bias=True, multi_query=False, parallel_attn=False, num_attention_heads=6,
                         hidden_size=24), {}),
    "mixtral": (llama("mixtral", "MixtralForCausalLM", hidden_size=24, intermediate_size=30, num_local_experts=4,
                      num_experts_per_tok=2, sliding_window=None, output_router_logits=False),
                {"experts": ("mlp.", "block_sparse_moe.", "w1", "w3", "w2")}),
    "qwen3_moe": (llama("qwen3_moe", "Qwen3MoeForCausalLM", **SMALL, moe_intermediate_size=20, num_experts=5,
                        num_experts_per_tok=2, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[],
                        output_router_logits=False, sliding_window=None, max_window_layers=2, use_sliding_window=False),
                  {"experts": ("mlp.", "mlp.", "gate_proj", "up_proj", "down_proj")}),
    "qwen3_moe_dense": (llama("qwen3_moe", "Qwen3MoeForCausalLM", **SMALL, moe_intermediate_size=20, num_experts=5,
                              num_experts_per_tok=3, norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[0],
                              output_router_logits=False, sliding_window=None, max_window_layers=2,
                              use_sliding_window=False),
                        {"experts": ("mlp.", "mlp.", "gate_proj", "up_proj", "down_proj")}),
    "bloom": (bloom(), {}),
    "bloom_normed": (bloom(apply_residual_connection_post_layernorm=True, n_head=4), {"drop": "transformer."}),
}


def signs(k, n):
    def sign(j):
        m = 2 ** 64 - 1
        z = ((k << 32) + j + 0x9e3779b97f4a7c15) & m
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & m
        z = (z ^ z >> 27) * 0x94d049bb133111eb & m
        return 1.0 - 2.0 * ((z ^ z >> 31) >> 63)
    return torch.tensor([sign(j) for j in range(n)], dtype=torch.float64)


def on_signs(x):
    """[..., n] to [..., 2]"""
    return (x.double() @ torch.stack([signs(0, x.shape[-1]), signs(1, x.shape[-1])], 1)).float()


def draw(model, config):
    """Random values for every parameter, held exactly by bf16."""
    centred = config["model_type"].startswith("gemma")  # its norms multiply by 1 + weight
    for name, p in model.named_parameters():
        r = torch.randn_like(p)
        if p.dim() == 1 and name.endswith("weight"):
            r = 0.2 * r + (0 if centred else 1)
        elif p.dim() == 1:
            r = 0.2 * r
        elif "relative_attention_bias" in name:
            r = 0.7 * r
        elif "embed_tokens" in name and centred or "embed" in name and config.get("scale_embedding"):
            r = 0.1 * r
        elif "embed" in name or "wte" in name or "wpe" in name or "lm_head" in name or "shared" in name:
            r = 0.5 * r
        elif "SelfAttention.q." in name or "EncDecAttention.q." in name:  # scores of these are not scaled
            r = 1.5 * r / (p.shape[1] * config["d_kv"]) ** 0.5
        else:
            n_in = p.shape[0] if "c_" in name and config["model_type"] == "gpt2" else p.shape[-1]
            r = 1.4 * r / n_in ** 0.5
        p.copy_(r.bfloat16().float())


class Names:
    """Names of the published files for a model's parameters: name -> (tensor, a view for experts; is it [in, out])."""

    def __init__(self, model, config, options):
        self.tensors = {}
        for name, p in model.named_parameters():  # tied ones once
            for old, new in options.get("rename", ()):
                name = name.replace(old, new)
            if name.startswith(options.get("drop", "-")):
                name = name[len(options["drop"]):]
            if "experts" in options:
                here, there, gate, up, down = options["experts"]
                if ".experts." in name:
                    stem, what = name.replace(here + "experts", there + "experts").rsplit(".", 1)
                    for e in range(p.shape[0]):
                        half = p.shape[1] // 2
                        parts = {gate: p[e, :half], up: p[e, half:]} if what == "gate_up_proj" else {down: p[e]}
                        for part, tensor in parts.items():
                            self.tensors[f"{stem}.{e}.{part}.weight"] = (tensor, False)
                    continue
                name = name.replace(here + "gate.weight", there + "gate.weight")
            self.tensors[name] = (p, config["model_type"] == "gpt2" and ".c_" in name and p.dim() == 2)


def save(folder, model, config, options):
    tensors = {name: p.detach().bfloat16().contiguous() for name, (p, _) in
               Names(model, config, options).tensors.items()}
    for name, shape in options.get("extra", {}).items():
        tensors[name] = torch.randn(shape).bfloat16()
    for name, source in options.get("copies", {}).items():
        tensors[name] = tensors[source].clone()
    if "masks" in options:
        for i in range(len(blocks(model)[0])):
            tensors[options["masks"].format(i)] = torch.ones(1, 1, 16, 16, dtype=torch.uint8).tril()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if options.get("as_saved"):  # the keys of transformers 5
        model.config.save_pretrained(folder)


def model_class(config):
    return getattr(transformers, config["architectures"][0])


def load(folder, config, options):
    """The model of the folder, and what it must be."""
    model = model_class(config).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    if "experts" in options:
        model.set_experts_implementation("eager")
    if config.get("alibi"):
        add_alibi_once(model, folder)
    return model


def add_alibi_once(model, folder):
    """transformers 5.24 puts Falcon's ALiBi into the mask, and its eager attention adds it again; "sdpa" does not."""
    def hook(module, args, kwargs):
        return args, {**kwargs, "alibi": torch.zeros_like(kwargs["alibi"])}
    for block in model.transformer.h:
        block.self_attention.register_forward_pre_hook(hook, with_kwargs=True)
    ids = torch.arange(5, 25)[None]
    wanted = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()(ids).logits
    assert (model(ids).logits - wanted).abs().max() < 1e-4


def blocks(model):
    """The blocks: one list, or encoder's and decoder's."""
    if hasattr(model, "decoder"):
        return [model.encoder.block, model.decoder.block]
    base = model.base_model
    base = getattr(base, "decoder", getattr(base, "encoder", base))
    for name in ("layers", "layer", "h"):
        if hasattr(base, name):
            return [getattr(base, name)]
    raise ValueError("no blocks")


class Streams:
    """Records what goes into the first block and comes out of each."""

    def __init__(self, model):
        self.streams = [[] for _ in blocks(model)]
        for stream, layers in zip(self.streams, blocks(model)):
            layers[0].register_forward_pre_hook(
                lambda m, args, kwargs, s=stream: s.append(args[0] if args else kwargs["hidden_states"]),
                with_kwargs=True)
            for layer in layers:
                layer.register_forward_hook(lambda m, i, o, s=stream: s.append(o[0] if isinstance(o, tuple) else o))

    def take(self):
        out = [torch.stack([h[0] for h in s]) for s in self.streams]
        for s in self.streams:
            s.clear()
        return out


def pieces(ids, starts):
    return [ids[a:b].long()[None] for a, b in zip(starts[:-1], starts[1:])]


def summed_nll(logits, wanted):
    return torch.nn.functional.cross_entropy(logits, wanted, reduction="none")


def put(out, stem, streams, attentions):
    """streams, attentions: of every sequence."""
    out[stem[0] + "hidden"] = torch.cat([s for s in streams[:2]], 1)
    out[stem[0] + "hidden_signs"] = torch.cat([on_signs(s) for s in streams], 1)
    put_attention(out, stem[1], attentions)


def put_attention(out, stem, attentions):
    out[stem + "attention"] = attentions[1]
    out[stem + "attention_signs"] = torch.cat([on_signs(a) for a in attentions], 2)


def forward_decoder(model, ids, starts, out):
    """Decoders and masked models: everything but their nll."""
    streams, taken, attentions, logits, final = Streams(model), [], [], [], []
    for x in pieces(ids, starts):
        y = model(x, output_attentions=True, use_cache=False) if "mask_id" not in out else model(
            x, output_attentions=True)
        taken += [s for s in streams.take()]
        attentions.append(torch.stack([a[0] for a in y.attentions]))
        logits.append(y.logits[0])
        last = model.base_model(x)[0][0]
        streams.take()
        final.append(on_signs(last))
    put(out, ("", ""), taken, attentions)
    out["logits"], out["final_signs"] = torch.cat(logits), torch.cat(final)
    return logits


def decoder_nll(model, ids, starts, out, logits):
    nll = [torch.cat([torch.tensor([math.nan]), summed_nll(y[:-1], x[0, 1:])]) for x, y in
           zip(pieces(ids, starts), logits)]
    out["nll"] = torch.cat(nll)


def masked_nll(model, ids, starts, out):
    nll, mask = [], out["mask_id"].item()
    for x in pieces(ids, starts):
        for i in range(x.shape[1]):
            z = x.clone()
            z[0, i] = mask
            nll.append(summed_nll(model(z).logits[0, i:i + 1], x[0, i:i + 1]))
    out["nll"] = torch.cat(nll)


def forward_seq2seq(model, ids, starts, targets, target_starts, out):
    streams, encoders, decoders, attentions = Streams(model), [], [], ([], [], [])
    logits, nll, final, last = [], [], [], []
    for x, t in zip(pieces(ids, starts), pieces(targets, target_starts)):
        y = model(input_ids=x, labels=t, output_attentions=True, output_hidden_states=True, use_cache=False)
        e, d = streams.take()
        encoders.append(e)
        decoders.append(d)
        for list_, a in zip(attentions, (y.encoder_attentions, y.decoder_attentions, y.cross_attentions)):
            list_.append(torch.stack([p[0] for p in a]))
        logits.append(y.logits[0])
        nll.append(summed_nll(y.logits[0], t[0]))
        final.append(on_signs(y.encoder_last_hidden_state[0]))
        last.append(on_signs(y.decoder_hidden_states[-1][0]))
    put(out, ("", ""), encoders, attentions[0])
    put(out, ("decoder_", "decoder_"), decoders, attentions[1])
    put_attention(out, "cross_", attentions[2])
    out["logits"], out["nll"] = torch.cat(logits), torch.cat(nll)
    out["final_signs"], out["decoder_final_signs"] = torch.cat(final), torch.cat(last)


class Linears:
    """Records dL/dy and x of every linear map, whichever way the model computes it, as sums over tokens."""

    def __init__(self, model):
        self.maps = {}  # data pointer, rows -> [weight, dL/dW, sum of squares of dL/dy]
        self.linear, self.addmm = torch.nn.functional.linear, torch.addmm
        for m in model.modules():
            if type(m).__name__ == "FalconLinear":  # computes by @
                m.register_forward_hook(lambda m, args, y: self.watch(args[0], m.weight, y))

    def watch(self, x, weight, y):
        key = weight.data_ptr(), weight.shape[0]
        entry = self.maps.setdefault(key, [weight, 0, 0])
        x = x.detach().reshape(-1, x.shape[-1])

        def hook(g):
            g = g.reshape(-1, g.shape[-1])
            entry[1] = entry[1] + g.T.double() @ x.double()
            entry[2] = entry[2] + (g.double() ** 2).sum(0)
        y.register_hook(hook)
        return y

    def __enter__(self):
        torch.nn.functional.linear = lambda x, w, b=None: self.watch(x, w, self.linear(x, w, b))
        # of gpt2's Conv1D, whose weight is [in, out]
        torch.addmm = lambda b, x, w: self.watch(x, w.T, self.addmm(b, x, w))
        return self

    def __exit__(self, *_):
        torch.nn.functional.linear, torch.addmm = self.linear, self.addmm

    def find(self, p, transposed):
        """dL/dW [out, in] and the sum of squares of a weight that may be some rows of a larger one; or None."""
        n_out = p.shape[1] if transposed else p.shape[0]
        for (pointer, n_rows), (weight, dw, squares) in self.maps.items():
            at = p.data_ptr() - pointer
            row = at // (weight.shape[1] * 4)
            if weight.shape[1] == p.shape[-1 - transposed] and (0 <= row and row + n_out <= n_rows):
                if at == row * weight.shape[1] * 4 or at == 0:
                    return dw[row:row + n_out], squares[row:row + n_out]
        return None


def gradients(model, config, options, ids, starts, targets, target_starts, out):
    model.zero_grad()
    with Linears(model) as linears:
        for i in GRAD_SEQUENCES:
            x = pieces(ids, starts)[i]
            if targets is not None:
                t = pieces(targets, target_starts)[i]
                loss = summed_nll(model(input_ids=x, labels=t, use_cache=False).logits[0], t[0]).sum()
            elif "mask_id" in out:
                here = torch.arange(x.shape[1]) % 3 == 1
                z = torch.where(here, out["mask_id"].long(), x)
                loss = summed_nll(model(z).logits[0], x[0])[here].sum()
            else:
                loss = summed_nll(model(x, use_cache=False).logits[0, :-1], x[0, 1:]).sum()
            loss.backward()
    head = model.get_output_embeddings()
    head = None if head is None else head.weight
    n_found = 0
    for name, (p, transposed) in Names(model, config, options).tensors.items():
        if p.dim() != 2:
            continue
        found = linears.find(p, transposed)
        if found is None:
            assert any(word in name for word in ("embed", "wte", "wpe", "relative_attention", "shared")), name
            continue
        n_found += 1
        dw, squares = found
        tied = head is not None and p.data_ptr() == head.data_ptr() and p is model.get_input_embeddings().weight
        if p.is_leaf and not tied:  # what torch says itself
            own = (p.grad.T if transposed else p.grad).double()
            assert (own - dw).abs().max() <= 1e-5 * dw.abs().max(), name
        n_out, n_in = dw.shape
        out["grad." + ("head" if tied else name)] = torch.cat(
            [signs(0, n_out) @ dw, dw @ signs(1, n_in), squares, dw.norm()[None]]).float()
    assert n_found == sum(w.dim() == 2 for w, _, _ in linears.maps.values()) + (
        sum(".experts" in n and ("w3" in n or "up_proj" in n) for n in Names(model, config, options).tensors)), n_found


def check_routing(model, ids, starts):
    """The choice of experts must not hang on rounding."""
    for x in pieces(ids, starts):
        for logits in model(x, output_router_logits=True).router_logits:
            top = logits.softmax(-1).sort(-1, descending=True).values
            k = model.config.num_experts_per_tok
            assert (top[:, k - 1] - top[:, k]).min() > 1e-4, "another seed"


def random_ids(lengths, n_vocab, seed):
    g = torch.Generator().manual_seed(seed)
    starts = [0]
    for n in lengths:
        starts.append(starts[-1] + n)
    return torch.randint(FIRST_ID, n_vocab, (starts[-1],), generator=g, dtype=torch.int32), starts


def make(name, seed):
    config, options = MODELS[name]
    folder, kind = OUT / name, options.get("kind", "decoder")
    torch.manual_seed(seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    made = model_class(config)(transformers.AutoConfig.from_pretrained(folder))
    if "untied" in options:  # transformers ties those of mt5 until the file tells otherwise
        made.lm_head.weight = torch.nn.Parameter(torch.empty_like(made.lm_head.weight))
    with torch.no_grad():
        draw(made, config)
    save(folder, made, config, options)
    model = load(folder, config, options)
    own = dict(made.named_parameters())
    for key, p in model.named_parameters():
        assert torch.equal(p, own[key]), f"{key} is not what was saved"

    n_vocab = model.config.vocab_size
    ids, starts = random_ids(LENGTHS, n_vocab - (kind == "masked"), 1000 + seed)
    out = {"ids": ids, "starts": torch.tensor(starts, dtype=torch.int32)}
    targets = target_starts = None
    with torch.no_grad():
        if kind == "seq2seq":
            targets, target_starts = random_ids(TARGET_LENGTHS, n_vocab, 2000 + seed)
            out |= {"target_ids": targets, "target_starts": torch.tensor(target_starts, dtype=torch.int32)}
            forward_seq2seq(model, ids, starts, targets, target_starts, out)
        else:
            if kind == "masked":
                out["mask_id"] = torch.tensor([n_vocab - 1], dtype=torch.int32)
            logits = forward_decoder(model, ids, starts, out)
            if kind == "masked":
                masked_nll(model, ids, starts, out)
            else:
                decoder_nll(model, ids, starts, out, logits)
        if "experts" in options:
            check_routing(model, ids, starts)
    gradients(load(folder, config, options), config, options, ids, starts, targets, target_starts, out)
    save_file({k: v.detach().contiguous() for k, v in out.items()}, folder / "golden.safetensors", VERSIONS)
    size = sum(f.stat().st_size for f in folder.iterdir())
    peak = out["attention"].max(-1).values.mean().item()
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, {size >> 10} KiB, nll "
          f"{out['nll'].nanmean().item():.3f}, max |logit| {out['logits'].abs().max().item():.3g}, mean largest "
          f"attention {peak:.2f}, {sum(k.startswith('grad.') for k in out)} linear maps", flush=True)
    return size


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    total = 0
    for seed, name in enumerate(MODELS):
        if not sys.argv[1:] or name in sys.argv[1:]:
            total += make(name, seed)
    print(total >> 10, "KiB")


if __name__ == "__main__":
    sys.exit(main())
