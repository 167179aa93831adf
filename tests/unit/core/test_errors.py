"""The family of errors: what `except` clauses of callers rely on."""

import builtins

import pytest

from tenant_lab.core import errors

BASES = {"ParameterError": ValueError, "NotFittedError": AttributeError, "TenantAccessError": PermissionError,
         "StoreError": OSError, "ReportError": RuntimeError, "ModelMissingError": FileNotFoundError, "SchemaError": ValueError,
         "AudioError": ValueError, "ConvergenceError": RuntimeError}


@pytest.mark.parametrize("name", BASES)
def test_each_is_ours_and_the_builtin_that_callers_catch(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.TenantLabError)
    assert issubclass(kind, BASES[name])
    assert str(kind("what was given")) == "what was given"


def test_no_error_is_missing_from_this_list():
    ours = {n for n, o in vars(errors).items() if isinstance(o, type) and issubclass(o, errors.TenantLabError)}
    assert ours == {*BASES, "TenantLabError"}
    assert not ours & set(vars(builtins))


def test_schema_error_carries_where_it_is_wrong():
    rows = ({"row": 1, "amount": "x"},)
    error = errors.SchemaError("wrong", table="purchases", column="amount", rule="type", count=3, rows=rows)
    assert (error.table, error.column, error.rule, error.count) == ("purchases", "amount", "type", 3)
    assert error.rows == [{"row": 1, "amount": "x"}]
    assert errors.SchemaError("wrong").rows == []
