"""Write README.md from nbs/index.ipynb: hidden cells left out, tables as text, links as seen from the top folder."""
from pathlib import Path

import nbconvert
import nbformat

ROOT = Path(__file__).parents[2]
notebook = nbformat.read(ROOT / "nbs/index.ipynb", 4)
notebook.cells = [c for c in notebook.cells if not c.source.startswith("#| hide")]
notebook.metadata["language_info"] = {"name": "python"}
for output in (o for c in notebook.cells for o in c.get("outputs", []) if "data" in o):
    output["data"].pop("text/html", None)
text, _ = nbconvert.MarkdownExporter().from_notebook_node(notebook)
for here, there in (("](images/", "](nbs/images/"), ("](explanations/", "](nbs/explanations/"), ("](../", "](")):
    text = text.replace(here, there)
lines = [line.rstrip() for line in text.splitlines()]
kept = [line for i, line in enumerate(lines) if line or (i and lines[i - 1])]  # one blank line where there were more
(ROOT / "README.md").write_text("\n".join(kept).strip() + "\n", encoding="utf-8")
