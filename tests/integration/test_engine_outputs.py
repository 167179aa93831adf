"""A notebook run by the engine `tenant-lab` looks as one run by papermill's own, cell by cell; and what surrounds that."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import papermill
import pytest

from tenant_lab.reports.papermill import why_not_forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")

FEATURES = {
    "last expression": "1 + 1",
    "suppressed": "1 + 1;",
    "several statements": "x = 5\nx\nx * 2",
    "both streams": "import sys\nprint('out'); print('err', file=sys.stderr); print('a', end=''); print('b')",
    "warnings": "import warnings\nwarnings.warn('careful')\nwarnings.warn('old', DeprecationWarning)",
    "logging": "import logging\nlogging.warning('logged'); logging.getLogger('a.b').error('e'); logging.info('not shown')",
    "frame": "import numpy as np, pandas as pd\npd.DataFrame({'a': [1, 2.5], 'b': ['x', None]})",
    "series and array": "print(np.arange(3))\npd.Series([1.5, 2])",
    "displays": "from IPython.display import HTML, JSON, SVG, Image, Javascript, Latex, Markdown, clear_output, display\n"
                "display(HTML('<b>x</b>'), Markdown('**y**'), JSON({'a': [1]}), SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>'), Latex('$x$'))\n"
                "Javascript('1')",
    "raw display": "display({'text/plain': 'p', 'text/html': '<i>h</i>'}, raw=True, metadata={'text/html': {'isolated': True}})",
    "display to update": "h = display('first', display_id='the-id')\nother = display('later', display_id=True)\nh.update('second')",
    "update from another cell": "other.update('changed')",
    "clear at once": "print('gone'); clear_output(); print('stays')",
    "clear and wait": "for i in range(3):\n    clear_output(wait=True)\n    print('step', i)",
    "clear and nothing": "print('stays, nothing follows'); clear_output(wait=True)",
    "plotly shown": "import plotly.graph_objects as go\ndisplay(go.Figure(go.Bar(x=['a', 'b'], y=[1, 2])))",
    "plotly as the result": "go.Figure(go.Scatter(y=[1, 2]))",
    "matplotlib inline": "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2, 3]);",
    "matplotlib shown": "fig, ax = plt.subplots(); ax.plot([3, 1]); plt.show(); print('after')",
    "widget": "import ipywidgets as w\nw.IntSlider(value=3)",
    "box of widgets": "w.HBox([w.Text('t'), w.Button(description='b')])",
    "output widget": "out = w.Output()\nwith out:\n    print('inside'); display(HTML('<i>in</i>'))\nout",
    "output widget that is cleared": "with out:\n    clear_output()\n    print('again')",
    "interact": "w.interact(lambda x: print('got', x), x=(0, 10));",
    "interact with a result": "@w.interact(y=3)\ndef doubled(y):\n    return y * 2",
    "own representation": "class A:\n    def _repr_html_(self): return '<p>A</p>'\n    def __repr__(self): return 'A!'\nA()",
    "own bundle": "class B:\n    def _repr_mimebundle_(self, include=None, exclude=None): return {'text/plain': 'B', 'application/x-b+json': {'k': 1}}, {'text/plain': {'m': 1}}\nB()",
    "not a number": "display({'application/json': {'a': float('nan')}, 'text/plain': 'x'}, raw=True)",
    "capture": "%%capture got\nprint('caught')",
    "captured": "print(got.stdout)",
    "bash": "%%bash\necho from bash\necho and to the other >&2",
    "shell": "!echo from the shell",
    "shell into a list": "lines = !echo one; echo two\nlines",
    "environment magic": "%env TL_TEST=1\nimport os\nprint(os.environ['TL_TEST'])",
    "html magic": "%%html\n<u>magic</u>",
    "write a file": "%%writefile written.txt\nhello",
    "read it": "open('written.txt').read()",
    "timing magic": "%%capture timed\n%time 1 + 1",
    "await": "import asyncio\nawait asyncio.sleep(0)\nawait asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))",
    "a task": "task = asyncio.get_running_loop().create_task(asyncio.sleep(0, 'done'))\nawait task",
    "thread": "import threading\nt = threading.Thread(target=lambda: print('from a thread')); t.start(); t.join()",
    "descriptors": "import time\nos.system('echo at descriptor level; echo and error >&2'); time.sleep(0.3)",
    "raw write": "os.write(1, b'raw \\xff\\n'); time.sleep(0.3)",
    "subprocess": "import subprocess\nsubprocess.run(['echo', 'from a child']); time.sleep(0.3)",
    "forked child": "import multiprocessing\np = multiprocessing.get_context('fork').Process(target=print, args=('from a fork',))\np.start(); p.join(); time.sleep(0.3); p.exitcode",
    "kernel": "get_ipython().kernel is not None, type(get_ipython()).__name__, type(get_ipython().kernel).__name__, __name__",
    "history": "In[1], Out[1], _",
    "help": "help(len)\nlen?",
    "unicode": "print('\\udcff'); 'ünïcödé ' + chr(0x1F600)",
    "no input": "try:\n    input('q')\nexcept Exception as e:\n    print(type(e).__name__, e)",
    "process": "import gc, resource, signal\nprint(signal.getsignal(signal.SIGCHLD), getattr(signal.getsignal(signal.SIGTERM), '__name__', 'default'), gc.isenabled(), gc.get_threshold())\n"
               "print(os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid(), os.umask(0o22), sys.path.index(''), sys.argv[0].rsplit('/', 1)[-1])\n"
               "print(threading.current_thread() is threading.main_thread(), sys.getrecursionlimit(), np.geterr(), plt.get_backend(), logging.getLogger().handlers)\n"
               "resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)",
    "chained error": "def inner():\n    raise KeyError('inner')\ndef outer():\n    try:\n        inner()\n    except KeyError as e:\n        raise ValueError('outer') from e\nouter()",
    "syntax error": "1 +",
    "missing module": "import nothing_like_this",
    "long error": "raise type('Odd', (Exception,), {'__str__': lambda s: 'ö\\n' * 3})()",
    "exit in words": "raise SystemExit('stop it')",
    "after all that": "x",
}
TOLERATED = {"chained error", "syntax error", "missing module", "long error", "exit in words"}
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def notebook(path: Path, *sources: str, kernel: str = "python3", **more) -> Path:
    cells = [nbformat.v4.new_code_cell(source, metadata={"tags": ["raises-exception"]} if source in more.get("tolerated", ()) else {}) for source in sources]
    cells = [nbformat.v4.new_markdown_cell("# A title"), *cells] if more.get("title") else cells
    if more.get("parameters"):
        cells.insert(0, nbformat.v4.new_code_cell(more["parameters"], metadata={"tags": ["parameters"]}))
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL["kernelspec"] | {"name": kernel}}), path)
    return path


def forked(path: Path, **more):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST", raising=False)  # where it is set, ipykernel does not catch output at descriptor level
        return papermill.execute_notebook(path, path.with_name("out.ipynb"), engine_name="tenant-lab", progress_bar=False, cwd=path.parent, **more)


STOCK = """
import sys, papermill
try:
    papermill.execute_notebook(sys.argv[1], sys.argv[2], progress_bar=False, execution_timeout=20, cwd=sys.argv[3])
except papermill.PapermillExecutionError:
    pass
"""


def stock(path: Path, out: Path):
    """By papermill's own engine, again where it hangs: nbclient loses a reply when a widget's message comes in between."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", STOCK, str(path), str(out), str(path.parent)], capture_output=True,
                              text=True, errors="replace", env=variables)
        if done.returncode == 0:
            return nbformat.read(out, 4)
    pytest.fail(done.stderr[-2000:])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same notebook executed by papermill's own engine and by ours, each in a folder of its own."""
    executed = []
    for name in ("stock", "ours"):
        folder = tmp_path_factory.mktemp(name)
        path = notebook(folder / "in.ipynb", *FEATURES.values(), tolerated={FEATURES[n] for n in TOLERATED}, title=True)
        if name == "stock":
            executed.append(stock(path, folder / "out.ipynb"))
        else:
            with pytest.raises(papermill.PapermillExecutionError, match="stop it"):  # papermill itself knows no tag
                forked(path)
            executed.append(nbformat.read(folder / "out.ipynb", 4))
    return executed


def told(content) -> str:
    """As text, without what differs from run to run: ids, addresses, process ids, times, and where chunks of a stream were cut."""
    text = json.dumps(content, sort_keys=True, indent=0)
    for pattern in (r"\b[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\b", r"[0-9a-f]{32}", r"0x[0-9a-f]{6,}", r"ipykernel_\d+/\d+"):
        text = re.sub(pattern, "ID", text)
    return text


def joined(outputs) -> list:
    """Outputs with neighbouring chunks of one stream put together, as a reader sees them."""
    found = []
    for output in outputs:
        if found and output.output_type == "stream" and found[-1].get("name") == output.name:
            found[-1] = {**found[-1], "text": found[-1]["text"] + output.text}
        else:
            found.append(dict(output))
    return sorted(found, key=lambda o: o["name"]) if all(o["output_type"] == "stream" for o in found) else found


# threads and pipes bring these in no certain order, or in none that both engines share
LOOSE = {"descriptors", "subprocess", "forked child", "raw write", "bash"}


@pytest.mark.parametrize("name", FEATURES)
def test_a_cell_shows_the_same(both, name):
    ours, theirs = ([c for c in nb.cells if c.cell_type == "code"][list(FEATURES).index(name)] for nb in reversed(both))
    order = (lambda found: sorted(found, key=told)) if name in LOOSE else (lambda found: found)
    assert told(order(joined(ours.outputs))) == told(order(joined(theirs.outputs)))
    assert (ours.execution_count, ours.source) == (theirs.execution_count, theirs.source)
    assert ours.metadata.keys() == theirs.metadata.keys() and ours.metadata.execution.keys() == theirs.metadata.execution.keys()
    for key in ("status", "exception"):
        assert ours.metadata.papermill[key] == theirs.metadata.papermill[key]
    assert ours.metadata.papermill.duration >= 0 and ours.metadata.papermill.start_time <= ours.metadata.papermill.end_time


def test_the_features_show_what_they_are_meant_to(both):
    """Two empty notebooks would be equal too."""
    cells = dict(zip(FEATURES, [c for c in both[1].cells if c.cell_type == "code"], strict=True))
    text = {name: json.dumps(cell.outputs) for name, cell in cells.items()}
    for name, part in {"frame": "<table", "displays": "**y**", "display to update": "second", "clear and wait": "step 2", "plotly shown": "plotly",
                       "matplotlib inline": "image/png", "widget": "widget-view", "interact": "widget-view", "bash": "from bash", "await": "[1, 2]",
                       "thread": "from a thread", "descriptors": "at descriptor level", "raw write": "raw", "subprocess": "from a child", "chained error": "direct cause", "kernel": "__main__",
                       "forked child": "from a fork", "warnings": "careful", "logging": "logged", "no input": "StdinNotImplementedError"}.items():
        assert part in text[name], name
    assert "step 1" not in text["clear and wait"] and '"gone' not in text["clear at once"] and cells["suppressed"].outputs == []


def test_the_notebooks_own_metadata_are_the_same(both):
    theirs, ours = (dict(nb.metadata) for nb in both)
    assert ours["language_info"] == theirs["language_info"] and ours["kernelspec"] == theirs["kernelspec"]
    assert ours.keys() == theirs.keys() and set(ours["papermill"]) - set(theirs["papermill"]) == {"tenant_lab"}
    assert ours["papermill"]["tenant_lab"] == {"kernel": "forked"}
    for key in ("exception", "parameters", "version", "environment_variables"):
        assert ours["papermill"][key] == theirs["papermill"][key]
    states = [sorted(told(v) for v in nb["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()) for nb in (ours, theirs)]
    assert len(states[0]) > 20 and states[0] == states[1]
    nbformat.validate(both[1])


def test_an_interrupt_keeps_the_cells_that_were_done(tmp_path):
    mark, out = tmp_path / "mark", tmp_path / "out.ipynb"
    path = notebook(tmp_path / "in.ipynb", "print('done')", f"open({str(mark)!r}, 'w').close()\nimport time; time.sleep(600)")
    process = subprocess.Popen([sys.executable, "-m", "papermill", "--engine", "tenant-lab", "--no-progress-bar", str(path), str(out)],
                               stderr=subprocess.PIPE, start_new_session=True)
    limit = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=60)
    assert process.returncode != 0 and nbformat.read(out, 4).cells[0].outputs[0].text == "done\n"


# -- how a run ends ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("code, papermills", [
    ("import sys; sys.exit()", None), ("import sys; sys.exit(2)", "SystemExit"), ("exit()", None), ("1 / 0", "ZeroDivisionError"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"), ("import os; os._exit(3)", "DeadKernelError"),
    ("import os, signal; os.killpg(os.getpgrp(), signal.SIGTERM)", "DeadKernelError")])
def test_a_run_ends_where_papermill_ends_it(tmp_path, code, papermills):
    """What papermill's own engine does is written down here: it takes three seconds for each of these."""
    path = notebook(tmp_path / "in.ipynb", "x = 1", code, "x")
    if papermills:
        with pytest.raises(papermill.PapermillExecutionError, match=papermills):
            forked(path)
    else:
        forked(path)
    cells = nbformat.read(tmp_path / "out.ipynb", 4).cells
    cells = [c for c in cells if "papermill-error-cell-tag" not in c.metadata.tags]
    statuses = ["completed"] * 3 if code == "exit()" else ["completed", "failed", "pending"]
    assert [c.metadata.papermill.status for c in cells] == statuses
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "while True: pass",
                                  "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass"])
def test_a_cells_time_out_ends_the_run(tmp_path, code):
    path, start = notebook(tmp_path / "in.ipynb", "print('before')", code, "1"), time.monotonic()
    with pytest.raises(papermill.PapermillExecutionError, match="TimeoutError: the cell's time-out"):
        forked(path, execution_timeout=1)
    assert time.monotonic() - start < 30  # not 60; two of them to interrupt
    out = nbformat.read(tmp_path / "out.ipynb", 4)
    assert [o.ename for c in out.cells for o in c.get("outputs", []) if o.output_type == "error"] == ["TimeoutError"]


def test_the_time_out_is_for_each_cell(tmp_path):
    forked(notebook(tmp_path / "in.ipynb", *["import time; time.sleep(0.7)"] * 3), execution_timeout=2)


# -- around it ---------------------------------------------------------------------------------------------------------

def command(*words, cwd) -> subprocess.CompletedProcess:
    return subprocess.run([str(Path(sys.executable).with_name("papermill")), "--engine", "tenant-lab", "--no-progress-bar", *words], cwd=cwd,
                          capture_output=True, text=True, timeout=120)


def test_papermills_command_takes_the_engine(tmp_path):
    notebook(tmp_path / "in.ipynb", "number * 2", "text", parameters="number = 1\ntext = ''")
    done = command("in.ipynb", "out.ipynb", "-p", "number", "21", "-p", "text", "ü ‹x›", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = nbformat.read(tmp_path / "out.ipynb", 4)
    assert [c.outputs[0].data["text/plain"] for c in out.cells[-2:]] == ["42", "'ü ‹x›'"]
    assert out.metadata.papermill.parameters == {"number": 21, "text": "ü ‹x›"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.ipynb", "out.ipynb"]


def test_papermills_command_fails_with_the_notebook(tmp_path):
    notebook(tmp_path / "in.ipynb", "print('before')", "1 / 0", "print('after')")
    done = command("in.ipynb", "out.ipynb", cwd=tmp_path)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    out = nbformat.read(tmp_path / "out.ipynb", 4)
    assert "before" in str(out.cells) and out.cells[-1].outputs == [] and out.cells[-1].source == "print('after')"


def test_six_threads_at_once(tmp_path):
    failed, results = [], {}

    def work(n):
        folder = tmp_path / str(n)
        folder.mkdir()
        try:
            path = notebook(folder / "in.ipynb", f"import time\nmine = {n}", "time.sleep(0.3)\nprint('from', mine)", "mine ** 2")
            results[n] = papermill.execute_notebook(path, folder / "out.ipynb", engine_name="tenant-lab", progress_bar=False)
        except BaseException as error:
            failed.append(error)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(120)
    assert failed == [] and set(results) == set(range(6))
    for n, out in results.items():
        assert out.cells[1].outputs[0].text == f"from {n}\n" and out.cells[2].outputs[0].data["text/plain"] == str(n * n)


def test_a_module_beside_the_notebook_is_read_anew_by_each_run(tmp_path):
    """It must not be one that stayed in memory: a shell or a scheduler lives for days."""
    path = notebook(tmp_path / "in.ipynb", "import tl_beside\ntl_beside.value")
    for value in (1, 2):
        (tmp_path / "tl_beside.py").write_text(f"value = {value}{'  ' * value}")  # another length: no old bytecode is taken
        assert forked(path).cells[0].outputs[0].data["text/plain"] == str(value)


def test_a_module_beside_the_notebook_hides_no_module_of_pythons(tmp_path):
    """As with papermill's own engine: the working folder comes after the standard library."""
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('the wrong one')")
    out = forked(notebook(tmp_path / "in.ipynb", "import colorsys\nhasattr(colorsys, 'rgb_to_hsv')"))
    assert out.cells[0].outputs[0].data["text/plain"] == "True"


def test_a_run_keeps_the_environment_and_the_folder_of_its_caller(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_OWN", "value")
    path = notebook(tmp_path / "in.ipynb", "import os\nprint(os.environ['TL_OWN'], os.path.realpath(os.getcwd()))")
    assert forked(path).cells[0].outputs[0].text.split() == ["value", os.path.realpath(tmp_path)]
    monkeypatch.delenv("TL_OWN")
    with pytest.raises(papermill.PapermillExecutionError, match="KeyError"):
        forked(path)


def test_one_run_leaves_nothing_in_the_next(tmp_path):
    first = notebook(tmp_path / "a.ipynb", "import os, sys, json, locale\nleft = 1\nos.environ['TL_LEFT'] = '1'\njson.left = 1\nsys.setrecursionlimit(77_777)\nos.chdir('/')")
    second = notebook(tmp_path / "b.ipynb", "import os, sys, json\n'left' in globals(), 'TL_LEFT' in os.environ, hasattr(json, 'left'), sys.getrecursionlimit() == 77_777, os.getcwd() == '/'")
    forked(first)
    assert forked(second).cells[0].outputs[0].data["text/plain"] == str((False,) * 5)


# -- other kernels -----------------------------------------------------------------------------------------------------

@pytest.fixture
def other_kernel(tmp_path, monkeypatch) -> str:
    """A kernel of the same Python that is started through a wrapper."""
    folder = tmp_path / "share/kernels/wrapped"
    folder.mkdir(parents=True)
    words = ["/usr/bin/env", "TL_WRAPPED=1", sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": words, "display_name": "Wrapped", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    return "wrapped"


def test_another_kernel_is_started_and_the_notebook_says_so(tmp_path, other_kernel):
    out = forked(notebook(tmp_path / "in.ipynb", "import os\nprint(os.environ['TL_WRAPPED'])", "2 ** 10", kernel=other_kernel))
    assert out.cells[0].outputs[0].text == "1\n" and out.cells[1].outputs[0].data["text/plain"] == "1024"
    assert out.metadata.papermill.tenant_lab == {"kernel": "ordinary", "because": "the kernel 'wrapped' is another interpreter"}


def test_a_library_that_must_not_be_forked_gets_an_ordinary_kernel(tmp_path):
    out = forked(notebook(tmp_path / "in.ipynb", "import polars as pl\npl.Series([1, 2]).sum()"))
    assert out.cells[0].outputs[0].data["text/plain"] == "3"
    assert out.metadata.papermill.tenant_lab == {"kernel": "ordinary", "because": "polars must not be forked"}


@pytest.mark.parametrize("kernel, source, said", [
    ("python3", "import pandas", ""), ("python3", "from tensorflow import keras", "tensorflow must not be forked"),
    ("python3", "import torch.nn\nimport jax", "jax, torch must not be forked"),
    ("nobody", "1", "there is no kernel 'nobody'"), ("wrapped", "1", "the kernel 'wrapped' is another interpreter")])
def test_why_a_kernel_is_not_forked(other_kernel, kernel, source, said):
    assert why_not_forked(kernel, nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])) == said


def test_an_unknown_kernel_is_papermills_own_error(tmp_path):
    from jupyter_client.kernelspec import NoSuchKernel

    with pytest.raises(NoSuchKernel, match="nobody"):
        forked(notebook(tmp_path / "in.ipynb", "1", kernel="nobody"))


@pytest.mark.parametrize("code, said", [("1 / 0", "ZeroDivisionError"), ("import os; os._exit(3)", r"DeadKernelError: .*exit code 3"),
                                        ("import time; time.sleep(60)", "TimeoutError")])
def test_an_ordinary_kernels_end_is_recorded_in_the_same_way(tmp_path, other_kernel, code, said):
    path = notebook(tmp_path / "in.ipynb", "print('before')", code, "1", kernel=other_kernel)
    with pytest.raises(papermill.PapermillExecutionError, match=said):
        forked(path, execution_timeout=5)
    cells = [c for c in nbformat.read(tmp_path / "out.ipynb", 4).cells if "papermill-error-cell-tag" not in c.metadata.tags]
    assert [c.metadata.papermill.status for c in cells] == ["completed", "failed", "pending"]


# -- widgets (nbclient's issue 312: a run hangs now and then) ----------------------------------------------------------

WIDGETS = ["from ipywidgets import interact", *(f"@interact(x=(0, 10))\ndef f{n}(x=3):\n    print('value', x, {n})" for n in range(30)), "'the end'"]


def many_widgets(path: Path, times: int) -> None:
    for _ in range(times):
        out = forked(path, execution_timeout=60)  # a run that hangs fails here
        assert out.cells[-1].outputs[0].data["text/plain"] == "'the end'"
        state = out.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
        printed = [o["text"] for model in state.values() for o in model["state"].get("outputs", ())]
        assert sorted(printed) == sorted(f"value 3 {n}\n" for n in range(30))


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_thirty_interacts_never_hang(tmp_path, times):
    many_widgets(notebook(tmp_path / "in.ipynb", *WIDGETS), times)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_thirty_interacts_never_hang_on_an_ordinary_kernel(tmp_path, other_kernel, times):
    many_widgets(notebook(tmp_path / "in.ipynb", *WIDGETS, kernel=other_kernel), times)
