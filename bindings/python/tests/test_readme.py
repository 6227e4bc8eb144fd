"""Runs the code of the READMEs from the root of the project: Python snippets in order and one namespace, C compiled."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def snippets(readme, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / readme).read_text("utf-8"), re.M | re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)  # what a snippet writes goes there
    return tmp_path


@pytest.mark.parametrize("readme, n", [("bindings/python/README.md", 8), ("README.md", 1)])
def test_python_snippets(readme, n, folder, capsys):
    found = snippets(readme, "python")
    assert len(found) == n
    namespace = {}
    for i, snippet in enumerate(found):
        exec(compile(snippet, f"{readme}, snippet {i + 1}", "exec"), namespace)
        assert capsys.readouterr().out, f"snippet {i + 1} prints nothing"


def test_c_snippet(folder):
    library = ROOT / "build/lib/libqdisp.so"
    compiler = shutil.which("cc")
    if not library.exists() or not compiler:
        pytest.skip("no build/lib/libqdisp.so or no C compiler")
    (source,) = snippets("README.md", "c")
    (folder / "census.c").write_text(source, "utf-8")
    subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "census.c", "-I", ROOT / "include", "-L", library.parent,
                    "-lqdisp", f"-Wl,-rpath,{library.parent}", "-o", "census"], check=True)
    out = subprocess.run(["./census"], check=True, capture_output=True, text=True).stdout
    assert "attn.qkv" in out
