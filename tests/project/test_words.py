"""Words that do not belong in the project: hosts of package registries, and paths of somebody's machine."""
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# written so that this file does not match itself
HOSTS = r"pyp[i]\.org|pythonhoste[d]\.|registry\.npmj[s]|deb\.debia[n]\.|conda\.anacond[a]\.org"
PATHS = r"(?<![\w.~/-])/(?:hom[e]/[\w.-]+/|roo[t]/|User[s]/[\w.-]+/|wor[k]/|tm[p]/(?:tmp|pytest-of-)\w+|opt/(?:pyp[i]|wheel[s]))"
UNWANTED = re.compile(f"{HOSTS}|{PATHS}")


def project_files() -> list[Path]:
    """Files that git tracks or would track."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files belong to the project is not known")
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_registry_host_and_no_path_of_a_machine():
    found = []
    for path in project_files():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            rows = enumerate(data.decode("utf-8").splitlines(), 1)
            found += [f"{path.relative_to(ROOT)}:{n}: {hit[0]}" for n, row in rows if (hit := UNWANTED.search(row))]
    assert not found, "\n".join(found)


def test_unwanted_words_are_seen():
    for word in ("https://pypi." + "org/simple", "'/hom" + "e/ann/x'", "/tm" + "p/tmpab12"):
        assert UNWANTED.search(word)
    for word in ("https://example.org/home/ann", "~/tenant-lab", "/tmp/other.db", "/home"):
        assert not UNWANTED.search(word)
