"""The locks are complete, hashed, free of addresses and agree with each other, pyproject.toml and environment.yml."""
import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
SHARED = [path for path in LOCKS if path.stem in ("all", "dev", "demo", "core", "build")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONDA_NAMES = {"python-duckdb": "duckdb", "python-tzdata": "tzdata", "pysoundfile": "soundfile", "soxr-python": "soxr"}

PIN = re.compile(r"^[a-z0-9][a-z0-9._-]*==\S+( ; [^\\]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def bad_lines(text: str) -> list[str]:
    """Lines that are neither a pin nor a hash, and pins that no hash follows."""
    rows = [*text.splitlines(), ""]
    return [row for row, after in zip(rows, rows[1:], strict=False)
            if not HASH.match(row) and not (PIN.match(row) and HASH.match(after))]


def versions(path: Path) -> dict[str, set[str]]:
    found = defaultdict(set)
    for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", path.read_text(encoding="utf-8"), re.M):
        found[name].add(version)
    return found


def spec(text: str) -> tuple[str, str]:
    """`Name >= 2, < 3` as (name, sorted bounds)."""
    name, bounds = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", text.strip()).groups()
    return CONDA_NAMES.get(name, name), ",".join(sorted(bounds.replace(" ", "").split(",")))


def wanted() -> dict[str, str]:
    """Direct dependencies of the core and of every extra."""
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return dict(spec(text) for texts in lists for text in texts if not text.startswith("tenant-lab["))


@pytest.mark.parametrize("path", LOCKS, ids=lambda p: p.name)
def test_every_line_is_a_hashed_pin(path):
    assert bad_lines(path.read_text(encoding="utf-8")) == []


def test_an_address_or_a_missing_hash_is_seen():
    good = "a==1 \\\n    --hash=sha256:" + "0" * 64 + "\n"
    assert bad_lines(good) == []
    assert bad_lines(good + "b==1\n") == ["b==1"]
    assert bad_lines("--index-url https://host/simple\n" + good) == ["--index-url https://host/simple"]


def test_the_locks_of_one_environment_agree():
    everything = versions(ROOT / "requirements/all.txt")
    different = {(path.name, name) for path in SHARED for name, found in versions(path).items()
                 if found != everything[name]}
    assert not different, "run make lock"


def test_every_direct_dependency_is_locked():
    assert set(wanted()) <= set(versions(ROOT / "requirements/all.txt"))


def test_build_lock_is_the_build_system():
    source = (ROOT / "requirements/build.in").read_text(encoding="utf-8").splitlines()
    assert source[1:] == PROJECT["build-system"]["requires"]


def test_conda_environment_asks_for_the_same():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = (entry["pip"] for entry in entries if isinstance(entry, dict))
    found = dict(spec(text) for text in [*(e for e in entries if isinstance(e, str) and e != "pip"), *pip] if text != "-e .")
    assert found.pop("python") == spec("python" + PROJECT["project"]["requires-python"])[1]
    assert found == wanted()
    assert "-e ." in pip
