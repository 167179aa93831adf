"""Keys against the standard library and published vectors, tampering, and where the master key comes from."""

import base64
import copy
import hashlib
import hmac
import os
import pickle
import stat
import subprocess
import sys
import types

import duckdb
import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from tenant_lab.core.errors import ParameterError, TenantAccessError
from tenant_lab.core.settings import load_settings
from tenant_lab.tenancy import keys as module
from tenant_lab.tenancy.ingest import pseudonym_sql, set_keys
from tenant_lab.tenancy.keys import (
    PSEUDONYM_BYTES,
    VARIABLE,
    TenantKeys,
    create_key_file,
    derive,
    key_id,
    master_key,
    read_key_file,
    unwrap,
    wrap,
)

KEY = bytes(range(32))
ODD_IDS = ["", "a", "007", "7", " 7 ", "é", "ｆｕｌｌ", "日本語", "🎵" * 30, "x" * 5000, "a\0b", "a'b\"c;--", "\n", "None"]


def hkdf_by_hand(secret: bytes, info: bytes) -> bytes:
    """RFC 5869, sections 2.2 and 2.3, for one block of SHA-256 and no salt."""
    extracted = hmac.digest(b"\0" * 32, secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


# ---- derivation and wrapping ----
def test_derive_is_hkdf_of_the_rfc():
    assert derive(KEY, "fields") == hkdf_by_hand(KEY, b"tenant-lab fields v1")
    # the helper itself, against RFC 5869, appendix A.3 (no salt, no info): the first block of its output
    assert hkdf_by_hand(b"\x0b" * 22, b"").hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"


def test_purposes_give_unlike_keys():
    assert len({derive(KEY, p) for p in ("fields", "pseudonyms", "wrapping", "key id")}) == 4


def test_wrap_is_rfc_3394_under_the_derived_key():
    # RFC 3394, section 4.6: 256 bits of key data with a 256-bit key
    kek = bytes.fromhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")
    data = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
    assert aes_key_wrap(kek, data).hex().upper() == ("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43B"
                                                     "FB988B9B7A02DD21")
    assert base64.b64decode(wrap(KEY, data)) == aes_key_wrap(hkdf_by_hand(KEY, b"tenant-lab wrapping v1"), data)
    assert aes_key_unwrap(derive(KEY, "wrapping"), base64.b64decode(wrap(KEY, data))) == data


def test_unwrap_undoes_wrap_and_nothing_else_opens_it():
    data = os.urandom(32)
    wrapped = wrap(KEY, data)
    assert unwrap(KEY, wrapped) == data
    raw = bytearray(base64.b64decode(wrapped))
    raw[5] ^= 1
    for master, text in ((b"\1" * 32, wrapped), (KEY, base64.b64encode(raw).decode()), (KEY, "not base64 ä"), (KEY, ""), (KEY, "AAAA")):
        with pytest.raises(TenantAccessError, match="this master key does not open"):
            unwrap(master, text)


def test_key_id_is_short_and_tells_nothing():
    assert key_id(KEY) == hkdf_by_hand(KEY, b"tenant-lab key id v1")[:6].hex()
    assert key_id(KEY) != key_id(b"\1" * 32)


# ---- fields ----
@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_data_key_has_32_bytes(size):
    with pytest.raises(ParameterError, match=f"32 bytes, not {size}"):
        TenantKeys(b"k" * size)


def test_seal_and_unseal():
    keys, values = TenantKeys(KEY), [*ODD_IDS, None, "Ada Lovelace"]
    sealed = keys.seal(values, "customers.name")
    assert keys.unseal(sealed, "customers.name") == values
    assert TenantKeys(KEY).unseal([bytearray(s) if s else s for s in sealed], "customers.name") == values
    assert sealed[-2] is None and b"Lovelace" not in sealed[-1]
    assert len(sealed[-1]) == 12 + len("Ada Lovelace") + 16  # nonce, text, tag


def test_equal_values_are_sealed_unlike():
    sealed = TenantKeys(KEY).seal(["same"] * 500, "customers.name")
    assert len(set(sealed)) == 500
    assert len({s[:12] for s in sealed}) == 500  # a nonce used twice would break AES-GCM


@pytest.mark.parametrize("position", [0, 11, 12, 15, -1])
def test_one_changed_bit_is_found(position):
    keys = TenantKeys(KEY)
    sealed = bytearray(keys.seal(["Ada"], "customers.name")[0])
    sealed[position] ^= 1
    with pytest.raises(TenantAccessError, match="were changed"):
        keys.unseal([bytes(sealed)], "customers.name")


@pytest.mark.parametrize("cut", [0, 5, 12, 20])
def test_a_value_cut_short_is_found(cut):
    keys = TenantKeys(KEY)
    with pytest.raises(TenantAccessError, match="customers.name"):
        keys.unseal([keys.seal(["Ada"], "customers.name")[0][:cut]], "customers.name")


def test_another_column_or_tenant_does_not_open_it():
    keys = TenantKeys(KEY)
    sealed = keys.seal(["Ada"], "customers.name")
    for other, column in ((keys, "customers.email"), (TenantKeys(b"\1" * 32), "customers.name")):
        with pytest.raises(TenantAccessError):
            other.unseal(sealed, column)


def test_keys_show_nothing_and_are_not_pickled():
    keys = TenantKeys(KEY)
    shown = f"{keys!r} {keys} {keys!s}"
    assert "TenantKeys(…)" in shown
    for secret in (KEY, derive(KEY, "fields"), derive(KEY, "pseudonyms")):
        assert secret.hex() not in shown and base64.b64encode(secret).decode() not in shown and repr(secret) not in shown
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            way(keys)


# ---- pseudonyms ----
def expected(raw: str) -> str:
    digest = hmac.digest(hkdf_by_hand(KEY, b"tenant-lab pseudonyms v1"), raw.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:PSEUDONYM_BYTES]).decode()


@pytest.mark.parametrize("raw", ODD_IDS)
def test_pseudonym_is_hmac_sha256_of_the_standard_library(raw):
    assert TenantKeys(KEY).pseudonym(raw) == expected(raw)


@pytest.mark.parametrize("raw", [0, 7, -3, 2**70])
def test_a_whole_number_means_its_text(raw):
    assert TenantKeys(KEY).pseudonym(raw) == expected(str(raw))


@pytest.mark.parametrize("raw", [1.0, True, None, b"7", ["7"]])
def test_no_other_type_is_an_id(raw):
    with pytest.raises(ParameterError, match="an id is a text or a whole number"):
        TenantKeys(KEY).pseudonym(raw)


def test_the_engines_pseudonyms_are_pythons():
    connection = duckdb.connect()
    set_keys(connection, TenantKeys(KEY))
    connection.execute("CREATE TABLE t (i INTEGER, id VARCHAR)")
    ids = [*ODD_IDS, *(str(i) for i in range(-50, 200)), None]
    connection.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(ids)))
    got = connection.execute(f"SELECT {pseudonym_sql('id')} FROM t ORDER BY i").fetchall()
    assert [g[0] for g in got] == [None if i is None else expected(i) for i in ids]


def test_pads_are_those_of_rfc_2104():
    inner, outer = TenantKeys(KEY).hmac_pads()
    message = b"what the RFC calls text"
    by_pads = hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).digest()
    assert by_pads == hmac.digest(derive(KEY, "pseudonyms"), message, "sha256")


# ---- the master key's file ----
def test_a_new_file_is_the_owners_alone_and_stays(tmp_path):
    path = tmp_path / "new" / "folder" / "master.key"
    key = create_key_file(path)
    assert len(key) == 32 and read_key_file(path) == key == base64.b64decode(path.read_bytes())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    assert os.listdir(path.parent) == ["master.key"]
    assert create_key_file(path) == key  # another process was first


def test_a_loose_umask_does_not_open_the_file(tmp_path):
    before = os.umask(0)
    try:
        create_key_file(tmp_path / "k")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644, 0o610])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode):
    path = tmp_path / "k"
    create_key_file(path)
    path.chmod(mode)
    with pytest.raises(TenantAccessError, match=f"{mode:04o}.*chmod 600") as caught:
        read_key_file(path)
    assert path.read_text() not in str(caught.value)
    path.chmod(0o400)
    assert len(read_key_file(path)) == 32


@pytest.mark.parametrize("text", ["", "short", "A" * 43, base64.b64encode(b"x" * 31).decode(), "é" * 44, base64.b64encode(b"x" * 64).decode()])
def test_what_is_no_key_is_named_and_not_shown(tmp_path, text):
    path = tmp_path / "k"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ParameterError, match="is not a master key.*make one with") as caught:
        read_key_file(path)
    assert not text or text not in str(caught.value)


def test_the_advice_makes_a_key():
    code = module._MAKE_ONE.removeprefix('make one with: python -c "').removesuffix('"')
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert len(module._decode(made, "there")) == 32


# ---- where it comes from ----
def settings_for(tmp_path, **values):
    environ = {"TENANT_LAB_KEY_FILE": str(tmp_path / "k"), **{f"TENANT_LAB_{k.upper()}": v for k, v in values.items()}}
    return load_settings(tmp_path, environ)


def test_file_source(tmp_path):
    settings = settings_for(tmp_path)
    with pytest.raises(TenantAccessError, match="no master key in .*Restore it from its backup"):
        master_key(settings, create=False, environ={})
    assert not (tmp_path / "k").exists()
    key = master_key(settings, create=True, environ={})
    assert master_key(settings, create=False) == key == read_key_file(tmp_path / "k")


def test_environment_source(tmp_path):
    settings = settings_for(tmp_path, key_source="environment")
    text = base64.b64encode(KEY).decode()
    assert master_key(settings, create=False, environ={VARIABLE: f" {text}\n"}) == KEY
    for environ in ({}, {VARIABLE: ""}):
        with pytest.raises(TenantAccessError, match=f"no master key in the variable {VARIABLE}"):
            master_key(settings, create=True, environ=environ)
    with pytest.raises(ParameterError, match=f"{VARIABLE} is not a master key") as caught:
        master_key(settings, create=True, environ={VARIABLE: "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "k").exists()


@pytest.fixture
def ring(monkeypatch):
    """A key ring in memory, in the place of the person's own."""
    stored: dict[tuple[str, str], str] = {}
    fake = types.ModuleType("keyring")
    fake.get_password = lambda service, name: stored.get((service, name))
    fake.set_password = lambda service, name, text: stored.__setitem__((service, name), text)
    fake.__spec__ = types.SimpleNamespace(name="keyring")  # find_spec looks here
    monkeypatch.setitem(sys.modules, "keyring", fake)
    return stored


def test_keyring_source(tmp_path, ring):
    settings = settings_for(tmp_path, key_source="keyring")
    with pytest.raises(TenantAccessError, match="no master key in the key ring"):
        master_key(settings, create=False)
    key = master_key(settings, create=True)
    assert ring == {("tenant-lab", "master key"): base64.b64encode(key).decode()}
    assert master_key(settings, create=False) == key
    ring["tenant-lab", "master key"] = "nonsense"
    with pytest.raises(ParameterError, match="key ring's entry 'tenant-lab' is not a master key"):
        master_key(settings, create=False)
    assert not (tmp_path / "k").exists()


def test_keyring_through_the_real_package(tmp_path):
    keyring = pytest.importorskip("keyring")
    from keyring.backend import KeyringBackend

    class Memory(KeyringBackend):
        priority = 1
        stored: dict[tuple[str, str], str] = {}

        def get_password(self, service, username):
            return self.stored.get((service, username))

        def set_password(self, service, username, password):
            self.stored[service, username] = password

        def delete_password(self, service, username):
            del self.stored[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(Memory())
    try:
        settings = settings_for(tmp_path, key_source="keyring")
        assert master_key(settings, create=True) == master_key(settings, create=False)
        assert list(Memory.stored) == [("tenant-lab", "master key")]
    finally:
        keyring.set_keyring(before)
