"""Writes test/golden/gguf/NAME.gguf: models of test/golden/arch as llama.cpp's own converter writes them.

    python test/golden/make_gguf_models.py LLAMA_CPP [NAME...]

LLAMA_CPP is a folder with llama.cpp's sources; made with the ones that PyPI's llama-cpp-python 0.3.36 carries, with
torch 2.15.0, transformers 5.24.0 and gguf as in that folder. These models have no tokenizer, so the vocabulary that the
converter would write is replaced by one token a row of the embedding; llama_bytes has one that can read text.
"""
import json
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ["llama_linear", "llama_llama3", "llama_yarn", "gpt2", "gpt_neox_serial", "falcon_new", "gemma3",
         "phi3_longrope", "mixtral", "qwen3_moe", "t5", "bloom_f16"]


def no_vocab(writer, n_vocab):
    writer.add_tokenizer_model("none")
    writer.add_token_list([f"t{i}" for i in range(n_vocab)])


def byte_vocab(writer, n_vocab, add_bos=True):
    """SentencePiece's kind: a token a byte, behind <unk>, <s>, </s>; n_vocab >= 260."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += ["<|endoftext|>"]  # which llama.cpp wants of Phi-3
    tokens += [f"[PAD{i}]" for i in range(n_vocab - len(tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * n_vocab)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [3] + [5] * (n_vocab - 260))
    writer.add_add_bos_token(add_bos)
    writer.add_unk_token_id(0)


def draw_folder(folder, config, options):
    """A random model, as test/golden/arch has them."""
    import make_archs
    import torch
    import transformers
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    model = make_archs.model_class(config)(transformers.AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        make_archs.draw(model, config)
    make_archs.save(folder, model, config, {k: v for k, v in options.items() if k != "as_saved"})


def load_converter(sources):
    """llama.cpp's converter and its gguf package, from its sources."""
    sys.path[:0] = [str(sources), str(pathlib.Path(sources) / "gguf-py")]
    import gguf
    from conversion import get_model_class
    return gguf, get_model_class


def convert(converter, folder, out, vocab=no_vocab, file_type="GUESSED"):
    gguf, get_model_class = converter
    config = json.loads((folder / "config.json").read_text())
    kind = get_model_class(config["architectures"][0], mmproj=False)

    def set_vocab(self):
        vocab(self.gguf_writer, config["vocab_size"])
        for key in ("bos", "eos"):
            if config.get(f"{key}_token_id") is not None:
                getattr(self.gguf_writer, f"add_{key}_token_id")(config[f"{key}_token_id"])

    def filter_tensors(cls, item):  # buffers of old checkpoints have no place there
        return None if item[0].endswith((".attn.bias", ".attention.bias")) else kind.filter_tensors(item)

    with tempfile.TemporaryDirectory() as copy:
        copy = pathlib.Path(copy) / folder.name
        shutil.copytree(folder, copy)
        tokens = {f"t{i}": i for i in range(config["vocab_size"])}
        (copy / "tokenizer.json").write_text(json.dumps({"model": {"vocab": tokens}, "added_tokens": []}))
        model = type(kind.__name__, (kind,), {"set_vocab": set_vocab, "model_arch": kind.model_arch,
                                              "filter_tensors": classmethod(filter_tensors)})
        model(copy, gguf.LlamaFileType[file_type], out, hparams=config, model_name=folder.name).write()


def make_llama_bytes(converter):
    """With a vocabulary: a token a byte, and nothing in front of a text, though the model has a bos."""
    import make_archs
    config, options = make_archs.MODELS["llama_linear"]
    config = {**config, "vocab_size": 260, "bos_token_id": 1, "eos_token_id": 2, "num_hidden_layers": 1,
              "attention_bias": False, "mlp_bias": False}

    def vocab(writer, n_vocab):
        byte_vocab(writer, n_vocab, add_bos=False)

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder) / "llama_bytes"
        draw_folder(folder, config, options)
        convert(converter, folder, HERE / "gguf" / "llama_bytes.gguf", vocab)


def main():
    converter = load_converter(sys.argv[1])
    for name in sys.argv[2:] or [*NAMES, "llama_bytes"]:
        if name == "llama_bytes":
            make_llama_bytes(converter)
            continue
        folder, out = HERE / "arch" / name, HERE / "gguf" / f"{name}.gguf"
        convert(converter, folder if folder.exists() else HERE / name, out)
        print(name, out.stat().st_size)


if __name__ == "__main__":
    main()
