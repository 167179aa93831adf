"""The gamma-gamma model: its published fit, parameters that come back, and what is refused."""
import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.customers.gammagamma import GammaGamma, Spenders, gamma_stories
from tenant_lab.customers.likelihood import summed


def world(n, seed, p=6.0, q=4.0, v=15.0):
    """Customers who spend by the model, their true means, and one purchase more of each."""
    rng = np.random.default_rng(seed)
    x, rate = rng.geometric(0.4, n), rng.gamma(q, 1 / v, n)
    return pd.DataFrame({"frequency": x, "monetary_value": rng.gamma(p * x) / (rate * x)}), p / rate, rng.gamma(p, size=n) / rate


@pytest.fixture(scope="module")
def fitted():
    frame, means, more = world(20_000, 1)
    return GammaGamma().fit(frame), frame, means, more


def test_derivatives_are_those_of_the_value():
    rows = Spenders(np.array([1.0, 3, 20]), np.array([5.0, 40, 0.3]), np.array([1.0, 2, 1]))

    def at(c):
        return summed(gamma_stories(list(np.exp(c)), rows), list(np.exp(c)), [[(i, 1.0)] for i in range(3)], rows.weight)
    c, steps = np.array([1.5, 1.2, 2.5]), 1e-5 * np.eye(3)
    assert at(c)[1] == pytest.approx([(at(c + h)[0] - at(c - h)[0]) / 2e-5 for h in steps], rel=1e-7)
    assert at(c)[2] == pytest.approx(np.array([(at(c + h)[1] - at(c - h)[1]) / 2e-5 for h in steps]), rel=1e-6, abs=1e-6)


def test_parameters_come_back(fitted):
    model = fitted[0]
    for name, true in {"p": 6.0, "q": 4.0, "v": 15.0}.items():
        assert abs(model.params_[name] - true) < 4 * model.standard_errors_[name] < 0.3 * true
    assert model.customers_ == 20_000 and model.notes_ == ()


def test_what_will_be_spent(fitted):
    model, frame, means, more = fitted
    told = model.predict(frame)
    inside = ((told["predicted_low"] <= more) & (more <= told["predicted_high"])).mean()
    assert inside == pytest.approx(0.9, abs=0.02)  # four standard errors, and the draws'
    assert told["expected"].mean() == pytest.approx(means.mean(), rel=0.02)
    assert np.mean((told["expected"] - means) ** 2) < np.mean((frame["monetary_value"] - means) ** 2)
    assert told.equals(model.predict(frame)) and not told.equals(model.predict(frame, random_state=1))


def test_weights_are_customers(fitted):
    model, frame, *_ = fitted
    some = frame[:500]
    twice = GammaGamma().fit(pd.concat([some, some]))
    assert GammaGamma().fit(some.assign(weight=2)).params_ == pytest.approx(twice.params_, rel=1e-6)
    dear = GammaGamma().fit(frame.assign(monetary_value=100 * frame["monetary_value"]))
    assert dear.params_ == pytest.approx({**model.params_, "v": 100 * model.params_["v"]}, rel=1e-5)


def test_what_goes_against_the_model_is_noted():
    frame, *_ = world(2000, 2)
    assert "go together (correlation" in GammaGamma().fit(frame.assign(monetary_value=frame["monetary_value"] * frame["frequency"])).notes_[0]
    long, *_ = world(3000, 3, q=0.8)
    model = GammaGamma().fit(long)
    assert "no finite mean" in model.notes_[-1] and model.params_["q"] < 1
    told = model.expected_amount(pd.DataFrame({"frequency": [0, 5], "monetary_value": [0.0, 10.0]}))
    assert np.isinf(told[0]) and np.isfinite(told[1])


def test_bad_input(fitted):
    frame = fitted[1][:100]
    with pytest.raises(NotFittedError, match="this GammaGamma was not fitted"):
        GammaGamma().expected_amount(frame)
    with pytest.raises(ParameterError, match="nobody came back"):
        GammaGamma().fit(frame.assign(frequency=0))
    for column, value, said in (("monetary_value", 0.0, "a mean above 0"), ("monetary_value", np.nan, "no finite value"), ("frequency", 1.5, "whole numbers"), ("weight", 0.0, "above 0")):
        with pytest.raises(SchemaError, match=said) as caught:
            GammaGamma().fit(frame.assign(**{column: value}))
        assert caught.value.column == column
    with pytest.raises(SchemaError, match="customers lacks monetary_value"):
        GammaGamma().fit(frame[["frequency"]])
