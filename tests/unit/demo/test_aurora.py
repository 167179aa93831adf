"""The simulated tenant `aurora` keeps the contracts, is the same for the same seed, and hangs together."""

import datetime as dt
import json

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError
from tenant_lab.core.tables import TABLES
from tenant_lab.demo.aurora import World, simulate
from tenant_lab.demo.listeners import Calendar, streams
from tenant_lab.demo.listening import draw_incidents

ARROW = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(),
         "timestamp": pa.timestamp("us", tz="UTC")}
EXTRA = {"customers": {f"holdout_{c}" for c in ("email", "push", "social", "search")},
         "tracks": {"energy", "valence", "danceability", "acousticness", "tempo"}}


@pytest.fixture(scope="module")
def world() -> World:
    return simulate(1_500, seed=3)


@pytest.fixture(scope="module")
def db(world):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'Europe/Paris'")
    for name, table in (world.tables | {f"hidden_{k}": t for k, t in world.hidden.items()}).items():
        connection.register(name, table)
    return connection


def count(db, sql: str) -> int:
    return db.execute(f"SELECT count(*) FROM {sql}").fetchone()[0]


# -- contracts --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size,months", [(1_500, 18), (40, 3), (1, 1)])
def test_all_twelve_tables_have_exactly_the_contract_columns(size, months):
    tables = simulate(size, seed=5, months=months).tables
    assert set(tables) == set(TABLES)
    for name, table in tables.items():
        assert set(table.column_names) == set(TABLES[name].names) | EXTRA.get(name, set())
        for column in TABLES[name].columns:
            assert table.schema.field(column.name).type == ARROW[column.type], (name, column.name)


@pytest.mark.parametrize("name", TABLES)
def test_rows_keep_the_contract(world, db, name):
    table, contract = world.tables[name], TABLES[name]
    assert table.num_rows > 0
    for column in contract.columns:
        quoted = f'"{column.name}"'
        if column.required:
            assert table[column.name].null_count == 0
        if column.allowed:
            assert set(table[column.name].unique().to_pylist()) <= set(column.allowed)
        if column.minimum is not None:
            assert count(db, f"{name} WHERE {quoted} < {column.minimum}") == 0
        if column.maximum is not None:
            assert count(db, f"{name} WHERE {quoted} > {column.maximum}") == 0
    for condition, _ in contract.rules.values():
        assert count(db, f"{name} WHERE NOT ({condition})") == 0
    if contract.key:
        key = ", ".join(f'"{k}"' for k in contract.key)
        assert count(db, f"(SELECT DISTINCT {key} FROM {name})") == table.num_rows


@pytest.mark.parametrize("name", [t.name for t in TABLES.values() if t.time])
def test_rows_lie_in_the_calendar_and_in_order(world, name):
    calendar, column = world.truth.calendar, TABLES[name].time
    at = world.tables[name][column].cast(pa.int64()).to_numpy()
    assert calendar.midnights[0] <= at.min() and at.max() < calendar.midnights[-1]
    if name not in ("subscriptions", "experiments"):
        assert (np.diff(at) >= 0).all()


# -- seeds and sizes --------------------------------------------------------------------------------------------------

def test_same_seed_same_bytes_other_seed_other_world():
    first, again, other = simulate(300, 1, months=14), simulate(300, 1, months=14), simulate(300, 2, months=14)
    for name in first.tables:
        assert first.tables[name].equals(again.tables[name])
    for name in first.hidden:
        assert first.hidden[name].equals(again.hidden[name])
    assert first.truth == again.truth
    assert first.truth.churn != other.truth.churn and not first.tables["plays"].equals(other.tables["plays"])


def test_truths_do_not_depend_on_the_size():
    small, large = (simulate(n, 4).truth.to_dict() for n in (50, 500))
    for truth in (small, large):
        truth["incidents"] = [{k: v for k, v in i.items() if k not in ("deviation", "change")} for i in truth["incidents"]]
    assert small == large


def test_parts_draw_from_their_own_streams():
    drawn = {part: rng.random() for part, rng in streams(9).items()}
    assert len(set(drawn.values())) == len(drawn)
    assert drawn["plays"] == streams(9)["plays"].random()


@pytest.mark.parametrize("size", [1, 2, 17])
@pytest.mark.parametrize("months", [1, 2, 5, 30])
def test_any_size_works(size, months):
    world = simulate(size, 0, dt.date(2023, 7, 1), months)
    assert world.tables["customers"].num_rows == size and world.tables["tracks"].num_rows == 2_000
    assert len(world.truth.incidents) == {1: 0, 2: 0, 5: 3, 30: 12}[months]
    json.dumps(world.truth.to_dict())


def test_numbers_of_rows_grow_with_the_size(world):
    rows = {name: table.num_rows for name, table in world.tables.items()}
    assert rows["customers"] == 1_500 and rows["tracks"] == 2_000 and rows["experiments"] == 6
    # 20 000 listeners have at least five million plays: by size, 375 000 here; Poisson and listeners' spread are a few per cent
    assert rows["plays"] > 375_000
    assert 10 < rows["events"] / rows["customers"] < 200


def test_repr_names_the_tables(world):
    assert "seed 3" in world._repr_html_() and "plays" in world._repr_html_()


@pytest.mark.parametrize("bad", [{"n_customers": 0}, {"n_customers": -5}, {"n_customers": 10.0}, {"n_customers": True},
                                 {"n_customers": "many"}, {"months": 0}, {"months": 1.5}, {"months": 121}, {"seed": None},
                                 {"seed": -1}, {"seed": 1.0}, {"start": "2024-01-01"}, {"start": dt.date(2024, 1, 2)},
                                 {"start": dt.datetime(2024, 1, 1)}, {"start": dt.date(1800, 1, 1)}, {"start": None}])
def test_wrong_arguments(bad):
    with pytest.raises(ParameterError, match=f"{next(iter(bad))} .*needs"):
        simulate(**{"n_customers": 10, "months": 1} | bad)


# -- it hangs together ------------------------------------------------------------------------------------------------

STAY = """(SELECT customer_id, min(started_at) AS began,
                  max(ended_at) FILTER (end_reason = 'cancelled') AS left_at FROM subscriptions GROUP BY 1)"""


@pytest.mark.parametrize("table,time", [("plays", "at"), ("touches", "at"), ("exposures", "exposed_at"), ("scores", "at"),
                                        ("events", "at"), ("texts", "at")])
def test_nothing_happens_outside_a_subscription(db, table, time):
    assert count(db, f'{table} t LEFT JOIN {STAY} s USING (customer_id) WHERE s.customer_id IS NULL OR t."{time}" < began '
                     f'OR t."{time}" >= left_at') == 0


def test_orders_lie_in_subscriptions_and_refunds_follow_their_sales(db):
    assert count(db, f"purchases p JOIN {STAY} s USING (customer_id) WHERE kind = 'sale' AND "
                     "(purchased_at < began OR purchased_at >= left_at)") == 0
    assert count(db, """purchases r LEFT JOIN purchases s ON s.kind = 'sale' AND s.order_id = r.order_id
        AND s.product_id = r.product_id AND s.customer_id = r.customer_id AND s.amount = -r.amount AND s.quantity = r.quantity
        AND r.purchased_at BETWEEN s.purchased_at + INTERVAL 1 DAY AND s.purchased_at + INTERVAL 30 DAY
        WHERE r.kind = 'refund' AND s.order_id IS NULL""") == 0
    assert count(db, "purchases WHERE kind = 'refund'") > 0


@pytest.mark.parametrize("table,column,to", [
    ("plays", "track_id", "tracks"), ("exposures", "experiment", "experiments"), ("purchases", "customer_id", "customers"),
    ("subscriptions", "customer_id", "customers"), ("texts", "customer_id", "customers")])
def test_foreign_keys_exist(db, table, column, to):
    assert count(db, f"{table} WHERE {column} NOT IN (SELECT {column} FROM {to})") == 0


def test_labels_are_about_texts_written_before(db):
    assert count(db, 'labels l LEFT JOIN texts t ON l.object = t.text_id WHERE t.text_id IS NULL OR t."at" >= l."at"') == 0


def test_subscription_rows_follow_each_other(db):
    rows = db.execute("""SELECT started_at, ended_at, end_reason, plan, monthly_price,
        lead(started_at) OVER w, lead(plan) OVER w, lead(monthly_price) OVER w
        FROM subscriptions WINDOW w AS (PARTITION BY customer_id ORDER BY started_at)""").fetchall()
    reasons = set()
    for _, ended, reason, plan, price, following, next_plan, next_price in rows:
        reasons.add(reason)
        assert (ended is None) == (reason is None)
        assert (following is None) == (reason in (None, "cancelled"))
        assert following is None or following == ended
        assert reason != "upgrade" or (plan == "free" and next_plan != "free")
        assert reason != "downgrade" or (plan != "free" and next_plan == "free")
        assert reason != "price_change" or (plan == next_plan == "standard" and next_price > price)
        assert (price == 0) == (plan == "free")
    assert reasons == {None, "cancelled", "upgrade", "downgrade", "price_change"}
    assert count(db, f"customers c JOIN {STAY} s USING (customer_id) WHERE joined_at <> began") == 0


@pytest.mark.parametrize("event,reason", [("upgrade", "upgrade"), ("downgrade", "downgrade"), ("cancel", "cancelled")])
def test_server_events_match_subscriptions(db, event, reason):
    n = count(db, f"subscriptions WHERE end_reason = '{reason}'")
    assert n == count(db, f"events WHERE event = '{event}'") > 0
    assert n == count(db, f"""events e JOIN subscriptions s USING (customer_id) WHERE event = '{event}' AND end_reason = '{reason}'
                              AND ended_at - "at" BETWEEN INTERVAL 0 SECOND AND INTERVAL 1 SECOND""")
    assert count(db, f"events WHERE event = '{event}' AND (platform IS NOT NULL OR session_id IS NOT NULL)") == 0


def test_payments_fail_only_on_paid_plans(db):
    assert count(db, """events e JOIN subscriptions s ON s.customer_id = e.customer_id AND e."at" >= started_at
        AND (ended_at IS NULL OR e."at" < ended_at) WHERE event = 'payment_failed' AND plan = 'free'
        AND CAST(e."at" AS DATE) <> CAST(started_at AS DATE)""") == 0
    assert count(db, "events WHERE event = 'support_contact'") == count(db, "hidden_texts WHERE kind = 'ticket'") > 0


def test_sessions_agree_with_plays(db):
    """Each session's `play` is a row of plays, at the same instant and of the same track."""
    played = count(db, "events WHERE event = 'play'")
    assert played == count(db, """events e JOIN plays p ON p.customer_id = e.customer_id AND p."at" = e."at"
        AND p.track_id = json_extract_string(properties, '$.track_id') WHERE event = 'play'""")
    lost, = db.execute("""SELECT count(*) FILTER (opened = 0) / count(*) FROM (SELECT session_id, count(*) FILTER (event = 'app_open')
        AS opened, count(DISTINCT customer_id) AS people FROM events WHERE session_id IS NOT NULL GROUP BY 1)""").fetchone()
    assert lost < 0.01  # only where a tracking loss took it
    assert count(db, "(SELECT session_id FROM events GROUP BY 1 HAVING count(DISTINCT customer_id) > 1 AND session_id IS NOT NULL)") == 0


def test_nobody_hears_two_tracks_at_once(db):
    overlaps = count(db, """(SELECT "at", lead("at") OVER (PARTITION BY customer_id ORDER BY "at") AS following, seconds
        FROM plays ANTI JOIN hidden_bots USING (customer_id)) WHERE following < "at" + to_microseconds(CAST(seconds * 1e6 AS BIGINT))""")
    squeezed = count(db, "plays") * 1e-4  # sessions of listeners who joined minutes before midnight
    assert overlaps < squeezed


def test_seconds_do_not_exceed_the_track(db):
    assert count(db, "plays p JOIN tracks USING (track_id) WHERE seconds > duration + 1e-9 AND customer_id NOT IN "
                     "(SELECT customer_id FROM hidden_bots)") == 0
    share, = db.execute("SELECT avg((seconds = duration)::INT) FROM plays JOIN tracks USING (track_id)").fetchone()
    assert 0.5 < share < 0.82


def test_exposures_are_one_a_listener_in_the_enrolment(world, db):
    assert count(db, "(SELECT experiment, customer_id FROM exposures GROUP BY 1, 2 HAVING count(*) > 1)") == 0
    for e in world.truth.experiments:
        assert count(db, f"exposures WHERE experiment = '{e.experiment}' AND (exposed_at < DATE '{e.start}' OR "
                         f"exposed_at >= DATE '{e.start}' + INTERVAL {e.enrol_days} DAY)") == 0
    assert count(db, """exposures e JOIN subscriptions s ON s.customer_id = e.customer_id AND s.started_at <= exposed_at
        AND (s.ended_at IS NULL OR s.ended_at > exposed_at) WHERE experiment = 'paywall' AND plan <> 'free'""") == 0


def test_held_out_listeners_are_never_contacted(db):
    for channel in ("email", "push", "social", "search"):
        assert count(db, f"touches JOIN customers USING (customer_id) WHERE channel = '{channel}' AND holdout_{channel}") == 0
        assert count(db, f"customers WHERE holdout_{channel}") > 0


def test_hidden_truths_belong_to_rows(world, db):
    assert count(db, "hidden_churn") == count(db, "scores")
    assert count(db, "hidden_churn WHERE \"left\"") == count(db, "subscriptions WHERE end_reason = 'cancelled'")
    assert count(db, "hidden_texts JOIN texts USING (text_id)") == world.tables["texts"].num_rows
    assert count(db, "hidden_customers JOIN customers USING (customer_id)") == 1_500
    bots, = db.execute("SELECT sum(plays) FROM hidden_bots").fetchone()
    change = sum(sum(i.change) for i in world.truth.incidents if i.kind == "bot_burst")
    assert abs(bots - change) < 4 * change**0.5  # Poisson
    assert count(db, """(SELECT customer_id, CAST("at" AS DATE) AS day, plays FROM hidden_bots) b JOIN (SELECT customer_id,
        CAST("at" AS DATE) AS day, count(*) AS n FROM plays GROUP BY 1, 2) p USING (customer_id, day) WHERE n < plays""") == 0


@pytest.mark.parametrize("months,number", [(6, 5), (12, 12), (18, 12), (36, 12)])
def test_incidents_keep_apart_and_away_from_quiet_days(months, number):
    calendar = Calendar(dt.date(2024, 1, 1), months)
    for seed in range(20):
        days = [list(i.days(calendar)) for i in draw_incidents(calendar, np.random.default_rng(seed))]
        assert all(b[0] - a[-1] > 14 for a, b in zip(days, days[1:], strict=False)) and len(days) == number
        assert days[0][0] >= 45 and days[-1][-1] <= calendar.days - 15
        quiet = draw_incidents(calendar, np.random.default_rng(seed), range(70, 112))
        assert all(i.days(calendar)[-1] + 14 < 70 or i.days(calendar)[0] - 14 >= 112 for i in quiet)


@pytest.mark.parametrize("months", [14, 18])
def test_a_dozen_incidents_from_fourteen_months_on(months):
    for seed in range(10):
        truth = simulate(1, seed, months=months).truth
        autoplay = truth.experiments[0]
        assert len(truth.incidents) == 12
        for i in truth.incidents:
            assert (autoplay.start - i.last).days > 14 or (i.first - autoplay.end).days >= 14
