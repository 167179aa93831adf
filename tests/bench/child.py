"""One side of a case in a fresh process of any environment; writes result, CPU seconds and peak memory as JSON."""
import json
import resource
import sys
from pathlib import Path


def cpu_seconds():
    """User and system time of this process since its start, and of its children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def peak_mb():
    """Largest resident memory. On Linux, getrusage would count what the parent held when it forked."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


script, data, out, whole = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "whole"
names = {"__name__": "bench"}
exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), names)
before = 0.0 if whole else cpu_seconds()
value = names["work"](data)
cpu, peak = cpu_seconds() - before, peak_mb()
result = names["result"](value, out) if "result" in names else value
(out / "answer.json").write_text(json.dumps({"result": result, "cpu": cpu, "peak_mb": peak}), encoding="utf-8")
