"""What a case of the bench declares."""
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One task, done by us and by a peer (or within a limit).

    `ours` and `peer` are sources of Python. What stands outside their functions (imports, connections) is not
    counted; `work(data)` is, where `data` is the folder that `prepare` filled. What it returns is the result: a
    value for JSON, or anything else where `result(value, out)` turns it into one or writes files to the folder `out`.
    `agree(ours, peer)` and `notes(ours, peer)` get the last result of each side.
    """

    name: str
    ours: str
    wanted: float = 1.0                             # peer's CPU seconds / ours
    peer_name: str = ""                             # its environment: requirements/bench-<peer_name>.txt
    peer: str = ""
    peer_python: str = sys.executable               # makes its environment
    limit: float = 0.0                              # CPU seconds; instead of a peer
    whole: bool = False                             # count the interpreter's start and the imports too
    runs: int = 5                                   # of each side, taking turns; the median counts
    prepare: Callable[[Path], None] | None = None   # writes the input, once
    agree: Callable[[Any, Any], bool] = operator.eq
    notes: Callable[[Any, Any], str] | None = None  # a line under the table
