"""Models that are kept: the same forecasts after JSON, and states that are damaged are refused."""

import json

import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.customers.bgnbd import BGNBD, MBGNBD
from tenant_lab.customers.churn import ChurnModel
from tenant_lab.customers.gammagamma import GammaGamma
from tenant_lab.customers.ggompertznbd import GGompertzNBD
from tenant_lab.customers.kept import LIKELY, model_state, restore_model
from tenant_lab.customers.paretonbd import ParetoNBD
from tenant_lab.customers.renewals import BGBB, SBG
from tenant_lab.customers.segments import Segmentation
from tenant_lab.customers.uplift import Uplift
from tenant_lab.customers.value import ValueModel

RNG = np.random.default_rng(0)
T = RNG.integers(20, 60, 600).astype(float)
X = RNG.poisson(RNG.gamma(0.8, 0.08, 600) * T * RNG.beta(1, 1, 600))
ROWS = pd.DataFrame({"frequency": X, "recency": np.where(X > 0, np.floor(T * RNG.beta(2, 2, 600)).clip(1), 0.0), "T": T, "monetary_value": np.where(X > 0, RNG.gamma(5, 4, 600), 0.0), "country": RNG.integers(0, 2, 600)})
YEARS = pd.DataFrame({"frequency": [0, 1, 2, 3, 1, 2], "recency": [0, 1, 3, 4, 4, 2], "T": [5] * 6, "weight": [500, 90, 60, 50, 40, 70]})
FITTED = {"BGNBD": lambda: BGNBD(["country"]).fit(ROWS), "MBGNBD": lambda: MBGNBD().fit(ROWS), "ParetoNBD": lambda: ParetoNBD(dropout_covariates="country").fit(ROWS), "GGompertzNBD": lambda: GGompertzNBD().fit(ROWS),
          "BGBB": lambda: BGBB().fit(YEARS), "SBG": lambda: SBG().fit([100, 63, 47, 38]), "GammaGamma": lambda: GammaGamma().fit(ROWS)}


def through_json(model):
    return restore_model(json.loads(json.dumps(model_state(model), allow_nan=False)))


@pytest.mark.parametrize("name", LIKELY)
def test_the_same_model_again(name):
    model = FITTED[name]()
    again = through_json(model)
    assert type(again) is type(model) and again.params_ == model.params_ and again.notes_ == model.notes_ and again.log_likelihood_ == model.log_likelihood_
    assert np.array_equal([*again.standard_errors_.values()], [*model.standard_errors_.values()], equal_nan=True)
    asked = {"SBG": (np.arange(5),), "GammaGamma": (ROWS,), "BGBB": (YEARS, 3)}.get(name, (ROWS[:50], 10))
    pd.testing.assert_frame_equal(again.predict(*asked), model.predict(*asked))
    assert model_state(again) == model_state(model)


def test_errors_that_are_not_known_are_kept_as_that():
    alike = SBG().fit((10_000 * 0.8 ** np.arange(8)).round())
    assert np.isnan(alike.standard_errors_["alpha"]) and np.isnan(through_json(alike).standard_errors_["alpha"])


def test_learners_go_the_same_way():
    features = pd.DataFrame({"customer_id": np.arange(400), "a": RNG.random(400), "b": np.r_[RNG.normal(0, 1, 200), RNG.normal(9, 1, 200)]})
    gone = (RNG.random(400) < 0.2 + 0.6 * features["a"]).astype(int)
    churn = ChurnModel().fit(features, gone)
    assert np.array_equal(through_json(churn).probability(features), churn.probability(features))
    value = ValueModel().fit(features, gone * 10.0 * (1 + features["a"]))
    pd.testing.assert_frame_equal(through_json(value).predict(features), value.predict(features))
    uplift = Uplift(base="linear").fit(features, np.arange(400) % 2, gone)
    pd.testing.assert_frame_equal(through_json(uplift).predict(features), uplift.predict(features))
    segments = Segmentation().fit(features)
    pd.testing.assert_frame_equal(through_json(segments).assign(features), segments.assign(features))


@pytest.mark.parametrize("name", LIKELY)
def test_damaged_states_are_refused(name):
    state = model_state(FITTED[name]())
    for missing in set(state) - {"kind"}:
        with pytest.raises(SchemaError, match="damaged"):
            restore_model({key: value for key, value in state.items() if key != missing})
    for change in ({"coefficients": state["coefficients"][:-1]}, {"coefficients": [None] * len(state["coefficients"])}, {"covariance": [1.0]}, {"params": {}}, {"model": "Prophet"}, {"params": dict.fromkeys(state["params"], None)}):
        with pytest.raises(SchemaError, match="damaged"):
            restore_model({**state, **change})


def test_what_is_no_model():
    for model in (BGNBD(), SBG(), ChurnModel(), ValueModel(), Segmentation(), Uplift()):
        with pytest.raises(NotFittedError, match="was not fitted"):
            model_state(model)
    with pytest.raises(ParameterError, match="int is no model that can be kept; there are BGBB, BGNBD, ChurnModel"):
        model_state(1)
    for state in ({"kind": "pickle"}, {}, None, "churn"):
        with pytest.raises(SchemaError, match="is not known here; there are churn, value, segments, uplift, likelihood"):
            restore_model(state)
