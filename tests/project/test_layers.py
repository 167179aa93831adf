"""The import contracts in pyproject.toml name every package; `lint-imports` (a step of make test) checks the imports."""
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYERS, INDEPENDENT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
PACKAGES = {p.parent.name for p in (ROOT / "tenant_lab").glob("*/__init__.py")}


def names(layer: str) -> set[str]:
    return set(re.findall(r"\w+", layer))


def test_every_package_has_its_layer():
    missing = PACKAGES - set().union(*map(names, LAYERS["layers"]))
    assert not missing, f"name {sorted(missing)} in pyproject.toml, [tool.importlinter], in the layer that DESIGN.md gives"


def test_every_domain_is_independent_of_the_others():
    domains = next(names(layer) for layer in LAYERS["layers"] if "customers" in names(layer))
    wanted = {f"tenant_lab.{name}" for name in PACKAGES & domains}
    assert set(INDEPENDENT["modules"]) == wanted


def test_layers_stand_in_the_order_of_the_design():
    order = [layer for name in ("cli", "demo", "tenancy", "ml", "customers", "core")
             for layer in LAYERS["layers"] if name in names(layer)]
    assert order == LAYERS["layers"]
