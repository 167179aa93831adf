"""The readout of experiments: what was planted is said, and tenants with hardly anything get a page that says why."""
import numpy as np
import pandas as pd
import pytest
from report_kit import made

START = pd.Timestamp("2024-05-01", tz="UTC")


def tenant(customers: int, share: float = 0.5, lift: float = 0.0, primary: str = "plays", seed: int = 3) -> dict[str, pd.DataFrame]:
    """Tables of an experiment of two weeks."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"c{n:05d}" for n in range(customers)])
    new = rng.random(customers) < share
    at = START + pd.to_timedelta(rng.uniform(0, 14, customers), unit="D")
    plays = rng.poisson(np.where(new, 5 * (1 + lift), 5.0))
    heard = at.repeat(plays) + pd.to_timedelta(rng.uniform(0, 28, plays.sum()), unit="D")
    variants = pd.DataFrame({"experiment": "sound", "start": START, "end": START + pd.Timedelta(days=42), "unit": "customer", "variant": ["old", "new"], "planned_share": 0.5, "is_control": [True, False], "primary_metric": primary, "direction": "increase"})
    return {"experiments": variants, "exposures": pd.DataFrame({"experiment": "sound", "variant": np.where(new, "new", "old"), "customer_id": ids, "exposed_at": at}),
            "plays": pd.DataFrame({"customer_id": ids.repeat(plays), "track_id": "t", "at": heard, "seconds": 60.0}),
            "purchases": pd.DataFrame({"customer_id": ids[:5], "purchased_at": at[:5], "amount": 9.0}),
            "subscriptions": pd.DataFrame({"customer_id": ids, "started_at": START - pd.Timedelta(days=90), "plan": "basic", "monthly_price": 9.0}),
            "customers": pd.DataFrame({"customer_id": ids, "joined_at": START - pd.Timedelta(days=90), "country": rng.choice(["FR", "DE"], customers)})}


@pytest.mark.parametrize(("tables", "options", "said"), [
    (tenant(2000, lift=0.2), {}, "Decision for new: hold"),      # nobody cancels, so a guardrail of cancellations has nothing to show
    (tenant(2000, share=0.4), {}, "The split is broken"),
    (tenant(6), {}, ""),
    (tenant(1), {}, "There is nothing to read"),
    (tenant(300, primary="smiles"), {}, "smiles: no such metric"),
    (tenant(300), {"experiment": "light"}, "experiment 'light': there are sound"),
    (tenant(300), {"as_of": "2024-05-20"}, "was seen for 28 days")], ids=["an effect", "broken split", "six", "one", "unknown metric", "unknown experiment", "too early"])
def test_readout_of_little(tmp_path, tables, options, said):
    options = dict(options)
    options.setdefault("as_of", "2024-07-01")
    _, text = made(tmp_path / "home", "experiment_readout", tables, **options)
    assert said in text, text
