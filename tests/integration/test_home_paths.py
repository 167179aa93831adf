"""A lab works wherever its folder lies: names of folders are not URLs, patterns or SQL."""
import tempfile
from pathlib import Path

import pytest
from report_kit import shop, write_report

import tenant_lab
from tenant_lab.core.errors import StoreError
from tenant_lab.reports.fleet import run_report
from tenant_lab.tenancy.lab import Lab


@pytest.mark.parametrize("name", ["plain", "with space", "été", "a#b", "it's", "a{1,2}", 'a"b', "a+b", "a&b", "kind=x"])
def test_a_tenant_is_written_and_read_below_a_folder_of_any_name(tmp_path, name):
    lab = Lab.open(tmp_path / name)
    tenant = shop(lab)
    tenant.ingest("purchases", tenant.table("purchases").df().assign(customer_id="z"))
    assert tenant.table("purchases").count("*").fetchall() == [(6,)]
    assert lab.tenant("shop").as_of("2024-03-05").sql("SELECT count(*) FROM purchases").fetchall() == [(4,)]


@pytest.mark.parametrize("name", ["100%", "a%20b", "a?b", "a[1]", "a*"])
def test_a_home_that_the_lake_cannot_have_is_refused_at_once(tmp_path, name):
    with pytest.raises(StoreError, match="choose another home"):
        Lab.open(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_home_below_the_code_that_reports_import(tmp_path):
    """The folder that has both may not be listed by a run, and a fresh interpreter finds the package all the same."""
    build = Path(tenant_lab.__file__).parents[1] / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="home-", dir=build) as folder:
        lab = Lab.open(Path(folder, "home"))
        shop(lab)
        write_report(tmp_path, "fresh", "from tenant_lab.audio.metrics import sdr\nprint(1)", toml="fresh = true\n")
        result = run_report(lab, "fresh", "shop", folder=tmp_path)
        assert result.status == "ok", result.error
