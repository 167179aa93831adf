"""`make report` after installation: the demo tenants and every report, in a lab of their own."""
from case import Case

MAKE_REPORT = """
import os, subprocess, sys, tempfile, time
from pathlib import Path
def work(data):
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"TENANT_LAB_HOME": home, "TENANT_LAB_KEY_FILE": home + "/key/master.key"}
        tool, started = Path(sys.executable).with_name("tenant-lab"), time.monotonic()
        for command in (["demo"], ["report", "all"]):
            subprocess.run([tool, *command], env=env, check=True, capture_output=True)
        return time.monotonic() - started
"""
CASES = [Case("make report after installation", MAKE_REPORT, limit=60.0, runs=3,
              notes=lambda ours, peer: f"{ours:.0f} s on the clock")]
