"""The handle of a kernel whose keeper does not do what it should; real kernels are in tests/integration."""
import socket

import pytest

from tenant_lab.core.errors import ReportError
from tenant_lab.reports.kernel import KeptKernel
from tenant_lab.reports.zygote import send


def test_a_kernel_that_is_never_ready_is_an_error_and_not_a_hang():
    ours, theirs = socket.socketpair()
    with theirs:
        send(theirs, {"link": {}, "pid": 1})
        with pytest.raises(ReportError, match="not ready within 1 s"):
            KeptKernel(ours, patience=0.6)
        assert theirs.recv(1) == b""  # let go: the keeper sees it, and kills the kernel


@pytest.mark.parametrize("said, why", [({"failed": "OSError: no room"}, "no room"), ({"ended": "SIGKILL"}, "SIGKILL"), ({"said": {"failed": "ImportError: x"}}, "ImportError")])
def test_a_kernel_that_could_not_start_says_why(said, why):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(theirs, said)
        with pytest.raises(ReportError, match=f"could not start: .*{why}"):
            KeptKernel(ours)


def test_a_keeper_that_is_gone_is_said():
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(ReportError, match="its keeper is gone"):
        KeptKernel(ours)
