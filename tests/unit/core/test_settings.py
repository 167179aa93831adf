"""Settings: names, precedence, and messages that say key, file and what is allowed."""

from pathlib import Path

import pytest

from tenant_lab.core.errors import ParameterError
from tenant_lab.core.settings import (
    SETTINGS,
    Setting,
    load_settings,
    read_environment,
    read_settings_file,
    shipped,
)

ALIASES = [  # variable, key, text, value
    ("ANALYTICS_CACHE_BACKEND", "cache_backend", "redis", "redis"),
    ("ANALYTICS_STREAM_BACKEND", "stream_backend", "kafka", "kafka"),
    ("ANALYTICS_DB_BACKEND", "db_backend", "clickhouse", "clickhouse"),
    ("ANALYTICS_WORKERS", "workers", "8", 8),
    ("ML_STORAGE_BACKEND", "ml_storage_backend", "s3", "s3"),
    ("ML_GPU_ENABLED", "ml_gpu_enabled", "true", True),
    ("ML_AUTO_SCALING", "ml_auto_scaling", "yes", True),
    ("ML_MONITORING_ENABLED", "ml_monitoring_enabled", "1", True),
    ("ML_DISTRIBUTED_TRAINING", "ml_distributed_training", "on", True),
    ("ML_WORKERS", "ml_workers", "4", 4),
    ("CACHE_TTL", "cache_ttl", "60", 60),
]


def write(folder: Path, *lines: str, section: str = "tenant_lab") -> Path:
    path = folder / "settings.ini"
    path.write_text("\n".join((f"[{section}]", *lines)) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("variable", "key", "text", "value"), ALIASES)
def test_every_alias_is_read(tmp_path, variable, key, text, value):
    assert load_settings(tmp_path, {}).values[key] != value  # else the test could not fail
    settings = load_settings(tmp_path, {variable: text})
    assert getattr(settings, key) == value
    assert type(getattr(settings, key)) is type(value)
    assert settings.source[key] == variable


def test_the_list_of_aliases_is_whole():
    assert {a for s in SETTINGS.values() for a in s.aliases} == {a[0] for a in ALIASES}


@pytest.mark.parametrize(("variable", "key", "text", "value"), ALIASES)
def test_our_own_variable_beats_the_alias(tmp_path, variable, key, text, value):
    settings = load_settings(tmp_path, {variable: "not even valid", f"TENANT_LAB_{key.upper()}": text})
    assert getattr(settings, key) == value
    assert settings.source[key] == f"TENANT_LAB_{key.upper()}"


def test_environment_beats_working_folder_beats_shipped(tmp_path):
    plain = load_settings(tmp_path, {})
    assert plain.source["workers"] == str(shipped("settings.ini"))
    path = write(tmp_path, "workers = 3", "cache_ttl = 7")
    folder = load_settings(tmp_path, {})
    assert (folder.workers, folder.source["workers"]) == (3, str(path))
    assert folder.memory_limit == plain.memory_limit  # key by key
    both = load_settings(tmp_path, {"ANALYTICS_WORKERS": "5"})
    assert (both.workers, both.cache_ttl) == (5, 7)


def test_the_working_folder_is_the_current_one_by_default(tmp_path, monkeypatch):
    write(tmp_path, "workers = 11")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENANT_LAB_USER", "someone")
    assert load_settings().workers == 11
    assert load_settings().user == "someone"


@pytest.mark.parametrize("text", ["[DEFAULT]\nlib_path = x\n", "[settings]\nhome = elsewhere\nunknown = 1\n", ""])
def test_somebody_elses_file_is_passed_over(tmp_path, text):
    (tmp_path / "settings.ini").write_text(text)
    settings = load_settings(tmp_path, {})
    assert settings == load_settings(tmp_path / "nowhere", {})


@pytest.mark.parametrize("line", ["memory = 2GB", "HOMES = x"])
def test_unknown_key_names_key_file_and_what_is_allowed(tmp_path, line):
    path = write(tmp_path, line)
    with pytest.raises(ParameterError) as caught:
        load_settings(tmp_path, {})
    for part in (line.split(" = ")[0].lower(), str(path), "memory_limit"):
        assert part in str(caught.value)


def test_unknown_variable_is_named():
    with pytest.raises(ParameterError, match="TENANT_LAB_WORKER;.*TENANT_LAB_WORKERS"):
        read_environment({"TENANT_LAB_WORKER": "1"})
    assert read_environment({"TENANT_LAB_MASTER_KEY": "secret", "PATH": "/bin"}) == {}  # a secret is no setting
    assert read_environment({"TENANT_LAB_SECRET_SHOP__CRM_TOKEN": "secret"}) == {}  # nor is a report's


@pytest.mark.parametrize("variable", ["TENANT_LAB_SECRETS", "TENANT_LAB_SECRET", "TENANT_LAB_MASTER_KEY_2"])
def test_a_variable_that_only_looks_like_a_secrets_is_a_mistake(variable):
    with pytest.raises(ParameterError, match=f"unknown environment variable {variable}"):
        read_environment({variable: "x"})


@pytest.mark.parametrize(("key", "text"), [("isolation", "files, network"), ("preload", "numpy,scipy.stats")])
def test_the_engines_settings_are_texts_and_empty_by_default(tmp_path, key, text):
    assert getattr(load_settings(tmp_path, {}), key) == ""
    assert getattr(load_settings(tmp_path, {f"TENANT_LAB_{key.upper()}": text}), key) == text
    assert load_settings(tmp_path, {f"TENANT_LAB_{key.upper()}": text}).use(key) == text


BAD = [("workers = -1", "whole numbers from 0"), ("workers = 2.5", "whole numbers from 0"), ("workers = ²", "whole numbers"),
       ("workers =", "whole numbers"), ("cache_ttl = 0", "whole numbers from 1"), ("ml_gpu_enabled = perhaps", "true and false"),
       ("engine = spark", "duckdb, pyspark"), ("cache_backend = memcached", "none, memory, redis"),
       ("key_source = vault", "file, environment, keyring"), ("home =", "a path is needed"), ("stream_backend =", "kafka")]


@pytest.mark.parametrize(("line", "allowed"), BAD)
def test_bad_value_names_key_file_and_what_is_allowed(tmp_path, line, allowed):
    path = write(tmp_path, line)
    with pytest.raises(ParameterError) as caught:
        load_settings(tmp_path, {})
    for part in (line.split("=")[0].strip(), str(path), allowed):
        assert part in str(caught.value)


@pytest.mark.parametrize("data", [b"home = x\n", b"[tenant_lab]\nhome = a\nhome = b\n", b"[tenant_lab]\nuser = \xff\n"])
def test_unreadable_file_is_named(tmp_path, data):
    path = tmp_path / "settings.ini"
    path.write_bytes(data)
    with pytest.raises(ParameterError, match="settings.ini is not a readable settings file"):
        read_settings_file(path)


def test_a_percent_sign_is_only_a_percent_sign(tmp_path):
    write(tmp_path, "user = 50%s %(home)s")
    assert load_settings(tmp_path, {}).user == "50%s %(home)s"


def test_a_path_may_start_at_the_persons_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(tmp_path, {"TENANT_LAB_HOME": "~/here"}).home == tmp_path / "here"


@pytest.mark.parametrize(("key", "value", "package"), [
    ("cache_backend", "redis", "redis"), ("stream_backend", "kafka", "confluent_kafka"), ("stream_backend", "redis", "redis"),
    ("db_backend", "postgresql", "psycopg"), ("db_backend", "clickhouse", "clickhouse_connect"),
    ("ml_storage_backend", "s3", "boto3"), ("engine", "pyspark", "pyspark"), ("executor", "dask", "distributed"),
    ("key_source", "keyring", "keyring")])
def test_missing_back_end_names_key_source_package_and_the_way_out(tmp_path, monkeypatch, key, value, package):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    settings = load_settings(tmp_path, {f"TENANT_LAB_{key.upper()}": value})
    with pytest.raises(ParameterError) as caught:
        settings.use(key)
    without = [v for v in SETTINGS[key].allowed if v not in SETTINGS[key].needs]
    for part in (f"{key} = {value}", f"TENANT_LAB_{key.upper()}", repr(package), "not installed", *without):
        assert part in str(caught.value)


def test_a_back_end_that_is_installed_but_not_served_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: object())
    settings = load_settings(tmp_path, {"ANALYTICS_CACHE_BACKEND": "redis"})
    with pytest.raises(ParameterError, match="cache_backend = redis in ANALYTICS_CACHE_BACKEND is not served.*served: none"):
        settings.use("cache_backend")
    assert settings.use("engine") == "duckdb"


def test_without_effect_lists_what_nothing_acts_upon(tmp_path):
    always = ["cache_ttl", "ml_workers"]  # no value of theirs has an effect yet
    assert load_settings(tmp_path, {}).without_effect() == always
    found = load_settings(tmp_path, {"ML_GPU_ENABLED": "true", "ANALYTICS_CACHE_BACKEND": "memory"}).without_effect()
    assert set(found) == {*always, "ml_gpu_enabled", "cache_backend"}


def test_an_unknown_attribute_is_an_attribute_error(tmp_path):
    settings = load_settings(tmp_path, {})
    with pytest.raises(AttributeError, match="no setting 'memory'.*memory_limit"):
        _ = settings.memory
    with pytest.raises(AttributeError):
        _ = settings.__wrapped__  # tools ask for such names


def test_an_incomplete_shipped_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "shipped.ini").write_text("[tenant_lab]\nhome = x\n")
    monkeypatch.setattr("tenant_lab.core.settings.shipped", lambda name: tmp_path / "shipped.ini")
    with pytest.raises(ParameterError, match="shipped.ini lacks the setting 'key_source'"):
        load_settings(tmp_path, {})


def test_shipped_finds_the_wheels_folder_first(tmp_path, monkeypatch):
    package = tmp_path / "tenant_lab"
    (package / "shipped" / "reports").mkdir(parents=True)
    monkeypatch.setattr("tenant_lab.__path__", [str(package)])
    assert shipped("reports") == package / "shipped" / "reports"
    assert shipped("settings.ini") == tmp_path / "settings.ini"


def test_blanks_around_a_number_do_not_matter():
    assert Setting("x", "integer", minimum=2).parse(" 2 ", "here") == 2
