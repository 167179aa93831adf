"""The demo tenant `cdnow` arrives in the lake with the published counts."""
import pandas as pd

from tenant_lab.demo.base import demos, make
from tenant_lab.demo.cdnow import DEMO, purchases
from tenant_lab.tenancy.lab import Lab


def test_the_file_is_there_with_the_contracts_columns():
    assert list(pd.read_parquet(purchases()).columns) == ["customer_id", "purchased_at", "quantity", "amount"]
    assert demos()["cdnow"] is DEMO


def test_the_tenant_has_the_published_size():
    """Fader & Hardie (2001): 23 570 customers; the file of the lifetimes package has 69 659 rows, 67 591 customer-days."""
    tenant = make(Lab.open(), DEMO)
    assert (tenant.info.currency, tenant.info.time_zone, tenant.tables()) == ("USD", "America/New_York", ["purchases"])
    counts = tenant.sql("""SELECT count(*), count(DISTINCT customer_id), count(DISTINCT (customer_id, purchased_at::DATE)),
                                  min(purchased_at)::DATE::VARCHAR, max(purchased_at)::DATE::VARCHAR FROM purchases""").fetchall()
    assert counts == [(69_659, 23_570, 67_591, "1997-01-01", "1998-06-30")]
