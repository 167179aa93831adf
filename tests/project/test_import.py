"""`import tenant_lab` stays light: heavy libraries come with the first thing that needs them."""
import json
import subprocess
import sys


def test_import_loads_nothing_heavy():
    code = "import json, sys, tenant_lab; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(run.stdout)}
    assert "tenant_lab" in loaded
    assert not loaded & {"tensorflow", "keras", "librosa", "matplotlib", "pandas", "numpy", "duckdb", "plotly", "sklearn"}
