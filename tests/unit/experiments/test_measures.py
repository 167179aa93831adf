"""Measures around the exposure: customer by customer in plain Python, from every kind of frame, and blind to what comes after."""

import datetime as dt

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.experiments.measures import Measure, Units, first_exposures, measured

START, AS_OF = pd.Timestamp("2024-03-25"), pd.Timestamp("2024-04-12 15:30")   # over the night to 31 March, in which Paris has 23 hours
DAY = pd.Timedelta(days=1)


def made(seed, zone=None, customers=40):
    """Exposures (several of a customer, some in two variants, some at one instant) and activity, also of strangers; times are whole half hours, so that ends of windows are hit."""
    rng = np.random.default_rng(seed)
    def times(n, days):
        return START + pd.to_timedelta(rng.integers(0, days * 48, n) * 30, unit="min")
    who = np.array([f"c{i:02d}" for i in range(customers)])
    seen = rng.choice(who[:customers * 3 // 4], customers * 2)
    own = {one: rng.choice(["a", "b"]) for one in who}
    exposures = pd.DataFrame({"customer_id": seen, "variant": [own[one] if rng.random() < 0.9 else "b" for one in seen], "exposed_at": times(len(seen), 22)})
    tied = exposures.groupby("customer_id", as_index=False)["exposed_at"].min().head(6).assign(variant=["a", "b"] * 3)
    exposures = pd.concat([exposures, tied], ignore_index=True)
    acted = pd.DataFrame({"customer_id": rng.choice(who, customers * 20), "at": times(customers * 20, 24) - 5 * DAY, "amount": rng.integers(-500, 5000, customers * 20) / 100, "kind": rng.choice(["sale", "refund", None], customers * 20, p=[0.7, 0.2, 0.1])})
    if zone:
        exposures, acted = (frame.assign(**{name: frame[name].dt.tz_localize("UTC").dt.tz_convert(zone)}) for frame, name in ((exposures, "exposed_at"), (acted, "at")))
    return exposures, acted


def people_by_hand(exposures, as_of, crossed):
    """First exposures, customer by customer."""
    found = {}
    for who, rows in exposures[exposures["exposed_at"] < as_of].groupby("customer_id"):
        came = rows["exposed_at"].min()
        variants = set(rows["variant"]) if crossed == "exclude" else set(rows.loc[rows["exposed_at"] == came, "variant"])
        if len(variants) == 1:
            found[who] = (variants.pop(), came)
    return found


def by_hand(people, acted, as_of, low, high, value=None, any=False):
    """Sum or count of rows whose time lies from `low` to `high` days after the exposure and before `as_of`."""
    out, acted = [], acted[acted["at"] < as_of]
    acted = acted if value or "kind" not in acted else acted[acted["kind"].fillna("sale") != "refund"]
    rows = dict(list(acted.groupby("customer_id")))
    for who, (_, came) in sorted(people.items()):
        own = rows.get(who, acted.head(0))
        gone = (own["at"] - came) / DAY
        inside = (gone >= low) & (gone < (np.inf if high is None else high))
        out.append(float(own.loc[inside, value].sum()) if value else min(int(inside.sum()), 1) if any else int(inside.sum()))
    return out


WINDOWS = ({"first": 0, "days": 7}, {"first": 1.5, "days": 3}, {"first": 2, "days": None}, {"first": 0, "days": None})


@pytest.mark.parametrize("crossed", ["exclude", "first"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
def test_the_same_as_by_hand(zone, crossed):
    exposures, acted = made(1, zone)
    as_of = AS_OF.tz_localize(zone) if zone else AS_OF
    measures = [Measure(f"{kind}{n}", acted, "at", value="amount" if kind == "sum" else None, before=(None, 2, 4, 0.5)[n], any=kind == "any", **window) for kind in ("sum", "count", "any") for n, window in enumerate(WINDOWS)]
    found = measured(exposures, measures, as_of, crossed=crossed).frame().set_index("customer_id")
    people = people_by_hand(exposures, as_of, crossed)
    assert found.index.tolist() == sorted(people) and len(people) > 10
    assert found["variant"].tolist() == [people[who][0] for who in found.index] and (found["exposed_at"] == [people[who][1] for who in found.index]).all()
    assert found["day"].tolist() == [came.date() for _, (_, came) in sorted(people.items())]
    assert found["age"].tolist() == [(as_of - came).days for _, (_, came) in sorted(people.items())]
    for one in measures:
        high = None if one.days is None else one.first + one.days
        assert found[one.name].tolist() == pytest.approx(by_hand(people, acted, as_of, one.first, high, one.value, one.any), abs=1e-9), one.name
        if one.before:
            assert found[f"{one.name}_before"].tolist() == pytest.approx(by_hand(people, acted, as_of, -one.before, 0, one.value, one.any), abs=1e-9), one.name
    assert found.filter(regex="^any").isin([0, 1]).all(axis=None) and found["sum1_before"].abs().sum() > 0


def kinds(exposures, acted):
    """The same two tables as every kind of frame, one after the other."""
    def related(*frames):
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        made = []
        for n, frame in enumerate(frames):
            connection.register("given", frame)
            connection.execute(f"CREATE TABLE t{n} AS SELECT * FROM given")
            made.append(connection.table(f"t{n}"))
        return made
    polars = [pl.from_pandas(one) for one in (exposures, acted)]
    arrow = [pa.Table.from_pandas(one, preserve_index=False) for one in (exposures, acted)]
    return {"pandas": (exposures, acted), "polars": polars, "polars lazy": [one.lazy() for one in polars], "arrow": arrow, "narwhals": [nw.from_native(one) for one in polars], "one connection": related(exposures, acted),
            "two connections": (*related(exposures), *related(acted)), "pandas and polars lazy": (exposures, polars[1].lazy()), "arrow and duckdb": (arrow[0], *related(acted)), "duckdb and polars": (*related(exposures), polars[1])}


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_every_kind_of_frame_gives_the_same(zone):
    exposures, acted = made(2, zone)
    as_of = AS_OF.tz_localize(zone) if zone else AS_OF
    results = {}
    for kind, (seen, did) in kinds(exposures, acted).items():
        measures = [Measure("spent", did, "at", "amount", days=5, before=3), Measure("orders", did, "at", days=5), Measure("came", did, "at", first=1, any=True)]
        found = measured(seen, measures, as_of)
        results[kind] = found.frame().assign(exposed_at=lambda f: f["exposed_at"].astype(str), orders=lambda f: f["orders"].astype(int))
        assert found.notes[0].endswith("…)") and "saw more than one variant and are left out (c0" in found.notes[0]
    for kind, frame in results.items():
        pd.testing.assert_frame_equal(frame, results["pandas"], check_dtype=False, obj=kind)


def test_units_and_resolutions_may_differ():
    exposures, acted = made(3)
    usual = measured(exposures, [Measure("n", acted, "at", days=3)], AS_OF).frame()["n"].tolist()
    for one, other in (("ns", "us"), ("us", "ns"), ("s", "ms")):
        found = measured(exposures.assign(exposed_at=exposures["exposed_at"].astype(f"datetime64[{one}]")), [Measure("n", acted.assign(at=acted["at"].astype(f"datetime64[{other}]")), "at", days=3)], AS_OF).frame()
        assert found["n"].tolist() == usual and sum(usual) > 20


def test_dates_count_from_the_day_of_the_exposure():
    exposures, acted = made(4, "Europe/Paris")
    dated = acted.assign(at=acted["at"].dt.date)
    as_of = AS_OF.tz_localize("Europe/Paris")
    people = {who: (variant, pd.Timestamp(came.date())) for who, (variant, came) in people_by_hand(exposures, as_of, "exclude").items()}
    hand = dated.assign(at=pd.to_datetime(dated["at"]))
    cut = pd.Timestamp(as_of.date())   # of a day that is not over nothing is known
    for window in WINDOWS:
        found = measured(exposures, [Measure("n", dated, "at", before=3, **window)], as_of).frame()
        high = None if window["days"] is None else window["first"] + window["days"]
        assert found["n"].tolist() == by_hand(people, hand, cut, window["first"], high)
        assert found["n_before"].tolist() == by_hand(people, hand, cut, -3, 0)


def test_exposures_may_be_dates():
    exposures, acted = made(5)
    dated = exposures.assign(exposed_at=exposures["exposed_at"].dt.date)
    stamped = exposures.assign(exposed_at=exposures["exposed_at"].dt.normalize())
    people = people_by_hand(stamped, pd.Timestamp("2024-04-12"), "exclude")
    for name, did, hand in (("times", acted, acted), ("dates", acted.assign(at=acted["at"].dt.date), acted.assign(at=acted["at"].dt.normalize()))):
        found = measured(dated, [Measure("n", did, "at", days=4)], "2024-04-11").frame()
        assert found["customer_id"].tolist() == sorted(people), name
        assert found["n"].tolist() == by_hand(people, hand, pd.Timestamp("2024-04-12"), 0, 4), name
        assert found["age"].tolist() == [(pd.Timestamp("2024-04-11") - came).days for _, (_, came) in sorted(people.items())]   # whole days since the end of the day of the exposure
        assert found["day"].tolist() == [came.date() for _, (_, came) in sorted(people.items())]


def test_a_day_has_24_hours_where_there_is_a_zone():
    """Paris skips an hour on 31 March and repeats one on 27 October; clocks on the wall do not know of it."""
    def counted(zone, came, *times):
        exposures = pd.DataFrame({"customer_id": ["c"], "variant": ["a"], "exposed_at": pd.to_datetime([came]).tz_localize(zone)})
        acted = pd.DataFrame({"customer_id": "c", "at": pd.to_datetime(list(times)).tz_localize(zone)})
        return measured(exposures, [Measure("n", acted, "at", days=1, before=1)], "2024-12-01").frame().iloc[0]
    spring = ("2024-03-30 12:00", "2024-03-31 12:30", "2024-03-31 13:00")
    assert counted("Europe/Paris", *spring).n == 1 and counted(None, *spring).n == 0
    autumn = ("2024-10-26 12:00", "2024-10-27 10:59", "2024-10-27 11:00")
    assert counted("Europe/Paris", *autumn).n == 1 and counted(None, *autumn).n == 2
    back = ("2024-10-27 12:00", "2024-10-26 13:00", "2024-10-26 12:30")
    assert counted("Europe/Paris", *back).n_before == 1 and counted(None, *back).n_before == 2


def test_a_day_has_24_hours_in_a_database_of_such_a_zone_too():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'Europe/Paris'")
    connection.execute("CREATE TABLE exposures AS SELECT 'c' AS customer_id, 'a' AS variant, TIMESTAMPTZ '2024-03-30 12:00 Europe/Paris' AS exposed_at")
    connection.execute("CREATE TABLE acted AS SELECT 'c' AS customer_id, TIMESTAMPTZ '2024-03-31 12:30 Europe/Paris' AS at")
    found = measured(connection.table("exposures"), [Measure("n", connection.table("acted"), "at", days=1)], "2024-12-01").frame()
    assert found["n"].tolist() == [1]   # 23.5 hours


def test_counts_are_numbers_of_numpy():
    found = measured(EXPOSED, [Measure("n", ACTED, "at"), Measure("came", ACTED, "at", any=True), Measure("sum", ACTED, "at", "amount")], "2024-05-31").frame()
    assert all(found[name].dtype.kind in "iuf" for name in ("n", "came", "sum", "age"))   # no column of Decimals


def test_days_of_as_of_are_those_of_the_exposures_zone():
    """00:30 of 11 May in Brisbane is 16:30 of 10 May in Paris: that day is not over, so nothing of it is known."""
    exposures = pd.DataFrame({"customer_id": ["c"], "variant": ["a"], "exposed_at": pd.to_datetime(["2024-05-01 10:00"]).tz_localize("Europe/Paris")})
    acted = pd.DataFrame({"customer_id": ["c"], "at": [dt.date(2024, 5, 10)]})
    for as_of in ("2024-05-10T16:30+02:00", "2024-05-11T00:30+10:00"):
        assert measured(exposures, [Measure("n", acted, "at")], as_of).frame()["n"].tolist() == [0]


def test_a_value_that_is_no_number_is_named():
    """A NaN of Polars is no missing value; a customer who has one has not spent 0."""
    acted = pl.DataFrame({"customer_id": ["x", "x"], "at": [dt.datetime(2024, 5, 3)] * 2, "amount": [5.0, float("nan")]})
    with pytest.raises(SchemaError, match="amount"):
        measured(EXPOSED, [Measure("sum", acted, "at", "amount")], "2024-05-31")


def test_days_are_those_of_the_exposures_zone():
    exposures = pd.DataFrame({"customer_id": ["c"], "variant": ["a"], "exposed_at": pd.to_datetime(["2024-05-01 23:30"]).tz_localize("UTC").tz_convert("Europe/Paris")})
    dated = pd.DataFrame({"customer_id": ["c", "c"], "at": [dt.date(2024, 5, 1), dt.date(2024, 5, 2)]})
    row = measured(exposures, [Measure("n", dated, "at", days=1, before=1)], "2024-05-31").frame().iloc[0]
    assert (row.day, row.n, row.n_before) == (dt.date(2024, 5, 2), 1, 1)


@pytest.mark.parametrize("zone", [None, "Europe/Paris"])
@pytest.mark.parametrize("seed", range(2))
def test_nothing_from_as_of_on_changes_anything(seed, zone):
    rng = np.random.default_rng(100 + seed)
    exposures, acted = made(seed, zone)
    as_of = AS_OF.tz_localize(zone) if zone else AS_OF
    traits = pd.DataFrame({"customer_id": [f"c{i:02d}" for i in range(60)], "country": rng.choice(["FR", "DE"], 60)})
    def read(seen, did):
        measures = [Measure("spent", did, "at", "amount", before=4), Measure("orders", did, "at", first=1, days=20), Measure("came", did, "at", any=True), Measure("days", did.assign(at=did["at"].dt.date), "at", days=30)]
        return measured(seen, measures, as_of, crossed=("exclude", "first")[seed % 2], traits=traits)
    known = read(exposures[exposures["exposed_at"] < as_of], acted[acted["at"] < as_of])
    def later(n):
        return as_of + pd.to_timedelta(np.r_[0, rng.integers(0, 40 * 24, n - 1)], unit="h")
    new = pd.DataFrame({"customer_id": rng.choice([f"c{i:02d}" for i in range(70)], 300), "variant": rng.choice(["a", "b", "z"], 300), "exposed_at": later(300)})
    did = pd.DataFrame({"customer_id": rng.choice([f"c{i:02d}" for i in range(70)], 900), "at": later(900), "amount": rng.normal(1e6, 1e6, 900), "kind": rng.choice(["sale", "refund"], 900)})
    found = read(pd.concat([exposures, new]).sample(frac=1, random_state=seed), pd.concat([acted, did]).sample(frac=1, random_state=seed))
    pd.testing.assert_frame_equal(found.frame(), known.frame())
    assert found.notes == known.notes and found.as_of == known.as_of


def test_a_day_means_its_end():
    exposures = pd.DataFrame({"customer_id": ["x", "y"], "variant": ["a", "b"], "exposed_at": pd.to_datetime(["2024-05-01 23:59:59.999999", "2024-05-02 00:00"], format="ISO8601")})
    assert measured(exposures, [], "2024-05-01").frame()["customer_id"].tolist() == ["x"]
    assert measured(exposures, [], "2024-05-02").frame()["age"].tolist() == [1, 1]
    assert measured(exposures, [], dt.datetime(2024, 5, 2)).frame()["customer_id"].tolist() == ["x"]


def test_only_the_experiment_that_is_asked_for():
    exposures, acted = made(6)
    rng = np.random.default_rng(6)
    both = pd.concat([exposures.assign(experiment="page"), exposures.assign(experiment="price", variant=rng.choice(["a", "b"], len(exposures)), exposed_at=exposures["exposed_at"] - 2 * DAY)], ignore_index=True)
    measures = [Measure("n", acted, "at", days=3)]
    alone = measured(exposures, measures, AS_OF)
    found = measured(both, measures, AS_OF, experiment="page")
    pd.testing.assert_frame_equal(found.frame(), alone.frame())
    assert found.notes == alone.notes
    assert len(measured(both, measures, AS_OF, experiment="price").frame()) != len(alone.frame())


CROSSING = pd.DataFrame({"customer_id": ["both", "both", "tied", "tied", "once", "often", "often"], "variant": ["a", "b", "a", "b", "b", "a", "a"],
                         "exposed_at": pd.to_datetime(["2024-05-01", "2024-05-02", "2024-05-01", "2024-05-01", "2024-05-03", "2024-05-04", "2024-05-01"])})


def test_who_saw_two_variants():
    left, notes = first_exposures(CROSSING, "2024-05-31")
    assert left.sort("customer_id").collect().to_native().to_pydict()["customer_id"] == ["often", "once"]
    assert notes == ["2 of 4 customers saw more than one variant and are left out (both, tied)"]
    kept, notes = first_exposures(CROSSING, "2024-05-31", crossed="first")
    assert kept.sort("customer_id").select("customer_id", "variant").collect().to_native().to_pydict() == {"customer_id": ["both", "often", "once"], "variant": ["a", "a", "b"]}
    assert notes == ["2 of 4 customers saw more than one variant and are counted for the first one, but for 1 who saw them at once (both, tied)"]
    _, notes = first_exposures(CROSSING[CROSSING["customer_id"] != "tied"], "2024-05-31", crossed="first")
    assert notes == ["1 of 3 customers saw more than one variant and are counted for the first one (both)"]
    _, notes = first_exposures(CROSSING, dt.datetime(2024, 5, 1, 12))
    assert notes == ["1 of 3 customers saw more than one variant and are left out (tied)"]   # the second variant was seen later
    assert first_exposures(CROSSING.tail(3), "2024-05-31")[1] == []


def test_refunds_and_missing_kinds():
    exposures = pd.DataFrame({"customer_id": ["x", "y"], "variant": ["a", "b"], "exposed_at": pd.to_datetime(["2024-05-01"] * 2)})
    acted = pd.DataFrame({"customer_id": ["x", "x", "x", "y"], "at": pd.to_datetime(["2024-05-02"] * 4), "amount": [5.0, -2.0, 1.0, -3.0], "kind": ["sale", "refund", None, "refund"]})
    row = measured(exposures, [Measure("sum", acted, "at", "amount"), Measure("count", acted, "at"), Measure("came", acted, "at", any=True)], "2024-05-31").frame()
    assert row[["sum", "count", "came"]].to_numpy().tolist() == [[4.0, 2, 1], [-3.0, 0, 0]]


def test_numbers_as_ids_and_whole_numbers_as_values():
    exposures = pd.DataFrame({"customer_id": [3, 1, 2], "variant": ["a", "b", "a"], "exposed_at": pd.to_datetime(["2024-05-01"] * 3)})
    acted = pd.DataFrame({"customer_id": np.array([1, 1, 9], "int32"), "at": pd.to_datetime(["2024-05-02"] * 3), "items": [2, 3, 4]})
    found = measured(exposures, [Measure("items", acted, "at", "items")], "2024-05-31").frame()
    assert found["customer_id"].tolist() == [1, 2, 3] and found["items"].tolist() == [5.0, 0.0, 0.0]
    assert measured(exposures, [Measure("items", acted.iloc[:0], "at", "items")], "2024-05-31").frame()["items"].tolist() == [0, 0, 0]


def test_traits_are_joined():
    exposures, acted = made(7)
    traits = pd.DataFrame({"customer_id": [f"c{i:02d}" for i in range(50)], "country": ["FR", "DE"] * 25})
    for told in (traits, pl.from_pandas(traits), duckdb.from_df(traits)):
        found = measured(exposures, [Measure("n", acted, "at")], AS_OF, traits=told).frame()
        assert found["country"].tolist() == [["FR", "DE"][int(who[1:]) % 2] for who in found["customer_id"]]
    some = measured(exposures, [], AS_OF, traits=traits.head(10)).frame()
    assert (some["country"].isna() == (some["customer_id"] >= "c10")).all()


def test_tables_are_read_once_for_all_measures_of_one_time(monkeypatch):
    from tenant_lab.experiments import measures as module

    exposures, acted = made(8)
    read = []
    counted = module._counted
    monkeypatch.setattr(module, "_counted", lambda who, some, *rest: read.append([one.name for one in some]) or counted(who, some, *rest))
    other = acted.assign(seen=acted["at"] + DAY)
    found = measured(exposures, [Measure("m", acted, "at"), Measure("n", acted, "at", "amount"), Measure("o", other, "at"), Measure("p", other, "seen")], AS_OF).frame()
    assert read == [["m", "n"], ["o"], ["p"]]
    assert (found["o"] == found["m"]).all() and not (found["p"] == found["m"]).all()


def test_the_picture_and_the_frame():
    exposures, acted = made(9)
    found = measured(exposures, [Measure("n", acted, "at")], AS_OF)
    assert isinstance(found, Units) and found.as_of == AS_OF
    fig = found.plot()
    assert [trace.name for trace in fig.data] == ["a", "b"] and sum(trace.y[-1] for trace in fig.data) == len(found.frame())
    assert fig.layout.title.text == f"{len(found.frame())} customers were exposed on {found.frame()['day'].nunique()} days"
    own = found.frame()
    own["n"] = -1
    assert (found.frame()["n"] >= 0).all()
    assert Measure("n", acted, "at", days=3, first=2, before=5).columns() == {"n": (2, 5), "n_before": (-5, 0.0)}
    assert Measure("n", acted, "at").columns() == {"n": (0, float("inf"))}
    assert "at" in repr(Measure("n", acted, "at")) and "amount" not in repr(Measure("n", acted, "at"))


@pytest.mark.parametrize(("options", "message"), [
    ({"first": -1}, "first -1: needs a number from 0"), ({"first": "1"}, "first '1': needs a number"), ({"days": 0}, "days 0 of measure 'n': needs a number above 0, or None"), ({"days": -2}, "days -2: needs a number from 0"),
    ({"days": True}, "days True: needs a number"), ({"before": 0}, "before 0 of measure 'n': needs a number above 0, or None"), ({"before": float("nan")}, "before nan: needs a number"), ({"days": float("inf")}, "days inf: needs a number"),
    ({"name": ""}, "measure '': needs a name other than customer_id, variant, exposed_at, day, age"), ({"name": "age"}, "measure 'age': needs a name"), ({"name": 5}, "measure 5: needs a name"),
    ({"at": 3}, "measure 'n': at 3 and value None are names of columns"), ({"value": ["amount"]}, "are names of columns"), ({"any": "yes"}, "any 'yes': allowed are True, False"),
    ({"any": True, "value": "amount"}, "measure 'n': any= asks whether there was a row, value= adds a column up; choose one")])
def test_measures_that_cannot_be(options, message):
    with pytest.raises(ParameterError) as error:
        Measure(**{"name": "n", "table": None, "at": "at", **options})
    assert message in str(error.value)


EXPOSED = pd.DataFrame({"customer_id": ["x", "y"], "variant": ["a", "b"], "exposed_at": pd.to_datetime(["2024-05-01", "2024-05-02"]), "experiment": "page"})
ACTED = pd.DataFrame({"customer_id": ["x"], "at": pd.to_datetime(["2024-05-03"]), "amount": [1.0], "word": ["w"]})


@pytest.mark.parametrize(("exposures", "options", "kind", "message"), [
    (EXPOSED.drop(columns="variant"), {}, SchemaError, "exposures lacks variant"), (EXPOSED.drop(columns="customer_id"), {}, SchemaError, "exposures lacks customer_id"), (EXPOSED.drop(columns="exposed_at"), {}, SchemaError, "exposures lacks exposed_at"),
    (EXPOSED.drop(columns="experiment"), {"experiment": "page"}, SchemaError, "exposures lacks experiment"), (EXPOSED.assign(exposed_at="2024-05-01"), {}, SchemaError, "exposures.exposed_at is String; it must be a timestamp"),
    (EXPOSED.assign(variant=["a", None]), {}, SchemaError, "exposures.variant: 1 rows have no value; fill or drop them"), (EXPOSED.assign(customer_id=[None, None]), {}, SchemaError, "exposures.customer_id: 2 rows have no value"),
    (EXPOSED.assign(exposed_at=[pd.NaT, pd.Timestamp("2024-05-02")]), {}, SchemaError, "exposures.exposed_at: 1 rows have no value"),
    (EXPOSED, {"as_of": "2024-04-30"}, ParameterError, "as_of 2024-04-30: nobody was exposed before"), (EXPOSED, {"as_of": "2024-04-30", "experiment": "page"}, ParameterError, "as_of 2024-04-30: nobody was exposed to page before"),
    (EXPOSED, {"experiment": "price"}, ParameterError, "exposures: there are none of price"), (EXPOSED, {"crossed": "last"}, ParameterError, "crossed 'last': allowed are exclude, first"),
    (EXPOSED, {"as_of": "yesterday"}, ParameterError, "as_of 'yesterday': needs a day"), (EXPOSED, {"as_of": None}, ParameterError, "as_of None: needs a day"), (5, {}, ParameterError, "int is no data frame")])
def test_exposures_that_cannot_be(exposures, options, kind, message):
    with pytest.raises(kind) as error:
        first_exposures(exposures, **{"as_of": "2024-05-31", **options})
    assert message in str(error.value)


@pytest.mark.parametrize(("measures", "kind", "message"), [
    ([Measure("n", ACTED, "at"), Measure("n", ACTED, "at")], ParameterError, "measures: n would be made twice; give one another name"), ([Measure("n", ACTED, "at", before=1), Measure("n_before", ACTED, "at")], ParameterError, "n_before would be made twice"),
    ([Measure("n", ACTED, "when")], SchemaError, "measure n lacks when"), ([Measure("n", ACTED, "at", "price")], SchemaError, "measure n lacks price"), ([Measure("n", ACTED.drop(columns="customer_id"), "at")], SchemaError, "measure n lacks customer_id"),
    ([Measure("n", ACTED, "at", "word")], SchemaError, "measure n: word is of String; only numbers can be added up"), ([Measure("n", ACTED, "amount")], SchemaError, "measure n.amount is Float64; it must be a timestamp"),
    ([Measure("n", ACTED.assign(customer_id=5), "at")], SchemaError, "measure n: customer_id is of Int64, in exposures of String; make them alike"),
    ([Measure("n", ACTED.assign(at=ACTED["at"].dt.tz_localize("UTC")), "at")], SchemaError, "measure n: times of at and of exposures.exposed_at must both have a zone, or both none"), ([Measure("n", "plays", "at")], ParameterError, "str is no data frame")])
def test_tables_that_cannot_be(measures, kind, message):
    with pytest.raises(kind) as error:
        measured(EXPOSED, measures, "2024-05-31")
    assert message in str(error.value)


def test_times_without_a_zone_beside_exposures_with_one():
    zoned = EXPOSED.assign(exposed_at=EXPOSED["exposed_at"].dt.tz_localize("UTC"))
    with pytest.raises(SchemaError, match="must both have a zone, or both none"):
        measured(zoned, [Measure("n", ACTED, "at")], "2024-05-31")
    dated = ACTED.assign(at=ACTED["at"].dt.date)
    assert measured(zoned, [Measure("n", dated, "at")], "2024-05-31").frame()["n"].tolist() == [1, 0]


@pytest.mark.parametrize(("traits", "message"), [
    (pd.DataFrame({"country": ["FR"]}), "traits lacks customer_id"), (pd.DataFrame({"customer_id": ["x", "x"], "country": ["FR", "DE"]}), "traits.customer_id: 1 rows repeat a customer; give one row each"),
    (pd.DataFrame({"customer_id": ["x"], "n": [1], "age": [30]}), "traits: age, n would stand there twice; rename")])
def test_traits_that_cannot_be(traits, message):
    with pytest.raises(SchemaError) as error:
        measured(EXPOSED, [Measure("n", ACTED, "at")], "2024-05-31", traits=traits)
    assert message in str(error.value)


def test_rows_without_a_time_or_customer():
    acted = pd.DataFrame({"customer_id": ["x", "x", None], "at": pd.to_datetime(["2024-05-03", None, "2024-05-03"])})
    found = measured(EXPOSED, [Measure("n", acted, "at"), Measure("any", acted, "at", any=True)], "2024-05-31", "page")
    assert found.table["n"].tolist() == [1, 0] and found.notes == ("n, any: 1 rows have no at, as if it had not happened",)
    assert not measured(EXPOSED, [Measure("n", acted.dropna(subset="at"), "at")], "2024-05-31", "page").notes


def test_traits_of_customers_that_are_numbers():
    with pytest.raises(SchemaError, match="traits: customer_id is of Int64, in exposures of String; make them alike"):
        measured(EXPOSED, [], "2024-05-31", "page", traits=pd.DataFrame({"customer_id": [1, 2], "country": ["DE", "FR"]}))
