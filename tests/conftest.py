"""What every test may rely on: a lab of its own, Chromium or a clear word, and the record of the slow tests."""
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _use_lab(patch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in [n for n in os.environ if n.startswith("TENANT_LAB_")]:
        patch.delenv(name)
    patch.setenv("TENANT_LAB_HOME", str(folder / "home"))
    patch.setenv("TENANT_LAB_KEY_FILE", str(folder / "master.key"))


@pytest.fixture(scope="session", autouse=True)
def _session_lab(tmp_path_factory):
    """Module and session fixtures run before the test's own lab is set: they get this one."""
    with pytest.MonkeyPatch.context() as patch:
        _use_lab(patch, tmp_path_factory.mktemp("session_lab"))
        yield


@pytest.fixture(autouse=True)
def _own_lab(tmp_path, monkeypatch, _session_lab):
    """No test touches the user's lab: home is `tmp_path/home`, the master key `tmp_path/master.key`."""
    _use_lab(monkeypatch, tmp_path)


def find_chromium() -> str | None:
    return shutil.which("chromium")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Debian's Chromium; for tests marked `browser`."""
    return find_chromium() or pytest.fail("mark the test with pytest.mark.browser")


def pytest_runtest_setup(item):
    if item.get_closest_marker("browser") and find_chromium() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is missing and CI=true; make test installs it", pytrace=False)
        pytest.skip("Chromium is missing: apt-get install chromium")


# ---- build/slow.json: a slow test calls record_property("seed", …), record_property("repetitions", …) and so on ----
def pytest_addoption(parser):
    parser.addoption("--slow-json", metavar="PATH", help="write outcomes and recorded properties of the tests there")


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what stands in its background deaf to Ctrl-C, which tests send
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("slow_json") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SlowRecord(Path(config.getoption("slow_json"))))


class SlowRecord:
    def __init__(self, path: Path):
        self.path, self.tests = path, []

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.tests.append({"test": report.nodeid, "outcome": report.outcome} | dict(report.user_properties))

    def pytest_sessionfinish(self):
        def git(*words):
            return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        outcomes = [test["outcome"] for test in self.tests]
        record = {"commit": git("rev-parse", "HEAD"), "uncommitted": bool(git("status", "--porcelain")),
                  "counts": {name: outcomes.count(name) for name in ("passed", "failed", "skipped")},
                  "tests": self.tests}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
