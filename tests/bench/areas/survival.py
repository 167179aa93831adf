"""200,000 customers with ten covariates: Cox regression and concordance, beside the package lifelines."""
from pathlib import Path

from case import Case

CUSTOMERS, COVARIATES = 200_000, 10


def simulated(data: Path) -> None:
    """Who leaves within two years, to the second and to the day."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    x = rng.normal(size=(CUSTOMERS, COVARIATES))
    until = 365 * rng.exponential(np.exp(-x @ np.linspace(-0.5, 0.5, COVARIATES)))
    seen = rng.uniform(30, 730, CUSTOMERS)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(COVARIATES)]).assign(event=(until <= seen).astype(int), duration=np.minimum(until, seen))
    frame.to_parquet(data / "exact.parquet"), frame.assign(duration=np.ceil(frame["duration"])).to_parquet(data / "days.parquet")


OURS_COX = """
import pandas as pd
from tenant_lab.customers.cox import CoxPH
frame = pd.read_parquet("data/FILE.parquet")
model = CoxPH([name for name in frame if name.startswith("x")])
model.fit(frame[:2000])
def work(data):
    return model.fit(frame).params_
"""
PEER_COX = """
import pandas as pd
from lifelines import CoxPHFitter
frame = pd.read_parquet("data/FILE.parquet")
CoxPHFitter().fit(frame[:2000], "duration", "event")
def work(data):
    return CoxPHFitter().fit(frame, "duration", "event").params_.to_dict()
"""
OURS_CONCORDANCE = """
import pandas as pd
from tenant_lab.customers.concordance import concordance
frame = pd.read_parquet("data/exact.parquet")
risk = frame["x9"] - frame["x0"]
concordance(frame[:2000], risk[:2000])
def work(data):
    return concordance(frame, risk).index
"""
PEER_CONCORDANCE = """
import pandas as pd
from lifelines.utils import concordance_index
frame = pd.read_parquet("data/exact.parquet")
risk = frame["x9"] - frame["x0"]
concordance_index(frame["duration"][:2000], -risk[:2000], frame["event"][:2000])
def work(data):
    return float(concordance_index(frame["duration"], -risk, frame["event"]))
"""


def apart(ours, theirs) -> float:
    return max(abs(ours[name] - theirs[name]) for name in ours)


def cox(file: str, name: str) -> Case:
    return Case(f"Cox regression, 200,000 customers × 10, {name}", OURS_COX.replace("FILE", file), 10.0, "lifelines", PEER_COX.replace("FILE", file), runs=3, prepare=simulated,
                agree=lambda ours, theirs: apart(ours, theirs) <= 1e-6, notes=lambda ours, theirs: f"coefficients at most {apart(ours, theirs):.0e} from lifelines")


CASES = [
    cox("exact", "ages to the second"), cox("days", "ages in days"),
    Case("concordance of 200,000 customers", OURS_CONCORDANCE, limit=1.0, prepare=simulated),
    Case("the same, beside lifelines", OURS_CONCORDANCE, 1.0, "lifelines", PEER_CONCORDANCE, runs=3, prepare=simulated, agree=lambda ours, theirs: abs(ours - theirs) < 1e-9),
]
