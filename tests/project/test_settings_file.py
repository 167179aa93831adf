"""settings.ini documents itself: every key that the library knows, each with a one-line comment right above it."""
from pathlib import Path

from tenant_lab.core.settings import SETTINGS, read_settings_file

FILE = Path(__file__).parents[2] / "settings.ini"


def uncommented(text: str) -> list[str]:
    """Lines `key = value` without exactly one comment line right above."""
    rows = ["", "", *text.split("[tenant_lab]")[1].splitlines()]
    return [row for before, above, row in zip(rows, rows[1:], rows[2:], strict=False)
            if "=" in row and not row.startswith("#") and (not above.startswith("# ") or before.startswith("#"))]


def test_every_key_has_its_comment():
    assert uncommented(FILE.read_text(encoding="utf-8")) == []


def test_keys_are_those_of_the_library():
    assert list(read_settings_file(FILE)) == list(SETTINGS)


def test_a_missing_comment_is_seen():
    assert uncommented("[tenant_lab]\n# Why.\na = 1\nb = 2\n") == ["b = 2"]
    assert uncommented("[tenant_lab]\n# Two\n# lines.\na = 1\n") == ["a = 1"]
