"""Runs the Python snippets of README.md, in order, in one namespace, from the root of the project."""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
SNIPPETS = re.findall(r"^```python\n(.*?)^```", (HERE.parent / "README.md").read_text("utf-8"), re.M | re.S)


def test_snippets(tmp_path, monkeypatch, capsys):
    assert len(SNIPPETS) == 5
    (tmp_path / "examples").symlink_to(HERE.parents[2] / "examples")
    monkeypatch.chdir(tmp_path)  # what a snippet writes goes there
    namespace = {}
    for i, snippet in enumerate(SNIPPETS):
        exec(compile(snippet, f"README.md, snippet {i + 1}", "exec"), namespace)
        assert capsys.readouterr().out, f"snippet {i + 1} prints nothing"
