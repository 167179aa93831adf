"""Speed beside peers: `make bench [AREA=x]`. Prints a table and writes build/bench.json.

Each side of a case runs in fresh processes, ours in the shipped environment, the peer in its own pinned one; the sides
take turns. What counts is CPU seconds (user and system, children too): they depend less on other work of the machine
than time on the clock. A ratio above 1 means that ours is better by that factor; below `wanted` it is shown, and only a
wrong result is an error.
"""
import importlib
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from case import Case

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "build/bench"
COLUMNS = ("area", "case", "ours", "peer", "peer_name", "ratio", "wanted", "agree")


def environment(peer: str, base: str) -> Path:
    """The peer's Python, made by `base` and installed from its lock where that has changed; a peer without one is a dependency of ours."""
    lock, folder = ROOT / f"requirements/bench-{peer}.txt", ROOT / f".envs/{peer}"
    if not lock.exists():
        return Path(sys.executable)
    stamp, python = folder / ".installed", folder / "bin/python"
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        print(f"installing {lock.relative_to(ROOT)}", flush=True)
        subprocess.run([base, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--require-hashes",
                        "-r", lock], check=True)
        stamp.touch()
    return python


def run_once(python: Path, source: str, folder: Path, side: str, whole: bool) -> dict[str, Any]:
    """Result, CPU seconds and peak memory of one fresh process."""
    out = folder / side
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    script = folder / f"{side}.py"
    script.write_text(source, encoding="utf-8")
    run = subprocess.run([python, HERE / "child.py", script, folder / "data", out, "whole" if whole else "work"],
                         cwd=folder, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{script.relative_to(ROOT)} failed:\n{run.stderr}")
    return json.loads((out / "answer.json").read_text(encoding="utf-8"))


def measure(area: str, case: Case) -> tuple[dict[str, Any], str]:
    """The case's row, and a note on memory and what the case adds."""
    folder = FOLDER / area / "".join(c if c.isalnum() else "_" for c in case.name)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    if case.prepare:
        case.prepare(folder / "data")
    sides = {"ours": (Path(sys.executable), case.ours)}
    if case.peer:
        sides["peer"] = (environment(case.peer_name, case.peer_python), case.peer)
    answers: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(case.runs):
        for side, (python, source) in sides.items():
            answers[side].append(run_once(python, source, folder, side, case.whole))
    median = {side: statistics.median(a["cpu"] for a in given) for side, given in answers.items()}
    ours, peer = (answers[side][-1]["result"] if side in answers else None for side in ("ours", "peer"))
    row = {"area": area, "case": case.name, "ours": round(median["ours"], 4),
           "peer": round(median.get("peer", case.limit), 4), "peer_name": case.peer_name or "limit",
           "wanted": case.wanted, "agree": bool(case.agree(ours, peer)) if case.peer else True}
    row["ratio"] = round(median.get("peer", case.limit) / max(median["ours"], 1e-4), 2)
    note = ", ".join(f"{side} {max(a['peak_mb'] for a in given):.0f} MB at most" for side, given in answers.items())
    if case.notes:
        note += "; " + case.notes(ours, peer)
    return {key: row[key] for key in COLUMNS}, f"{area}, {case.name}: {note}"


def main(areas: list[str]) -> int:
    known = sorted(path.stem for path in (HERE / "areas").glob("[!_]*.py"))
    if unknown := set(areas) - set(known):
        sys.exit(f"unknown area {', '.join(unknown)}; there are {', '.join(known)}")
    measured = []
    for area in areas or known:
        for case in importlib.import_module(f"areas.{area}").CASES:
            print(f"{area}, {case.name} …", flush=True)
            measured.append(measure(area, case))
    rows = [row for row, _ in measured]
    print("\nCPU seconds, median of each side; ratio above 1: ours is better by that factor\n")
    cells = [COLUMNS, *(tuple(str(row[key]) for key in COLUMNS) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print("", *(note for _, note in measured), sep="\n")
    (ROOT / "build/bench.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["agree"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
