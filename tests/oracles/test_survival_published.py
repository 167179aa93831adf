"""Published survival analyses, found again.

`rossi.txt`: 432 men released from prison, followed for a year (Rossi, Berk & Lenihan 1980), as the packages lifelines (MIT) and R's
carData distribute it; their Cox regression is in Allison (1995), Survival Analysis Using SAS, and Fox & Weisberg (2018), appendix to
An R Companion to Applied Regression. The 42 remissions are those of Freireich et al. (1963), Blood 21, 699-716.
"""
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenant_lab.customers.concordance import concordance
from tenant_lab.customers.cox import CoxPH
from tenant_lab.customers.survival import kaplan_meier, log_rank, nelson_aalen

DRUG = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
NONE = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
REMISSIONS = pd.DataFrame({"duration": DRUG + NONE, "event": [1] * 9 + [0] * 12 + [1] * 21, "placebo": [0] * 21 + [1] * 21})
ROSSI = ["fin", "age", "race", "wexp", "mar", "paro", "prio"]


@pytest.fixture(scope="module")
def rossi() -> pd.DataFrame:
    frame = pd.read_csv(Path(__file__).with_name("rossi.txt"), sep=" ").rename(columns={"week": "duration", "arrest": "event"})
    assert len(frame) == 432 and frame["event"].sum() == 114
    return frame


def test_kaplan_meier_of_the_remissions():
    """Kalbfleisch & Prentice (1980), and Kleinbaum & Klein (2012), p. 61: survival with the drug; medians 23 and 8."""
    curves = kaplan_meier(REMISSIONS, "placebo")
    drug = curves.frame()[lambda t: t["group"] == "0"]
    assert drug["time"].tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert drug["at_risk"].tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert drug["survival"].round(4).tolist() == [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]
    assert curves.median()["median"].tolist() == [23.0, 8.0]


def test_greenwoods_errors_of_the_remissions():
    """R survival, summary(survfit(Surv ~ 1)): standard errors .0764, .0869, .0963, .1068, .1141, .1282, .1346; read back from the interval on log(-log)."""
    drug = kaplan_meier(REMISSIONS[REMISSIONS["placebo"] == 0]).frame()
    s = drug["survival"]
    found = np.log(np.log(drug["low"]) / np.log(s)) / 1.959964 * s * np.abs(np.log(s))
    assert found.round(4).tolist() == [0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346]


def test_nelson_aalen_of_the_remissions():
    """Sums of d/n with n as printed in Kleinbaum & Klein."""
    found = nelson_aalen(REMISSIONS[REMISSIONS["placebo"] == 0]).frame()["hazard"]
    assert found.to_numpy() == pytest.approx(np.cumsum([3 / 21, 1 / 17, 1 / 15, 1 / 12, 1 / 11, 1 / 7, 1 / 6]))


def test_log_rank_of_the_remissions():
    """Kleinbaum & Klein (2012), p. 69: 16.793; expected 19.25 and 10.75."""
    test = log_rank(REMISSIONS, "placebo")
    assert test.statistic == pytest.approx(16.793, abs=5e-4)
    assert test.frame()["expected"].round(2).tolist() == [19.25, 10.75]


def test_peto_of_the_remissions():
    """R survival, survdiff(rho = 1): chi-squared 14.5, which weighs by the survival just before each age."""
    assert log_rank(REMISSIONS, "placebo", rho=1.0).statistic == pytest.approx(14.5, abs=0.05)


@pytest.mark.parametrize(("ties", "coefficient", "error"), [("efron", 1.5721, 0.4124), ("breslow", 1.5092, 0.4096)])
def test_cox_of_the_remissions(ties, coefficient, error):
    """R survival and SAS PROC PHREG on the same data."""
    model = CoxPH(["placebo"], ties=ties).fit(REMISSIONS)
    assert (model.params_["placebo"], model.standard_errors_["placebo"]) == pytest.approx((coefficient, error), abs=5e-5)


def test_cox_of_rossi(rossi):
    """Efron's ties; coefficients as printed by lifelines 0.30.3 and, to three digits, by Fox & Weisberg (2018)."""
    model = CoxPH(ROSSI).fit(rossi)
    assert list(model.params_.values()) == pytest.approx([-0.3794, -0.0574, 0.3139, -0.1498, -0.4337, -0.0849, 0.0915], abs=5e-5)
    assert list(model.standard_errors_.values()) == pytest.approx([0.19138, 0.02200, 0.30799, 0.21222, 0.38187, 0.19576, 0.02865], abs=5e-6)
    assert model.log_likelihood_ == pytest.approx(-658.74766, abs=5e-6)
    assert model.concordance_ == pytest.approx(0.64033, abs=5e-6)
    assert model.likelihood_ratio_test()[0] == pytest.approx(33.26595, abs=5e-6)
    assert concordance(rossi, model.hazard_ratio(rossi)).index == model.concordance_


def test_stratified_cox_of_rossi(rossi):
    """lifelines 0.30.3, strata wexp."""
    model = CoxPH([name for name in ROSSI if name != "wexp"], strata=["wexp"]).fit(rossi)
    assert list(model.params_.values()) == pytest.approx([-0.3801541, -0.0582135, 0.3065694, -0.4538716, -0.0827389, 0.0907436], abs=5e-8)
    assert model.log_likelihood_ == pytest.approx(-580.8857465, abs=5e-8)
