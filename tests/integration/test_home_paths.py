"""A lab works wherever its folder lies: names of folders are not URLs, patterns or SQL."""
import pytest
from report_kit import shop

from tenant_lab.tenancy.lab import Lab


@pytest.mark.parametrize("name", ["plain", "with space", "été", "100%", "a#b", "a?b", "it's", "a[1]", "a*", "a{1,2}", 'a"b', "a+b", "a&b"])
def test_a_tenant_is_written_and_read_below_a_folder_of_any_name(tmp_path, name):
    lab = Lab.open(tmp_path / name)
    tenant = shop(lab)
    tenant.ingest("purchases", tenant.table("purchases").df().assign(customer_id="z"))
    assert tenant.table("purchases").count("*").fetchall() == [(6,)]
    assert lab.tenant("shop").as_of("2024-03-05").sql("SELECT count(*) FROM purchases").fetchall() == [(4,)]
