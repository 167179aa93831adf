"""Notebooks stay readable: short cells, few exported lines, enough prose, light files (DESIGN.md, One notebook)."""
import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(p for top in ("nbs", "reports") for p in (ROOT / top).rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
EXPORT = re.compile(r"^#\|\s*exports?\b", re.MULTILINE)


def lines(text: str) -> int:
    return sum(1 for line in text.splitlines() if line.strip())


def docstring_lines(source: str) -> int:
    """Non-blank lines of all docstrings in the cell."""
    found = 0
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            text = node.body[0]
            found += lines("\n".join(source.splitlines()[text.lineno - 1:text.end_lineno]))
    return found


def broken_budgets(notebook: dict, size: int) -> list[str]:
    """The budgets that a notebook breaks, in words. Prose counts as source lines: write a sentence a line."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    exported = [source for kind, source in cells if kind == "code" and EXPORT.search(source)]
    total, prose = sum(map(lines, exported)), sum(lines(source) for kind, source in cells if kind == "markdown")
    said = []
    for source in exported:
        code = lines(source) - docstring_lines(source) - sum(s.startswith("#|") for s in source.splitlines())
        if code > 60:
            said.append(f"a cell of {code} lines (60): {source.splitlines()[1][:60]}")
    if total > 400:
        said.append(f"{total} exported lines (400)")
    if total > 40 and prose < 0.15 * total:
        said.append(f"{prose / total:.3f} lines of prose for each exported line (0.15)")
    if size > 200_000:
        said.append(f"{size // 1000} KB (200)")
    return said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_notebook_keeps_its_budgets(path):
    broken = broken_budgets(json.loads(path.read_text(encoding="utf-8")), path.stat().st_size)
    assert not broken, "; ".join(broken)


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_each_budget_can_break():
    def code(n, docstring=0):
        body = ['    """One', *["    line"] * (docstring - 1), '    """'] if docstring else []
        return {"cell_type": "code", "source": "\n".join(["#| export", "def f():", *body, *["    x = 1"] * (n - 1)])}
    prose = {"cell_type": "markdown", "source": "text\n" * 100}
    assert broken_budgets({"cells": [prose, code(60, docstring=50)]}, 200_000) == []
    assert "61 lines" in broken_budgets({"cells": [prose, code(61)]}, 0)[0]
    assert "exported lines (400)" in broken_budgets({"cells": [prose, *[code(50)] * 8]}, 0)[0]
    assert "prose" in broken_budgets({"cells": [code(41)]}, 0)[0]
    assert broken_budgets({"cells": []}, 201_000) == ["201 KB (200)"]
