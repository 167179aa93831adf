"""A million customers: BG/NBD fits and predictions, and the summary of their purchases, beside the package lifetimes."""
import json
from pathlib import Path

from case import Case

CUSTOMERS, BUYERS, PURCHASES, AS_OF = 1_000_000, 200_000, 2_000_000, "2023-12-31"
TRUE = {"r": 0.8, "alpha": 40.0, "a": 0.8, "b": 4.0}


def alike(ours: list[list[float]], theirs: list[list[float]], share: float) -> bool:
    """Whether all lists agree to a share of each value."""
    return all(len(a) == len(b) and all(abs(p - q) <= share * abs(q) for p, q in zip(a, b, strict=True))
               for a, b in zip(ours, theirs, strict=True))


# ---- fits --------------------------------------------------------------------------------------------------------
def simulated(data: Path) -> None:
    """Customers of 100 to 730 whole days, as they are and as distinct rows with weights."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    r, alpha, a, b = TRUE.values()
    T = rng.integers(100, 731, CUSTOMERS)
    stays = rng.geometric(np.maximum(rng.beta(a, b, CUSTOMERS), 1e-9))  # leaves after so many purchases
    wanted = rng.poisson(rng.gamma(r, 1 / alpha, CUSTOMERS) * T)        # had nobody left
    x = np.minimum(wanted, stays)
    last = T * rng.beta(np.maximum(x, 1), wanted - x + 1)               # the x-th of so many uniform times
    frame = pd.DataFrame({"frequency": x, "recency": np.where(x > 0, np.ceil(last), 0.0), "T": T})
    rows = frame.groupby(["frequency", "recency", "T"]).size().rename("weight").reset_index()
    assert len(rows) >= 250_000
    frame.to_parquet(data / "customers.parquet"), rows.to_parquet(data / "rows.parquet")


def simulated_lifetimes(data: Path) -> None:
    """A tenth as many customers who leave at any time (Pareto/NBD), in the same two tables."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    n = CUSTOMERS // 10
    T, rate = rng.integers(100, 731, n), rng.gamma(0.8, 1 / 40, n)
    until = np.minimum(rng.exponential(1 / rng.gamma(0.7, 1 / 100, n)), T)
    x = rng.poisson(rate * until)
    last = np.where(x > 0, np.minimum(np.ceil(until * rng.beta(np.maximum(x, 1), 1)), T), 0.0)
    frame = pd.DataFrame({"frequency": x, "recency": last, "T": T})
    rows = frame.groupby(["frequency", "recency", "T"]).size().rename("weight").reset_index()
    frame.to_parquet(data / "customers.parquet"), rows.to_parquet(data / "rows.parquet")


# grouping is a part of the fit; a tiny fit has imported what is imported late
OURS_FIT = """
import pandas as pd
from tenant_lab.customers.bgnbd import BGNBD
frame = pd.read_parquet("data/customers.parquet")
BGNBD().fit(frame[:2000])
def work(data):
    return BGNBD().fit(frame).params_
"""
PEER_FIT = """
import pandas as pd
from lifetimes import BetaGeoFitter
frame = pd.read_parquet("data/FILE.parquet")
def fit(frame):
    weights = frame["weight"] if "weight" in frame else None
    return BetaGeoFitter(penalizer_coef=0).fit(frame["frequency"], frame["recency"], frame["T"], weights=weights)
fit(frame[::500])
def work(data):
    return fit(frame).params_.to_dict()
"""


OURS_PARETO = OURS_FIT.replace("bgnbd", "paretonbd").replace("BGNBD", "ParetoNBD")
# lifetimes begins at random, ends elsewhere now and then, and stops a little early
PEER_PARETO = PEER_FIT.replace("BetaGeoFitter", "ParetoNBDFitter").replace("    return fit(frame).params_", "    numpy.random.seed(0)\n    return fit(frame).params_").replace(
    "import pandas as pd", "import numpy\nimport pandas as pd")


def apart(ours: dict[str, float], theirs: dict[str, float]) -> float:
    """The largest relative difference of a parameter."""
    return max(abs(ours[name] / theirs[name] - 1) for name in ours)


def same_parameters(ours, theirs) -> bool:
    return apart(ours, theirs) <= (1e-4 if "a" in ours else 1e-3)


def parameters(ours, theirs) -> str:
    found = ", ".join(f"{name} {value:.4f}" for name, value in ours.items())
    return f"{found}; at most {apart(ours, theirs):.0e} from lifetimes"


# ---- predictions -------------------------------------------------------------------------------------------------
def fitted(data: Path) -> None:
    """The customers, a model of them, and its parameters for lifetimes."""
    import pickle

    import pandas as pd

    from tenant_lab.customers.bgnbd import BGNBD

    simulated(data)
    model = BGNBD().fit(pd.read_parquet(data / "customers.parquet"))
    (data / "model.pickle").write_bytes(pickle.dumps(model))
    (data / "parameters.json").write_text(json.dumps(model.params_))


# the figures of every 997th customer are compared
PREDICTIONS = """
import json, pickle
from pathlib import Path
import pandas as pd
frame = pd.read_parquet("data/customers.parquet")
def result(found, out):
    return [[float(v) for v in values[::997]] for values in found]
"""
OURS_PREDICTIONS = PREDICTIONS + """
model = pickle.loads(Path("data/model.pickle").read_bytes())
def predict(frame):
    return model.expected_purchases(frame, 90), model.probability_alive(frame)
predict(frame[:1000])
def work(data):
    return predict(frame)
"""
PEER_PREDICTIONS = PREDICTIONS + """
from lifetimes import BetaGeoFitter
model = BetaGeoFitter()
model.params_ = pd.Series(json.loads(Path("data/parameters.json").read_text()))
def predict(frame):
    x, t_x, T = frame["frequency"], frame["recency"], frame["T"]
    return (model.conditional_expected_number_of_purchases_up_to_time(90, x, t_x, T).to_numpy(),
            model.conditional_probability_alive(x, t_x, T))
predict(frame[:1000])
def work(data):
    return predict(frame)
"""


# ---- summary -----------------------------------------------------------------------------------------------------
def purchases(data: Path) -> None:
    """Two years of purchases, some customers much busier than others."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(1)
    ids = np.array([f"c{n:06}" for n in range(BUYERS)], dtype=object)
    seconds = rng.integers(0, 730 * 86_400, PURCHASES)
    pd.DataFrame({"customer_id": ids[(len(ids) * rng.random(PURCHASES) ** 1.5).astype(int)],
                  "purchased_at": pd.Timestamp("2022-01-01") + pd.to_timedelta(seconds, unit="s"),
                  "amount": rng.gamma(2, 20, PURCHASES).round(2)}).to_parquet(data / "purchases.parquet")


# the sums of all customers, and the figures of every 97th, are compared
FIGURES = """
def result(table, out):
    table = table.sort_index()[["frequency", "recency", "T", "monetary_value"]]
    assert len(table) > 190_000
    return [table.to_numpy().sum(axis=0).tolist(), *table[::97].to_numpy().T.tolist()]
"""
OURS_SUMMARY = FIGURES + """
import duckdb
from tenant_lab.customers.summary import summary
relation = duckdb.connect().read_parquet("data/purchases.parquet")
summary(relation.limit(1000), "AS_OF")
def work(data):
    return summary(relation, "AS_OF").customers.set_index("customer_id")
""".replace("AS_OF", AS_OF)
PEER_SUMMARY = FIGURES + """
import pandas as pd
from lifetimes.utils import summary_data_from_transaction_data
frame = pd.read_parquet("data/purchases.parquet")
def summary(frame):
    return summary_data_from_transaction_data(frame, "customer_id", "purchased_at", "amount", observation_period_end="AS_OF")
summary(frame[:1000])
def work(data):
    return summary(frame)
""".replace("AS_OF", AS_OF)


CASES = [
    Case("BG/NBD of 1 million customers, lifetimes with distinct rows", OURS_FIT, 10.0, "lifetimes",
         PEER_FIT.replace("FILE", "rows"), prepare=simulated, agree=same_parameters, notes=parameters),
    Case("BG/NBD of 1 million customers, lifetimes with all rows", OURS_FIT, 50.0, "lifetimes",
         PEER_FIT.replace("FILE", "customers"), runs=3, prepare=simulated, agree=same_parameters, notes=parameters),
    Case("Pareto/NBD of 100,000 customers, lifetimes with distinct rows", OURS_PARETO, 10.0, "lifetimes",
         PEER_PARETO.replace("FILE", "rows"), runs=3, prepare=simulated_lifetimes, agree=same_parameters, notes=parameters),
    Case("Pareto/NBD of 100,000 customers, lifetimes with all rows", OURS_PARETO, 50.0, "lifetimes",
         PEER_PARETO.replace("FILE", "customers"), runs=1, prepare=simulated_lifetimes, agree=same_parameters, notes=parameters),
    Case("purchases expected of 1 million customers, and who is alive", OURS_PREDICTIONS, limit=1.0, prepare=fitted),
    Case("the same, beside lifetimes", OURS_PREDICTIONS, 1.0, "lifetimes", PEER_PREDICTIONS, prepare=fitted,
         agree=lambda ours, theirs: alike(ours, theirs, 1e-6)),
    Case("summary of 2 million purchases", OURS_SUMMARY, 2.0, "lifetimes", PEER_SUMMARY, prepare=purchases,
         agree=lambda ours, theirs: alike(ours, theirs, 1e-9)),
]
