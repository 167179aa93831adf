"""Published adjusted p-values, Dunnett's tables, and a published check of a split."""
import numpy as np
import pytest

from tenant_lab.experiments.multiplicity import adjust_p, dunnett, dunnett_critical
from tenant_lab.experiments.split import split_check

HEART = [.0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262, .5719, .6528, .7590, 1.0]


@pytest.mark.parametrize(("method", "discoveries"), [("none", 9), ("bonferroni", 3), ("holm", 3), ("hochberg", 3), ("benjamini-hochberg", 4), ("benjamini-yekutieli", 3)])
def test_fifteen_questions_after_heart_attacks(method, discoveries):
    """Benjamini & Hochberg (1995), JRSS B 57, 289-300, section 3.2: three by Bonferroni's method and four by theirs, at 5 %; the others by their definitions."""
    found = adjust_p(HEART, method) <= 0.05
    assert found.sum() == discoveries and found[:discoveries].all()


@pytest.mark.parametrize(("df", "printed"), [(5, [2.57, 3.03, 3.29, 3.48, 3.62, 3.73]), (20, [2.09, 2.38, 2.54, 2.65, 2.73, 2.80]), (60, [2.00, 2.27, 2.41, 2.51, 2.58, 2.64]), (None, [1.96, 2.21, 2.35, 2.44, 2.51, 2.57])])
def test_dunnetts_table(df, printed):
    """Dunnett (1964), Biometrics 20, 482-491, table II: two-sided, joint level 95 %, 1 to 6 arms of the control's size."""
    assert [round(dunnett_critical(1.0, np.ones(arms), df), 2) for arms in range(1, 7)] == printed


def test_dunnetts_blood_counts():
    """Dunnett (1955), JASA 50, 1096-1121, as in the manual of scipy.stats.dunnett, which prints p = 0.62004941 and 0.0059035, drawn at random."""
    groups = [np.array(g) for g in ([7.40, 8.50, 7.20, 8.24, 9.84, 8.32], [9.76, 8.80, 7.68, 9.36], [12.80, 9.68, 12.16, 9.20, 10.55])]
    pooled = sum(((g - g.mean()) ** 2).sum() for g in groups) / 12
    found = dunnett([g.mean() - groups[0].mean() for g in groups[1:]], pooled / 6, [pooled / 4, pooled / 5], 12).frame()
    assert found["p"].to_numpy() == pytest.approx([0.62004941, 0.0059035], abs=5e-4)


def test_split_of_the_guide_of_tea_tasting():
    """2,023 and 1,977 units, 1:1 planned: the package's user guide prints p = 0.47676672 (with continuity correction)."""
    found = split_check({"control": 2023, "treatment": 1977}, {"control": 1, "treatment": 1}, correction=True)
    assert found.p == pytest.approx(0.47676672, abs=5e-9) and not found.broken


def test_chi_squared_of_split_without_correction():
    """1,000 users planned 50:50 and 600:400 seen: p = 2.54e-10 (Wikipedia, Sample ratio mismatch)."""
    found = split_check([600, 400], {"control": 1, "treatment": 1})
    assert found.p == pytest.approx(2.54e-10, rel=2e-3) and found.broken
