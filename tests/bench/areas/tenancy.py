"""Ten million purchases: into the lake, and out of it as RFM, beside the same work in plain DuckDB."""
import json
import os
from pathlib import Path

from case import Case

ROWS, CUSTOMERS, AS_OF = 10_000_000, 1_000_000, "2023-11-30"


def purchases(data: Path) -> None:
    """Skewed customers, two years, all eight columns of the contract, 1.3 lines an order, one row in fifty a refund."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SELECT setseed(0.4)")
    connection.execute(f"""COPY (SELECT 'c' || lpad(({CUSTOMERS} * pow(random(), 1.5))::INT::VARCHAR, 7, '0') AS customer_id,
        (TIMESTAMP '2022-01-01' + INTERVAL 1 SECOND * (random() * 86400 * 730)::BIGINT)::TIMESTAMPTZ AS purchased_at,
        round(random() * 80, 2) * CASE kind WHEN 'sale' THEN 1 ELSE -1 END AS amount, (1 + random() * 3)::INT AS quantity,
        'o' || (i * 10 // 13) AS order_id, 'p' || (random() * 5000)::INT AS product_id, 'EUR' AS currency, kind
        FROM (SELECT range AS i, CASE WHEN random() < .02 THEN 'refund' ELSE 'sale' END AS kind FROM range({ROWS})))
        TO '{data}/purchases.parquet' (COMPRESSION zstd)""")


def lake(data: Path) -> None:
    """A tenant that has the purchases, and the list of its files for the peer."""
    purchases(data)
    os.environ |= {"TENANT_LAB_HOME": str(data / "home"), "TENANT_LAB_KEY_FILE": str(data / "master.key")}
    from tenant_lab import Lab

    tenant = Lab.open().create_tenant("bench", "Europe/Paris")
    tenant.ingest("purchases", data / "purchases.parquet")
    (data / "files.json").write_text(json.dumps(tenant.lake.at("purchases").files))


INGEST = """
import os, shutil, tempfile
home = tempfile.mkdtemp(dir=".")
os.environ |= {"TENANT_LAB_HOME": home, "TENANT_LAB_KEY_FILE": home + "/master.key"}
from child import cpu_seconds
from tenant_lab import Lab
import tenant_lab.tenancy.ingest as room
tenant = Lab.open().create_tenant("bench", "Europe/Paris")

def work(data):
    return tenant.ingest("purchases", data / "purchases.parquet")

def result(value, out):
    source, sums = f"read_parquet('{out.parent}/data/purchases.parquet')", "count(*), round(sum(amount)), sum(quantity)"
    import duckdb
    connection = duckdb.connect()
    room.set_keys(connection, tenant._keys)
    def cost(sql):
        before = cpu_seconds()
        connection.execute(sql)
        return cpu_seconds() - before
    ids = cost(f"CREATE TABLE ids AS SELECT id, {room.pseudonym_sql('id')} AS pseudonym FROM (SELECT DISTINCT customer_id AS id FROM {source})")
    to = f"TO '{out}/x.parquet' (COMPRESSION zstd, COMPRESSION_LEVEL 1)"
    joined = cost(f"COPY (SELECT s.* REPLACE (pseudonym AS customer_id) FROM {source} s LEFT JOIN ids ON customer_id = id) {to}")
    plain = cost(f"COPY (FROM {source}) {to}")
    found = tenant.sql(f"SELECT {sums}, count(DISTINCT customer_id) FROM purchases").fetchall()[0]
    shutil.rmtree(home)
    return {"sums": list(found), "bytes": value.bytes / value.rows, "pseudonyms": ids + joined - plain}
"""
COPY = """
import duckdb
def work(data):
    duckdb.execute(f"COPY (FROM read_parquet('{data}/purchases.parquet')) TO 'copy.parquet' (FORMAT parquet)")

def result(value, out):
    sums = "SELECT count(*), round(sum(amount)), sum(quantity), count(DISTINCT customer_id) FROM 'copy.parquet'"
    import os
    found = duckdb.sql(sums).fetchall()[0]
    return {"sums": list(map(float, found)), "bytes": os.path.getsize("copy.parquet") / found[0]}
"""
RFM = """
import os
from pathlib import Path
data = Path("data").resolve()
os.environ |= {"TENANT_LAB_HOME": str(data / "home"), "TENANT_LAB_KEY_FILE": str(data / "master.key")}
import pyarrow.compute as pc
from tenant_lab import Lab
from tenant_lab.customers.rfm import rfm_table
tenant = Lab.open().tenant("bench")

def work(data):
    return rfm_table(tenant.table("purchases"), "AS_OF").collect("pyarrow").to_native()

def result(table, out):
    return [len(table), pc.sum(table["recency"]).as_py(), pc.sum(table["frequency"]).as_py(), round(pc.sum(table["monetary"]).as_py())]
""".replace("AS_OF", AS_OF)
SQL = """
import json
from pathlib import Path
import duckdb, pyarrow.compute as pc
files = json.loads(Path("data/files.json").read_text())
connection = duckdb.connect()
connection.execute("SET TimeZone = 'Europe/Paris'")

def work(data):
    return connection.sql(f'''
        SELECT customer_id, min(sold) AS first_purchase, max(sold) AS last_purchase, DATE 'AS_OF' - max(sold) AS recency,
               count(sold) AS frequency, round(sum(amount), 6) AS monetary
        FROM (SELECT customer_id, day, sum(amount) AS amount, CASE WHEN max(sale) THEN day END AS sold
              FROM (SELECT customer_id, purchased_at::DATE AS day, amount, amount >= 0 AND coalesce(kind, 'sale') <> 'refund' AS sale
                    FROM read_parquet({files}) WHERE purchased_at < TIMESTAMPTZ 'AS_OF 24:00:00')
              GROUP BY customer_id, day)
        GROUP BY customer_id HAVING count(sold) > 0''').to_arrow_table()

def result(table, out):
    return [len(table), pc.sum(table["recency"]).as_py(), pc.sum(table["frequency"]).as_py(), round(pc.sum(table["monetary"]).as_py())]
""".replace("AS_OF 24:00:00", "2023-12-01").replace("AS_OF", AS_OF)


def ingest_notes(ours, peer):
    return (f"{ours['bytes']:.1f} bytes a row, DuckDB's copy {peer['bytes']:.1f}; "
            f"pseudonyms take {ours['pseudonyms']:.1f} of our CPU seconds")


CASES = [
    Case("ingest 10 million purchases", INGEST, wanted=0.33, peer_name="duckdb", peer=COPY, runs=3, prepare=purchases,
         agree=lambda ours, peer: ours["sums"] == peer["sums"], notes=ingest_notes),
    Case("RFM of 1 million customers", RFM, wanted=0.77, peer_name="duckdb", peer=SQL, prepare=lake),
]
