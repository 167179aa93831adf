"""What all states together decide."""

from itertools import product

import pytest

from tenant_lab.core.errors import ParameterError
from tenant_lab.experiments.decision import DECISIONS, STATES, Reason, decide


def test_every_combination_of_states():
    """Something wrong stops; else something open holds; else it ships."""
    for states in product(STATES, repeat=3):
        found = decide([Reason(f"q{n}", state, f"f{n} {state}") for n, state in enumerate(states)])
        want = "stop" if states.count("wrong") else "hold" if states.count("open") else "ship"
        assert found.decision == want
        deciding = {"ship": "right", "hold": "open", "stop": "wrong"}[want]
        assert found.why() == "; ".join(f"f{n} {state}" for n, state in enumerate(states) if state == deciding)


def test_the_frame_and_the_picture():
    found = decide([Reason("split", "right", "as planned"), Reason("primary orders", "open", "not known")])
    assert found.frame().to_dict("list") == {"question": ["split", "primary orders"], "state": ["right", "open"], "finding": ["as planned", "not known"]}
    fig = found.plot()
    assert fig.layout.title.text == f"Hold: {DECISIONS['hold']}" and list(fig.data[0].y) == ["split", "primary orders"] and list(fig.data[0].hovertext) == ["as planned", "not known"]
    assert len(set(fig.data[0].marker.color)) == 2
    assert repr(found) == "Decision(decision='hold')" and set(DECISIONS) == {"ship", "hold", "stop"}
    assert decide((Reason("a", "wrong", "b"),)).reasons == (Reason("a", "wrong", "b"),)


def test_what_cannot_be():
    for reasons in ([], None, "split", ["split"], [None]):
        with pytest.raises(ParameterError, match="needs at least one Reason"):
            decide(reasons)
    assert decide(Reason("split", "open", "")).decision == "hold"
    for state in ("maybe", "Right", None, 1):
        with pytest.raises(ParameterError, match="allowed are right, open, wrong"):
            Reason("split", state, "")
