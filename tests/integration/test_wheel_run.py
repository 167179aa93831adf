"""The wheel, installed outside the checkout: the commands of the first minute work from an empty folder."""
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs a program of an environment that has the wheel, and this environment's packages for its dependencies."""
    root = tmp_path_factory.mktemp("wheel-run")
    quiet = {"check": True, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", root / "dist"], cwd=ROOT, **quiet)
    (wheel,) = (root / "dist").glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "env"], **quiet)
    python = root / "env/bin/python"
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index",
                    "--disable-pip-version-check", wheel], **quiet)
    # a folder named in a .pth is searched, but the .pth files inside it, which lead to the checkout, are not read
    site = next((root / "env/lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (root / "env/share").symlink_to(Path(sys.prefix) / "share")  # pip would put nbconvert's templates there
    for folder in ("home", "work"):
        (root / folder).mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TENANT_LAB_", "PYTHON", "JUPYTER", "COV"))}
    environment |= {"HOME": str(root / "home"), "PATH": f"{root / 'env/bin'}:/usr/bin:/bin", "VIRTUAL_ENV": str(root / "env")}

    def run(program, *arguments):
        return subprocess.run([root / "env/bin" / program, *arguments], cwd=root / "work", env=environment, capture_output=True,
                              text=True, timeout=200)
    run.root = root
    return run


def test_the_library_is_the_wheels_copy(installed):
    done = installed("python", "-c", "import tenant_lab, pandas, importlib.metadata as m; print(tenant_lab.__file__); print(m.version('tenant-lab'))")
    where, version = done.stdout.splitlines()
    assert Path(where).resolve().is_relative_to((installed.root / "env").resolve()) and version in str(list((installed.root / "dist").iterdir()))


def test_demo_and_a_report_work_from_an_empty_folder(installed):
    done = installed("tenant-lab", "demo", "cdnow")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    done = installed("tenant-lab", "report", "run", "customer_value", "cdnow", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    (row,) = json.loads(done.stdout)
    assert (row["report"], row["tenant"], row["status"]) == ("customer_value", "cdnow", "ok")
    page = Path(row["page"])
    assert page.is_relative_to((installed.root / "home/tenant-lab").resolve()) and "23\u202f570" in page.read_text()
    assert list((installed.root / "work").iterdir()) == []
    done = installed("tenant-lab", "report", "show", "customer_value", "cdnow", "--json")
    assert json.loads(done.stdout)["manifest"]["library"]["dependencies"]["pandas"]


def test_what_is_shipped_is_found_inside_the_package(installed):
    found = json.loads(installed("tenant-lab", "doctor", "--json").stdout)
    for row in found["settings"]:
        assert Path(row["from"]).resolve().is_relative_to((installed.root / "env").resolve())
        assert row["from"].endswith("tenant_lab/shipped/settings.ini")
    code = "from tenant_lab.core.settings import shipped; print(*(shipped(n) for n in ('reports', 'data')), sep='\\n')"
    reports, data = map(Path, installed("python", "-c", code).stdout.splitlines())
    assert {p.relative_to(ROOT / "reports") for p in (ROOT / "reports").rglob("*.toml")} <= {p.relative_to(reports) for p in reports.rglob("*")}
    assert (data / "cdnow/purchases.parquet").read_bytes() == (ROOT / "data/cdnow/purchases.parquet").read_bytes()
    assert not list(reports.rglob(".ipynb_checkpoints"))
