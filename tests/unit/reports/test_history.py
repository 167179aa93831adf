"""Past runs: an index that heals, what came before a run, which run is meant, and what may be thrown away."""
import json
import multiprocessing
import os
import stat
import time
from pathlib import Path

import pytest

from tenant_lab.core.errors import ParameterError, ReportError
from tenant_lab.reports import history
from tenant_lab.reports.history import INDEX, find_run, previous, prune, remember, run_of, runs, series, to_prune
from tenant_lab.tenancy.lab import Lab


@pytest.fixture
def lab(tmp_path):
    return Lab.open(tmp_path / "home")


@pytest.fixture
def base(lab) -> Path:
    return lab.home / "reports" / "sales" / "shop"


def manifest(as_of: str, run_id: str, **more) -> dict:
    return {"report": "sales", "tenant": "shop", "run_id": run_id, "as_of": as_of, "status": "ok", "finished": f"{as_of[:10]}T20:00:00+00:00",
            "parameter_hash": "p1", "previous": None, **more}


def value(name="Revenue", number=10.0, unit="EUR", headline=True) -> dict:
    return {"name": name, "value": number, "unit": unit, "headline": headline, "change": None}


def publish(base: Path, as_of: str, run_id: str, number=10.0, remembered=True, name="", **more) -> Path:
    """A run's folder, as the runner publishes it."""
    folder = base / as_of.replace(":", "") / (name or run_id)
    folder.mkdir(parents=True, exist_ok=True)
    told, values = manifest(as_of, run_id, **more), [value(number=number), value("Quiet", 1, headline=False)]
    (folder / "manifest.json").write_text(json.dumps(told))
    (folder / "values.json").write_text(json.dumps(values))
    if remembered:
        remember(base, told, values, folder)
    return folder


def point(base: Path, link: str, folder: Path) -> None:
    (base / link).unlink(missing_ok=True)
    (base / link).symlink_to(folder.relative_to(base))


def ids(found) -> list[str]:
    return [e["run_id"] for e in found]


def lines(base: Path) -> list[bytes]:
    return (base / INDEX).read_bytes().splitlines()


# -- the index ---------------------------------------------------------------------------------------------------------

def test_a_run_is_one_line_with_its_headline_figures(base):
    publish(base, "2024-06-30", "aaaaaa01", 12.5, previous="bbbbbb01")
    (line,) = lines(base)
    assert json.loads(line) == {"run_id": "aaaaaa01", "as_of": "2024-06-30", "status": "ok", "finished": "2024-06-30T20:00:00+00:00",
                                "folder": "2024-06-30/aaaaaa01", "parameters": "p1", "previous": "bbbbbb01",
                                "figures": [{"name": "Revenue", "value": 12.5, "unit": "EUR"}]}


def test_the_same_run_is_remembered_once_and_a_repetition_replaces_it(base):
    for number in (1, 2):
        publish(base, "2024-06-30", "aaaaaa01", number)
    assert len(lines(base)) == 1
    publish(base, "2024-06-30", "aaaaaa01", 3, finished="2024-08-01T00:00:00+00:00")
    assert len(lines(base)) == 2
    assert [(e["finished"][:10], e["figures"][0]["value"]) for e in runs(base)] == [("2024-08-01", 3)]


def test_a_forced_run_that_failed_does_not_hide_the_good_one(base):
    publish(base, "2024-06-30", "aaaaaa01")
    publish(base, "2024-06-30", "aaaaaa01", name="aaaaaa01-failed", status="failed", finished="2024-08-01T00:00:00+00:00")
    assert [(e["folder"], e["status"]) for e in runs(base)] == [("2024-06-30/aaaaaa01", "ok"), ("2024-06-30/aaaaaa01-failed", "failed")]
    assert ids(previous(base, "2024-07-31")) == ["aaaaaa01"]


def test_runs_come_in_the_order_in_which_they_finished(base):
    publish(base, "2024-06-30", "aaaaaa02")
    publish(base, "2024-05-31", "aaaaaa03", finished="2024-09-01T00:00:00+00:00")
    publish(base, "2024-04-30", "aaaaaa01")
    assert ids(runs(base)) == ["aaaaaa01", "aaaaaa02", "aaaaaa03"]


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_cut_short_is_healed_and_the_next_one_is_whole(base, cut):
    publish(base, "2024-05-31", "aaaaaa01")
    publish(base, "2024-06-30", "aaaaaa02")
    path = base / INDEX
    path.write_bytes(path.read_bytes()[:-cut])
    publish(base, "2024-07-31", "aaaaaa03")
    assert [json.loads(line)["run_id"] for line in lines(base) if line.endswith(b"}")][-1] == "aaaaaa03"
    assert ids(runs(base)) == ["aaaaaa01", "aaaaaa02", "aaaaaa03"]


def test_a_run_killed_before_it_could_remember_is_found(base):
    publish(base, "2024-05-31", "aaaaaa01")
    publish(base, "2024-06-30", "aaaaaa02", remembered=False)
    assert ids(previous(base, "2024-12-31")) == ["aaaaaa01", "aaaaaa02"]
    assert len(lines(base)) == 2  # and written down


def test_a_run_published_in_the_tick_of_the_last_look_is_found(base):
    publish(base, "2024-05-31", "aaaaaa01")
    now = time.time_ns()
    for path in (base / INDEX, base):
        os.utime(path, ns=(now, now))
    assert len(runs(base)) == 1
    publish(base, "2024-06-30", "aaaaaa02", remembered=False)
    os.utime(base, ns=(now, now))
    assert len(runs(base)) == 2


def test_one_killed_under_a_day_with_runs_is_found_by_the_next_run(base):
    publish(base, "2024-05-31", "aaaaaa01")
    publish(base, "2024-05-31", "aaaaaa02", remembered=False)
    os.utime(base, (10**9, 10**9))  # `base` itself has not changed for long
    assert ids(runs(base)) == ["aaaaaa01"]
    publish(base, "2024-06-30", "aaaaaa03")
    assert sorted(ids(runs(base))) == ["aaaaaa01", "aaaaaa02", "aaaaaa03"]


def test_a_missing_index_is_made_again_from_the_folders(base):
    for day in ("2024-05-31", "2024-06-30"):
        publish(base, day, f"aaaaaa{day[5:7]}", 7)
    before = runs(base)
    (base / INDEX).unlink()
    assert runs(base) == before and len(lines(base)) == 2


def test_folders_that_are_gone_are_no_runs(base):
    import shutil
    publish(base, "2024-05-31", "aaaaaa01")
    shutil.rmtree(publish(base, "2024-06-30", "aaaaaa02"))
    assert ids(runs(base)) == ids(previous(base, "2024-12-31")) == ["aaaaaa01"]


def test_strange_folders_and_lines_are_passed_over_and_not_written_again_and_again(base):
    publish(base, "2024-05-31", "aaaaaa01")
    for name, content in (("x/1", "{}"), ("x/2", "[]"), ("x/3", "{"), ("x/4", json.dumps(manifest("June", "aaaaaa04"))),
                          ("x/5", json.dumps(manifest("2024-06-30", 5))), (".hidden/6", json.dumps(manifest("2024-06-30", "aaaaaa06")))):
        (base / name).mkdir(parents=True)
        (base / name / "manifest.json").write_text(content)
        (base / name / "values.json").write_text("[]")
    (base / "x/7").mkdir()
    (base / "x/file").write_text("")
    other = {**json.loads(lines(base)[0]), "folder": "../other/2024-05-31", "finished": "2025"}
    with (base / INDEX).open("a") as file:
        file.write(json.dumps(other) + "\nnull\n\n[]\n" + json.dumps({**other, "folder": "/etc/x"}) + "\n")
    (base.parent / "other/2024-05-31").mkdir(parents=True)
    size = (base / INDEX).stat().st_size
    for _ in range(3):
        (base / "touch").mkdir()
        (base / "touch").rmdir()
        assert ids(runs(base)) == ["aaaaaa01"]
    assert (base / INDEX).stat().st_size == size


def test_no_folder_and_no_runs_are_no_error_and_leave_nothing(base):
    assert runs(base) == previous(base, "2024-06-30") == [] and not base.exists()
    base.mkdir(parents=True)
    assert runs(base) == [] and list(base.iterdir()) == []


def test_who_may_only_read_gets_the_same_answer(base, monkeypatch):
    publish(base, "2024-05-31", "aaaaaa01")
    publish(base, "2024-06-30", "aaaaaa02", remembered=False)

    def refused(*_):
        raise PermissionError(13, "read-only")
    monkeypatch.setattr(history, "_locked", refused)  # root may write anywhere
    assert ids(runs(base)) == ["aaaaaa01", "aaaaaa02"] and len(lines(base)) == 1


def test_folders_are_looked_through_only_when_something_changed(base, monkeypatch):
    publish(base, "2024-05-31", "aaaaaa01")
    for path in (base / INDEX, base):
        os.utime(path, (10**9, 10**9))  # an hour is not waited for
    looked, found = [], history._unlisted
    monkeypatch.setattr(history, "_unlisted", lambda *given: looked.append(1) or found(*given))
    for _ in range(3):
        assert len(previous(base, "2024-06-30")) == 1
    assert len(looked) == 1
    publish(base, "2024-06-30", "aaaaaa02", remembered=False)
    assert len(previous(base, "2024-07-31")) == 2 and len(looked) > 1


def _remember_many(base, start):
    for i in range(start, start + 20):
        publish(base, f"2024-01-{i % 28 + 1:02d}", f"{i:08x}")


def test_processes_that_finish_together_lose_no_line(base):
    base.mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=_remember_many, args=(base, start)) for start in (0, 100, 200)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    written = [json.loads(line) for line in lines(base)]
    assert sorted(e["run_id"] for e in written) == sorted(f"{i:08x}" for s in (0, 100, 200) for i in range(s, s + 20))


def test_the_lock_is_taken_again_when_the_file_was_replaced_meanwhile(base, monkeypatch):
    publish(base, "2024-05-31", "aaaaaa01")
    path, flock, replaced = base / INDEX, history.fcntl.flock, []

    def slow(descriptor, how):
        flock(descriptor, how)
        if not replaced:  # as `prune` does while we wait
            replaced.append(path.read_bytes())
            path.with_name("new").write_bytes(replaced[0])
            path.with_name("new").replace(path)
    monkeypatch.setattr(history.fcntl, "flock", slow)
    publish(base, "2024-06-30", "aaaaaa02")
    assert [json.loads(line)["run_id"] for line in lines(base)] == ["aaaaaa01", "aaaaaa02"]


# -- what came before --------------------------------------------------------------------------------------------------

def test_previous_are_good_earlier_and_one_for_each_as_of(base):
    publish(base, "2024-03-31", "aaaaaa01", 1)
    publish(base, "2024-04-30", "aaaaaa03", 3)
    publish(base, "2024-04-30", "aaaaaa02", 2, finished="2024-09-09T00:00:00+00:00")  # made late, still April's
    publish(base, "2024-04-30", "aaaaaa08", 8, finished="2024-09-08T00:00:00+00:00")
    publish(base, "2024-05-31", "aaaaaa04", 4, status="failed")
    publish(base, "2024-06-30", "aaaaaa05", 5)
    publish(base, "2024-07-31", "aaaaaa06", 6)
    assert ids(previous(base, "2024-06-30")) == ["aaaaaa01", "aaaaaa02"]
    assert ids(previous(base, "2024-12-31", count=2)) == ["aaaaaa05", "aaaaaa06"]
    assert series(previous(base, "2024-12-31"), "Revenue", "EUR") == [("2024-03-31", 1), ("2024-04-30", 2), ("2024-06-30", 5), ("2024-07-31", 6)]


def test_when_the_last_of_an_as_of_is_gone_the_one_before_counts(base):
    import shutil
    publish(base, "2024-04-30", "aaaaaa01")
    shutil.rmtree(publish(base, "2024-04-30", "aaaaaa02", finished="2024-09-09T00:00:00+00:00"))
    assert ids(previous(base, "2024-06-30")) == ["aaaaaa01"]


def test_days_and_instants_compare_in_the_tenants_zone(base):
    """The end of 30 June is 18:30 UTC in Kolkata (UTC+5:30) and 24:00 UTC in UTC."""
    publish(base, "2024-06-30T19:00:00+00:00", "aaaaaa01")
    assert ids(previous(base, "2024-06-30", "UTC")) == ["aaaaaa01"]
    assert ids(previous(base, "2024-06-30", "Asia/Kolkata")) == []
    publish(base, "2024-06-29", "aaaaaa02")
    assert ids(previous(base, "2024-06-30T00:00", "Asia/Kolkata")) == []  # that instant is the end of the 29th
    assert ids(previous(base, "2024-06-30T00:01", "Asia/Kolkata")) == ["aaaaaa02"]


def test_runs_with_other_parameters_are_another_history(base):
    publish(base, "2024-04-30", "aaaaaa01", parameter_hash="weekly")
    publish(base, "2024-05-31", "aaaaaa02")
    assert ids(previous(base, "2024-06-30", parameters="weekly")) == ["aaaaaa01"]
    assert len(previous(base, "2024-06-30")) == 2


@pytest.mark.parametrize("as_of, zone, said", [("June", "UTC", "needs a day"), ("2024-06-30", "Mars", "time zone 'Mars'"), (None, "UTC", "needs a day")])
def test_a_wrong_as_of_or_zone_is_refused(base, as_of, zone, said):
    with pytest.raises(ParameterError, match=said):
        previous(base, as_of, zone)


def test_a_count_of_nothing_is_refused(base):
    publish(base, "2024-05-31", "aaaaaa01")
    with pytest.raises(ParameterError, match="count 0"):
        previous(base, "2024-06-30", count=0)


def test_a_series_holds_numbers_of_one_unit():
    past = [{"as_of": day, "figures": [{"name": "x", "value": v, "unit": unit}]}
            for day, v, unit in (("1", 1, "EUR"), ("2", "none", "EUR"), ("3", None, "EUR"), ("4", 4, "USD"), ("5", True, "EUR"), ("6", 6.5, "EUR"))]
    assert series(past, "x", "EUR") == [("1", 1), ("6", 6.5)] and series(past, "y", "EUR") == []


# -- which run ---------------------------------------------------------------------------------------------------------

def test_a_run_is_found_by_folder_digits_or_day(base, monkeypatch):
    root, one = base.parents[1], publish(base, "2024-05-31", "abcdef0123456789")
    two = publish(base, "2024-06-30T12:30:00+02:00", "abcdef9999999999")
    point(base, "latest", two)
    assert find_run(root, str(one)) == one and find_run(root, "abcdef01") == one and find_run(root, "abcdef9999999999") == two
    assert find_run(root, "sales/shop/2024-05-31") == one
    assert find_run(root, "sales/shop/2024-06-30T12:30:00+02:00") == find_run(root, "sales/shop/2024-06-30T123000+0200") == two
    assert find_run(root, "sales/shop") == find_run(root, "sales/shop/latest") == two
    monkeypatch.chdir(one.parent)
    assert find_run(root, "abcdef0123456789") == one


def test_of_one_day_the_last_good_run_is_meant_and_a_failed_one_where_there_is_no_other(base):
    root = base.parents[1]
    good = publish(base, "2024-05-31", "aaaaaa01")
    failed = publish(base, "2024-05-31", "aaaaaa01", name="aaaaaa01-failed", status="failed", finished="2024-08-01T00:00:00+00:00")
    assert run_of(root, "sales", "shop", "2024-05-31") == good == find_run(root, "aaaaaa01")
    assert find_run(root, "aaaaaa01-failed") == failed
    other = publish(base, "2024-06-30", "bbbbbb01", status="failed")
    assert run_of(root, "sales", "shop", "2024-06-30") == other == find_run(root, "bbbbbb")


@pytest.mark.parametrize("text, said", [
    ("aaaaaa", "2 runs begin so"), ("aaaaa", "six or more"), ("cccccccc", "there is none"), ("", "there is none"), ("../..", "report '..'"),
    ("sales/shop/2024-02-30", "there are 2024-05-31, 2024-06-30"), ("sales/nobody/2024-05-31", "there are no runs yet"),
    ("sales/shop/2024-05-31/x", "there is none"), ("*" * 7, "there is none"), ("x" * 5000, "there is none"), ("a\0b", "there is none")])
def test_what_means_no_run_or_several_is_refused(base, text, said):
    publish(base, "2024-05-31", "aaaaaa01")
    publish(base, "2024-06-30", "aaaaaa02")
    with pytest.raises(ParameterError, match=said):
        find_run(base.parents[1], text)


def test_a_report_without_a_good_run_has_no_latest(base):
    publish(base, "2024-05-31", "aaaaaa01", status="failed")
    with pytest.raises(ReportError, match="no good run of sales for shop yet"):
        run_of(base.parents[1], "sales", "shop")


# -- what may go -------------------------------------------------------------------------------------------------------

@pytest.fixture
def year(base):
    """Good runs for the ends of twelve months; `latest` and `last` are December's, compared with November's."""
    folders = {m: publish(base, f"2024-{m:02d}-28", f"aaaaaa{m:02d}", previous=f"aaaaaa{m - 1:02d}") for m in range(1, 13)}
    point(base, "latest", folders[12])
    point(base, "last", folders[12])
    return folders


@pytest.mark.parametrize("keep, gone", [(12, 0), (20, 0), (5, 7), (2, 10), (1, 10)])
def test_the_newest_days_stay_and_always_what_the_latest_was_compared_with(base, year, keep, gone):
    assert ids(to_prune(base, keep)) == [f"aaaaaa{m:02d}" for m in range(1, gone + 1)]


def test_days_count_and_of_one_day_the_last_run_of_each_parameters_stays(base, year):
    again = publish(base, "2024-12-28", "bbbbbb01", finished="2025-01-02T00:00:00+00:00")
    weekly = publish(base, "2024-12-28", "bbbbbb02", parameter_hash="weekly", finished="2025-01-03T00:00:00+00:00")
    point(base, "latest", again)
    point(base, "last", weekly)
    assert ids(to_prune(base, 11)) == ["aaaaaa01", "aaaaaa12"]  # December's first run is superseded
    point(base, "latest", year[12])
    assert ids(to_prune(base, 11)) == ["aaaaaa01"]  # it stays while a link needs it


def test_failed_runs_go_once_a_good_one_is_newer(base, year):
    publish(base, "2024-03-28", "ffffff01", status="failed")
    publish(base, "2024-12-28", "ffffff02", status="failed", finished="2024-12-27T00:00:00+00:00")
    publish(base, "2025-01-28", "ffffff03", status="failed")  # January, which nobody made well yet
    point(base, "last", year[12])
    publish(base, "2024-02-28", "ffffff04", status="failed", finished="2025-02-01T00:00:00+00:00")  # somebody tried February again
    assert sorted(ids(to_prune(base, 12))) == ["ffffff01", "ffffff02"]
    point(base, "latest", publish(base, "2024-12-28", "bbbbbb01", finished="2025-03-01T00:00:00+00:00", previous="aaaaaa11"))
    assert sorted(ids(to_prune(base, 12))) == ["ffffff01", "ffffff02", "ffffff04"]  # January is still to be made
    lone = base.with_name("lone")
    publish(lone, "2024-03-28", "ffffff05", status="failed")
    assert to_prune(lone, 1) == []


def test_what_last_points_to_stays(base, year):
    point(base, "last", year[3])  # January to April were made again, say
    assert "aaaaaa03" not in ids(to_prune(base, 2))


def test_pruning_removes_folders_empty_days_and_lines_and_writes_the_audit(lab, base, year):
    other = publish(base.with_name("other"), "2024-01-28", "cccccc01")
    before = len(list(lab.audit.read()))
    bytes_ = sum(p.stat().st_size for p in year[1].iterdir())
    removed = prune(lab, 3)
    assert [r["run_id"] for r in removed] == [f"aaaaaa{m:02d}" for m in range(1, 10)] and removed[0] == {
        "report": "sales", "tenant": "shop", "as_of": "2024-01-28", "run_id": "aaaaaa01", "status": "ok", "bytes": bytes_}
    assert sorted(p.name for p in base.iterdir() if p.is_dir() and not p.is_symlink()) == ["2024-10-28", "2024-11-28", "2024-12-28"]
    assert other.exists() and len(lines(base)) == 3 and ids(runs(base)) == ["aaaaaa10", "aaaaaa11", "aaaaaa12"]
    assert list((lab.home / "reports/.running").iterdir()) == []
    written = list(lab.audit.read())[before:]
    assert [(w["action"], w["tenant"], w["report"], w["run_id"], w["as_of"]) for w in written][0] == (
        "report pruned", "shop", "sales", "aaaaaa01", "2024-01-28") and len(written) == 9
    assert prune(lab, 3) == [] and len(list(lab.audit.read())) == before + 9


def test_a_dry_run_removes_nothing(lab, base, year):
    before = len(list(lab.audit.read()))
    assert len(prune(lab, 3, dry_run=True)) == 9
    assert all(f.exists() for f in year.values()) and len(list(lab.audit.read())) == before and len(lines(base)) == 12


def test_a_folder_leaves_in_one_step(lab, base, year, monkeypatch):
    """When deleting begins, the run is out of its place whole."""
    seen = []
    monkeypatch.setattr(history.shutil, "rmtree", lambda path, **_: seen.append((path.parent.name, sorted(p.name for p in path.iterdir()))))
    prune(lab, 11)
    assert seen == [(".running", ["manifest.json", "values.json"])] and not year[1].exists()


def test_a_run_that_somebody_else_removed_meanwhile_is_not_counted(lab, base, year, monkeypatch):
    import shutil
    rename = Path.rename

    def late(self, target):
        if self == year[1]:
            shutil.rmtree(self)
        return rename(self, target)
    monkeypatch.setattr(Path, "rename", late)
    assert [r["run_id"] for r in prune(lab, 10)] == ["aaaaaa02"]


def test_only_the_report_or_tenant_that_is_named(lab, base, year):
    for name in ("other", "third"):
        for day in ("2024-01-28", "2024-02-28"):
            publish(base.with_name(name), day, "dddddd" + day[5:7])
            publish(base.parents[1] / "plays" / name, day, "eeeeee" + day[5:7])

    def gone(**only):
        return {(r["report"], r["tenant"]) for r in prune(lab, 1, dry_run=True, **only)}
    assert gone(tenant="other") == {("sales", "other"), ("plays", "other")} and gone(report="plays") == {("plays", "other"), ("plays", "third")}
    assert gone(report="sales", tenant="shop") == {("sales", "shop")} and len(gone()) == 5
    with pytest.raises(ParameterError, match="tenant with runs 'shopp': allowed are other, shop, third"):
        prune(lab, tenant="shopp")
    with pytest.raises(ParameterError, match="report with runs 'x': allowed are plays, sales"):
        prune(lab, report="x")


@pytest.mark.parametrize("keep", [0, -1, 1.5, True, "3"])
def test_keep_is_a_whole_number_of_at_least_one(lab, keep):
    with pytest.raises(ParameterError, match="keep"):
        prune(lab, keep)


def test_the_index_is_readable_for_others_as_the_reports_are(base):
    old = os.umask(0o022)
    try:
        publish(base, "2024-05-31", "aaaaaa01")
    finally:
        os.umask(old)
    assert stat.S_IMODE((base / INDEX).stat().st_mode) == 0o644
