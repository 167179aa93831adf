"""Secrets: looked up for one tenant and one run, never shown by an error or a repr, and scrubbed in whatever form they appear."""
import base64
import html
import json
import logging
import os
import pprint
import traceback
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import nbformat
import pytest

from tenant_lab.core.errors import ParameterError, TenantAccessError
from tenant_lab.core.settings import load_settings
from tenant_lab.tenancy.secrets import SHORTEST, Scrubber, Secrets, check_secret_name, resolve, scrub, variable

VALUE = "t0p/s3cr+t \"v&lu€\" <x>='%"  # every character that some encoding changes


@pytest.fixture
def settings():
    return load_settings()  # home and key file of this test alone


def put(settings, place: str, value: str = VALUE + "\n", mode: int = 0o600) -> Path:
    path = settings.key_file.parent / "secrets" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value, encoding="utf-8")
    path.chmod(mode)
    return path


def everything_said(error: BaseException) -> str:
    """What any logger or debugger would print of an error and of all that led to it."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__) + repr(getattr(error.__context__, "object", ""))


# ---- names ----
@pytest.mark.parametrize("name", ["", "Token", "a__b", "_a", "a_", "1a", "a-b", "a/b", "../a", "é", "a\n", "x" * 64, None, 3, b"a"])
def test_a_name_that_could_be_a_path_or_two_names_is_refused(settings, name):
    with pytest.raises(ParameterError, match="single _ between them"):
        check_secret_name(name)
    with pytest.raises(ParameterError, match="single _ between them"):
        resolve([name], "shop", settings, {})


def test_no_two_pairs_of_tenant_and_secret_share_a_variable():
    tenants = ["", "a", "a-b", "a-b-c", "a--b", "shop", "shop-eu"]
    names = ["a", "b", "a_b", "b_c", "c", "eu_token", "token"]
    assert len({variable(n, t) for t in tenants for n in names}) == len(tenants) * len(names)


# ---- where a value comes from ----
def test_the_first_place_that_has_a_value_decides(settings):
    own, common = variable("token", "shop"), variable("token")
    put(settings, "token", "from the common file")
    assert resolve(["token"], "shop", settings, {}) == {"token": "from the common file"}
    put(settings, "shop/token", "from the shop's file")
    assert resolve(["token"], "shop", settings, {}) == {"token": "from the shop's file"}
    assert resolve(["token"], "shop", settings, {common: "from the common variable"}) == {"token": "from the common variable"}
    both = {common: "from the common variable", own: "from the shop's variable"}
    assert resolve(["token"], "shop", settings, both) == {"token": "from the shop's variable"}
    assert resolve(["token"], "label", settings, both) == {"token": "from the common variable"}
    assert resolve(["token"], "shop", settings, {own: "", common: ""}) == {"token": "from the shop's file"}


def test_the_process_environment_is_the_default(settings, monkeypatch):
    monkeypatch.setenv(variable("token", "shop"), "from the environment")
    assert resolve(["token"], "shop", settings)["token"] == "from the environment"
    assert load_settings().user == settings.user  # such a variable is no misspelt setting


def test_another_tenants_secret_is_not_found(settings):
    put(settings, "shop/token")
    with pytest.raises(TenantAccessError) as error:
        resolve(["token"], "label", settings, {variable("token", "shop"): VALUE})
    for place in ("TENANT_LAB_SECRET_LABEL__TOKEN", "TENANT_LAB_SECRET_TOKEN", "secrets/label/token", "secrets/token"):
        assert place in str(error.value)
    assert "key ring" not in str(error.value) and "shop" not in str(error.value) and VALUE not in everything_said(error.value)


def test_names_that_only_look_alike_as_variables_are_told_apart(settings):
    for tenant in ("blue-note", "blue_note"):
        (settings.home / "tenants" / tenant).mkdir(parents=True)
    environ = {"TENANT_LAB_SECRET_BLUE_NOTE__TOKEN": VALUE}
    for tenant in ("blue-note", "blue_note"):
        with pytest.raises(TenantAccessError, match="any of the tenants blue-note, blue_note; use files") as error:
            resolve(["token"], tenant, settings, environ)
        assert VALUE not in everything_said(error.value)
    put(settings, "blue_note/token", "its own file")
    assert resolve(["token"], "blue_note", settings, {}) == {"token": "its own file"}
    (settings.home / "tenants" / "blue_note").rmdir()
    assert resolve(["token"], "blue-note", settings, environ) == {"token": VALUE}


@pytest.mark.parametrize("tenant", ["", "..", "a/b", "Shop", None])
def test_a_tenant_is_a_name_and_no_path(settings, tenant):
    with pytest.raises(ParameterError, match="tenant"):
        resolve(["token"], tenant, settings, {})


def test_no_names_need_no_places(settings):
    assert resolve([], "shop", settings, {}) == {}


# ---- files ----
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o610])
def test_a_file_that_others_may_touch_is_refused(settings, mode):
    path = put(settings, "shop/token", mode=mode)
    with pytest.raises(TenantAccessError, match=f"{path} has mode {mode:04o}.*chmod 600") as error:
        resolve(["token"], "shop", settings, {})
    assert VALUE not in everything_said(error.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_is_read_without_its_last_new_line(settings, mode):
    put(settings, "shop/token", mode=mode)
    assert resolve(["token"], "shop", settings, {}) == {"token": VALUE}


def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file_are_no_secret(settings):
    put(settings, "shop", "not a folder")          # secrets/shop is a file
    (settings.key_file.parent / "secrets" / "token").mkdir()
    with pytest.raises(TenantAccessError, match="no secret 'token'"):
        resolve(["token"], "shop", settings, {})


def test_a_pipe_does_not_block(settings):
    folder = settings.key_file.parent / "secrets"
    folder.mkdir()
    os.mkfifo(folder / "token", 0o600)
    with pytest.raises(TenantAccessError, match="no secret 'token'"):
        resolve(["token"], "shop", settings, {})


def test_a_loop_of_links_is_an_error_that_names_it(settings):
    folder = settings.key_file.parent / "secrets"
    folder.mkdir()
    (folder / "token").symlink_to(folder / "token")
    with pytest.raises(TenantAccessError, match="secrets/token cannot be read"):
        resolve(["token"], "shop", settings, {})


@pytest.mark.parametrize(("content", "said"), [
    (b"1234567\n", "shorter than 8"), (b"", "shorter than 8"), (b"            ", "shorter than 8"),
    (b"hidden-\xff\xfe-hidden", "no UTF-8"), (b"hidden\0hidden", "no UTF-8"), (b"hidden" * 20_000, "at most 65536")])
def test_a_value_that_could_not_be_scrubbed_is_refused_without_being_told(settings, content, said):
    put(settings, "shop/token").write_bytes(content)
    with pytest.raises(TenantAccessError, match=said) as error:
        resolve(["token"], "shop", settings, {})
    assert "secrets/shop/token" in str(error.value)
    assert not content.strip() or content.decode(errors="replace").strip()[:7] not in everything_said(error.value).replace(str(settings.key_file), "")


# ---- the key ring ----
class Ring:
    def __init__(self, **entries):
        self.entries = entries

    def get_password(self, service, entry):
        return self.entries.get(f"{service}: {entry}")


def test_the_key_ring_is_the_last_place_and_only_where_the_master_key_is(settings, monkeypatch):
    ring = Ring(**{"tenant-lab: secret shop/token": "from the key ring"})
    monkeypatch.setattr("importlib.import_module", lambda name: ring if name == "keyring" else pytest.fail(name))
    with pytest.raises(TenantAccessError):
        resolve(["token"], "shop", settings, {})
    ringed = load_settings(environ={"TENANT_LAB_KEY_SOURCE": "keyring", "TENANT_LAB_KEY_FILE": str(settings.key_file)})
    assert resolve(["token"], "shop", ringed, {}) == {"token": "from the key ring"}
    with pytest.raises(TenantAccessError, match="the key ring's entry 'tenant-lab', 'secret label/token'"):
        resolve(["token"], "label", ringed, {})
    put(settings, "shop/token", "from the file")
    assert resolve(["token"], "shop", ringed, {}) == {"token": "from the file"}


# ---- nothing shows them ----
def test_no_repr_shows_a_value(settings, caplog):
    found = resolve(["token"], "shop", settings, {variable("token"): VALUE})
    assert isinstance(found, dict) and found["token"] == VALUE
    logging.getLogger("x").warning("%s %r", found, found)
    said = [repr(found), str(found), f"{found}", pprint.pformat(found), repr(Scrubber(found)), repr([found]), caplog.text]
    assert all("token" in text or not text for text in said)
    assert not any(VALUE in text or json.dumps(VALUE)[1:-1] in text for text in said)


# ---- scrubbing ----
FORMS = {
    "itself": VALUE, "JSON": json.dumps({"k": VALUE}), "JSON of JSON": json.dumps(json.dumps({"k": VALUE}, ensure_ascii=False)),
    "unescaped JSON": json.dumps({"k": VALUE}, ensure_ascii=False), "Python": repr({"k": VALUE}), "bytes": repr(VALUE.encode()),
    "HTML": html.escape(VALUE), "HTML text": html.escape(VALUE, quote=False), "path": quote(VALUE), "component": quote(VALUE, safe=""),
    "small percent": quote(VALUE, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3C", "%3c").replace(
        "%3E", "%3e").replace("%3D", "%3d").replace("%E2%82%AC", "%e2%82%ac"),
    "form": urlencode({"key": VALUE}), "hex": VALUE.encode().hex(), "HEX": VALUE.encode().hex().upper(), "hex:": VALUE.encode().hex(":"),
    "JavaScript": quote(VALUE, safe="!~*'()"), "whole address": quote(VALUE, safe="!#$%&'()*+,/:;=?@[]~")}


@pytest.mark.parametrize("name", FORMS)
def test_every_usual_form_is_replaced(name):
    shown = scrub(f"before {FORMS[name]} after", {"token": VALUE})
    assert "‹secret token›" in shown and shown.startswith("before ") and shown.endswith(" after")
    assert not any(part in shown for part in ("s3cr", "7333637", "lu€"))


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_wherever_it_stands_in_a_longer_text(before, after, encode):
    whole = encode(b"u" * before + VALUE.encode() + b":" * after).decode()
    shown = scrub(f"Authorization: Basic {whole}", {"token": VALUE})
    assert "‹secret token›" in shown
    # what is left of the encoded text is at most the characters that mix with its neighbours
    left = shown.removeprefix("Authorization: Basic ").split("‹secret token›")
    assert len("".join(left).rstrip("=")) <= len(encode(b"u" * before)) + len(encode(b":" * after)) + 2
    assert "‹secret token›" in scrub(quote(encode(VALUE.encode()).decode(), safe=""), {"token": VALUE})


def test_what_is_no_secret_stays_as_it_is():
    content = {"a": [1, 2.5, None, True, "text", {"b": "€"}], "c": ["x", "y"]}
    assert scrub(content, {"token": VALUE}) == content
    assert scrub("plain", {}) == "plain"
    assert scrub(VALUE[:-1], {"token": VALUE}) == VALUE[:-1]


def test_keys_values_and_bytes_of_nested_content_are_searched():
    content = {VALUE: [{"deep": (f"x{VALUE}", 1)}], "log": f"\n{VALUE}\n".encode() + b"\xff"}
    shown = scrub(content, {"token": VALUE})
    assert shown == {"‹secret token›": [{"deep": ["x‹secret token›", 1]}], "log": "\n‹secret token›\n".encode() + b"\xff"}


def test_a_notebook_stays_a_notebook():
    cell = nbformat.v4.new_code_cell(f"token = {VALUE!r}")
    cell.outputs = [nbformat.v4.new_output("stream", text=f"{VALUE}\n"),
                    nbformat.v4.new_output("error", ename="E", evalue=VALUE, traceback=[f"\x1b[31mE\x1b[0m: {VALUE}"])]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    shown = Scrubber({"token": VALUE})(notebook)
    nbformat.validate(shown)
    assert "s3cr" not in nbformat.writes(shown) and "s3cr" in nbformat.writes(notebook)
    assert shown.cells[0].outputs[0].text == "‹secret token›\n"


def test_of_two_secrets_the_longer_one_is_replaced_whole():
    secrets = {"short": "abcdefgh", "long": "abcdefghijkl"}
    for order in (secrets, dict(reversed(secrets.items()))):
        assert scrub("abcdefghijkl abcdefgh", order) == "‹secret long› ‹secret short›"


def test_a_name_that_is_another_secrets_value_is_not_scrubbed_out_of_its_label():
    assert scrub("xxxxxxxxx", {"password": "xxxxxxxxx", "other": "password"}) == "‹secret password›"


def test_each_line_of_a_long_value_is_a_secret():
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n  hkiG9w0BAQEFAASC  \nab\n-----END KEY-----"
    shown = scrub("the second line is MIIEvQIBADANBgkq, the third hkiG9w0BAQEFAASC, ab", {"key": key})
    assert shown == "the second line is ‹secret key›, the third ‹secret key›, ab"
    assert scrub(json.dumps(key), {"key": key}) == '"‹secret key›"'


def test_a_secret_of_digits_is_found_in_numbers():
    assert scrub([4242424242, 42, 0.4242424242, True, None], {"pin": "4242424242"}) == ["‹secret pin›", 42, "0.‹secret pin›", True, None]


def test_a_pattern_in_a_secret_is_only_text():
    assert scrub("aaaaaaaaaaaa", {"token": ".*a+(b|c)[d]$"}) == "aaaaaaaaaaaa"


@pytest.mark.parametrize("value", ["", "x" * (SHORTEST - 1), " " * 20, "hidden\udcffhidden", "hidden\0hidden"])
def test_a_value_that_cannot_be_scrubbed_is_said_by_name_only(value):
    with pytest.raises(ParameterError, match="secret token is") as error:
        Scrubber({"token": value})
    assert "hidden" not in everything_said(error.value)


def test_a_scrubber_of_nothing_changes_nothing():
    assert Scrubber({})({"a": "b"}) == {"a": "b"}
    assert Scrubber(Secrets())("") == ""


def test_quote_plus_of_a_space_is_found():
    assert scrub(quote_plus("two words here"), {"token": "two words here"}) == "‹secret token›"
