"""The wheel holds every package and what is shipped, and works from where it is unpacked."""
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True,
                   capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def shipped() -> set[str]:
    files = [ROOT / "settings.ini", *(p for top in ("data", "reports") for p in (ROOT / top).rglob("*") if p.is_file())]
    return {f"tenant_lab/shipped/{p.relative_to(ROOT).as_posix()}" for p in files
            if not {".ipynb_checkpoints", "__pycache__"} & set(p.parts)}


def test_wheel_holds_every_module_and_all_that_is_shipped(wheel):
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tenant_lab").rglob("*.py")}
    assert (modules | shipped()) - set(wheel.namelist()) == set()


def test_wheel_holds_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tenant_lab"}
    assert not [n for n in wheel.namelist() if "checkpoints" in n or n.endswith(".pyc")]


def test_wheel_names_the_command(wheel):
    (entry_points,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    assert "tenant-lab = tenant_lab.cli.main:main" in wheel.read(entry_points).decode()


def test_unpacked_wheel_reads_its_own_settings(wheel, tmp_path):
    wheel.extractall(tmp_path)
    code = "from tenant_lab.core.settings import load_settings; print(load_settings().source['engine'])"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
                         capture_output=True, text=True, check=True)
    assert Path(run.stdout.strip()) == (tmp_path / "tenant_lab/shipped/settings.ini").resolve()
