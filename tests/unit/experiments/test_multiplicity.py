"""Adjusted p-values beside statsmodels and SciPy, Dunnett's integral beside other ways to it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import ndtri
from statsmodels.stats.multitest import multipletests

from tenant_lab.core.errors import ParameterError
from tenant_lab.experiments.multiplicity import METHODS, adjust_p, dunnett, dunnett_critical, selected_level

THEIRS = {"bonferroni": "bonferroni", "holm": "holm", "hochberg": "simes-hochberg", "benjamini-hochberg": "fdr_bh", "benjamini-yekutieli": "fdr_by"}


@pytest.mark.parametrize("method", THEIRS)
def test_the_same_as_statsmodels(method):
    rng = np.random.default_rng(1)
    for m in (1, 2, 7, 100):
        p = rng.random(m) ** 3
        p[: m // 3] = p[0]   # ties
        assert adjust_p(p, method) == pytest.approx(multipletests(p, method=THEIRS[method])[1], rel=1e-12)
        assert adjust_p(p.tolist(), method) == pytest.approx(adjust_p(pd.Series(p, index=range(m, 2 * m)), method))


def test_the_same_as_scipy():
    p = np.random.default_rng(2).random(50) ** 2
    assert adjust_p(p, "benjamini-hochberg") == pytest.approx(stats.false_discovery_control(p, method="bh"), rel=1e-12)
    assert adjust_p(p, "benjamini-yekutieli") == pytest.approx(stats.false_discovery_control(p, method="by"), rel=1e-12)


def test_what_holds_for_any_p():
    p = np.array([0.0, 1.0, 0.2, 0.01, 0.2])
    assert adjust_p(p, "none").tolist() == p.tolist() and p.tolist() == [0.0, 1.0, 0.2, 0.01, 0.2]
    for method in METHODS:
        adjusted = adjust_p(p, method)
        assert (adjusted >= p).all() and (adjusted <= 1).all() and adjusted[2] == adjusted[4]
        assert adjust_p([0, 1], method).tolist() == [0.0, 1.0]   # whole numbers are numbers
    assert (adjust_p(p, "hochberg") <= adjust_p(p, "holm")).all() and (adjust_p(p, "holm") <= adjust_p(p, "bonferroni")).all()


@pytest.mark.parametrize("p", [[], [0.1, float("nan")], [0.1, None], [-0.1], [1.1], 0.5, [[0.1]], ["0.1"], [True]])
def test_bad_p(p):
    with pytest.raises(ParameterError, match="needs one row of numbers from 0 to 1, none missing"):
        adjust_p(p, "holm")


def test_bad_method():
    with pytest.raises(ParameterError, match="method 'fdr': allowed are bonferroni"):
        adjust_p([0.1], "fdr")


def test_an_interval_of_what_was_selected_leaves_out_0():
    """After Benjamini and Hochberg's method: selected if and only if the interval of Benjamini and Yekutieli (2005) excludes 0."""
    z = np.random.default_rng(3).normal(2, 1.5, 200)
    found = adjust_p(2 * stats.norm.sf(np.abs(z)), "benjamini-hochberg") <= 0.05
    reach = -ndtri((1 - selected_level(int(found.sum()), 200)) / 2)
    assert 0 < found.sum() < 200 and ((np.abs(z) > reach) == found).all()
    assert selected_level(3, 3, alpha=0.1) == pytest.approx(0.9)


@pytest.mark.parametrize(("given", "said"), [((0, 5), "selected 0"), ((6, 5), "from 1 to 5"), ((1, 0), "questions 0"), ((1, 5, 0.9), "alpha 0.9"), ((1.5, 5), "selected 1.5")])
def test_bad_levels(given, said):
    with pytest.raises(ParameterError, match=said):
        selected_level(*given)


@pytest.mark.parametrize("df", [1, 3, 20, 1e4, None])
def test_one_arm_is_the_t_distribution(df):
    known = stats.norm if df is None else stats.t(df)
    assert dunnett_critical(3.0, [0.4], df) == pytest.approx(known.ppf(0.975), rel=1e-6)
    for statistic in (0.0, 0.5, 2.0, 5.0):
        found = dunnett([statistic * 3.4**0.5], 3.0, [0.4], df).frame()
        assert found["p"][0] == pytest.approx(2 * known.sf(statistic), rel=1e-6) and found["statistic"][0] == pytest.approx(statistic)


def test_two_arms_of_unequal_size_are_bivariate_normal():
    rho = np.sqrt(1 / 1.5 * 1 / 5)
    for c in (0.7, 2.2, 3.5):
        inside = stats.multivariate_normal(cov=[[1, rho], [rho, 1]], seed=0).cdf([c, c], lower_limit=[-c, -c])
        assert dunnett([c * 1.5**0.5, 0.0], 1.0, [0.5, 4.0]).frame()["p"][0] == pytest.approx(1 - inside, abs=1e-7)


@pytest.mark.parametrize("df", [6, None])
def test_the_chance_of_any_false_answer_is_alpha(df):
    """Drawn from the model; the bound is 3.3 standard errors of 200,000 draws."""
    v0, v, rng, draws = 2.0, np.array([0.2, 1.0, 5.0, 5.0]), np.random.default_rng(4), 200_000
    scale = np.ones(draws) if df is None else np.sqrt(rng.chisquare(df, draws) / df)
    apart = rng.normal(size=(draws, 4)) * np.sqrt(v) - rng.normal(size=(draws, 1)) * np.sqrt(v0)
    any_false = (np.abs(apart / np.sqrt(v + v0)).max(axis=1) > scale * dunnett_critical(v0, v, df, alpha=0.1)).mean()
    assert any_false == pytest.approx(0.1, abs=3.3 * np.sqrt(0.1 * 0.9 / draws))


def test_intervals_p_and_picture_say_the_same():
    found = dunnett([0.5, -3.0, 2.0], 0.5, [0.5, 0.5, 0.1], arms=["A", "B", "C"])
    t = found.frame()
    assert ((t["p"] <= 0.05) == ((t["low"] > 0) | (t["high"] < 0))).all() and t["arm"].tolist() == ["A", "B", "C"]
    assert (t["high"] - t["low"]).to_numpy() == pytest.approx(2 * found.critical * np.sqrt([1.0, 1.0, 0.6]))
    assert found.plot().layout.title.text == "2 of 3 arms differ from the control: B, C"
    assert dunnett([0.1, 0.2], 1, [1, 1]).plot().layout.title.text == "None of 2 arms differs from the control, as far as can be seen"
    assert dunnett([0.1, 0.2], 1, [1, 1]).frame()["arm"].tolist() == ["1", "2"]
    edge = dunnett([found.critical], 0.5, [0.5], alpha=0.05)   # fewer arms ask for less
    assert edge.critical < found.critical < -ndtri(0.025 / 3)


def test_shared_control_asks_for_less_than_bonferroni_and_no_control_noise_for_sidak():
    assert dunnett_critical(1e-9, np.ones(4)) == pytest.approx(-ndtri((1 - 0.95**0.25) / 2), abs=1e-6)   # independent arms
    assert dunnett_critical(1e4, np.ones(4)) == pytest.approx(1.96, abs=0.06)   # one and the same comparison


def test_small_p_keep_their_digits():
    assert dunnett([9.0, 0.0], 0.5, [0.5, 0.5]).frame()["p"][0] == pytest.approx(4 * stats.norm.sf(9.0), rel=1e-3)


@pytest.mark.parametrize(("given", "said"), [
    (([1.0], 0.0, [1.0]), "control_variance 0.0"), (([1.0], 1.0, [0.0]), "above 0 and finite"), (([1.0], 1.0, []), "above 0 and finite"), (([1.0], 1.0, [np.inf]), "above 0 and finite"),
    (([1.0], 1.0, 1.0), "above 0 and finite"), (([1.0, 2.0], 1.0, [1.0]), "each of the 1 arms"), (([np.nan], 1.0, [1.0]), "each of the 1 arms"), (([1.0], 1.0, [1.0], 0.5), "df 0.5"),
    (([1.0], 1.0, [1.0], None, 0.0), "alpha 0.0"), (([1.0], 1.0, [1.0], None, 0.05, ["A", "B"]), "a name for each of the 1 arms")])
def test_bad_arms(given, said):
    with pytest.raises(ParameterError, match=said):
        dunnett(*given)
