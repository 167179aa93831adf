"""Progress: everything comes through, silence where nobody watches, a word when interrupted."""

import io

import pytest

from tenant_lab.core import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_everything_comes_through_in_silence(capsys):
    assert not progress.watched()
    assert list(progress.track(range(100), "counting")) == list(range(100))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_the_bar(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    assert progress.watched()
    assert list(progress.track(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    assert "letters" in screen.getvalue()


@pytest.mark.parametrize(("total", "words"), [(None, "rows: interrupted after 2\n"), (9, "rows: interrupted after 2 of 9\n")])
def test_an_interrupt_says_what_was_done(capsys, total, words):
    def items():
        yield from "ab"
        raise KeyboardInterrupt
    got = []
    with pytest.raises(KeyboardInterrupt):
        for item in progress.track(items(), "rows", total):
            got.append(item)
    assert got == ["a", "b"]
    assert capsys.readouterr().err == words


def test_lazy():
    drawn = []
    track = progress.track((drawn.append(i) or i for i in range(5)), "lazy")
    assert next(track) == 0
    assert drawn == [0]
