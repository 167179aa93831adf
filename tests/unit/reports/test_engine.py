"""Kernels that do not say what they should when a run begins; runs themselves are in tests/integration."""
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")
BEGIN = """
import gc, os, tempfile, time
from ipykernel.iostream import IOPubThread
from tenant_lab.core.errors import ReportError
from tenant_lab.reports.engine import Link
from tenant_lab.reports.kernel import KernelRequest, hold
"""
HOLD = """
scratch = tempfile.mkdtemp(dir="/tmp")
kernel = hold(KernelRequest(scratch, scratch, dict(os.environ), "/dev/null"))
"""


def said(code: str) -> str:
    """What an interpreter of its own prints: a fork wants one thread, and a hang must be ended from outside."""
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_welcome_that_is_lost_holds_up_nothing():
    out = said("IOPubThread._send_welcome_message = lambda *_: None" + HOLD + """
begun = time.monotonic()
link = Link(kernel, patience=50)
msg_id = link.client.execute("6 * 7")
while not any(m["msg_type"] == "execute_result" and m["parent_header"]["msg_id"] == msg_id for m in link.messages()):
    link.wait(1)
print(link.close(), time.monotonic() - begun < 40)
""")
    assert out == "exit code 0 True\n"


def test_a_kernel_that_never_speaks_is_an_error_and_its_remains_hold_up_nothing():
    out = said("IOPubThread._really_send = IOPubThread._send_welcome_message = lambda *_, **__: None" + HOLD + """
try:
    Link(kernel, patience=0.6)
except ReportError as error:
    print(error)
kernel = None
gc.collect()
print("collected")
""")
    assert out == "the kernel did not answer within 1 s: it says nothing\ncollected\n"


def test_a_kernel_that_ends_before_it_speaks_is_seen_at_once():
    out = said("IOPubThread._really_send = lambda *_, **__: None; IOPubThread._send_welcome_message = lambda *_: os._exit(3)" + HOLD + """
try:
    Link(kernel, patience=90)
except ReportError as error:
    print(error)
""")
    assert out == "the kernel did not answer within 90 s: it ended (exit code 3)\n"


def test_a_supervisor_that_hangs_is_ended_by_its_alarm():
    out = said("""
from tenant_lab.reports import supervise
supervise.supervise, supervise.MARGIN = (lambda *_: time.sleep(60)), 1
import socket
pid = os.fork()
if pid == 0:
    supervise.job({"run": {"notebook": "", "draft": "", "parameters": {}, "session": {}, "manifest": {}, "audit": {}, "limits": {"timeout": 1}}}, socket.socket())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""")
    assert out == "-14\n"
