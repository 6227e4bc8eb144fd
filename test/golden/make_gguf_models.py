"""Writes test/golden/gguf/NAME.gguf: models of test/golden/arch as llama.cpp's own converter writes them.

    python test/golden/make_gguf_models.py LLAMA_CPP [NAME...]

LLAMA_CPP is a folder with llama.cpp's sources; made with the ones that PyPI's llama-cpp-python 0.3.36 carries, with
torch 2.15.0, transformers 5.24.0 and gguf as in that folder. These models have no tokenizer, so the vocabulary that the
converter would write is replaced by one token a row of the embedding.
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


def main():
    converter = load_converter(sys.argv[1])
    for name in sys.argv[2:] or NAMES:
        folder, out = HERE / "arch" / name, HERE / "gguf" / f"{name}.gguf"
        convert(converter, folder if folder.exists() else HERE / name, out)
        print(name, out.stat().st_size)


if __name__ == "__main__":
    main()
