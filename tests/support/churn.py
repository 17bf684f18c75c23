"""A table as it comes from a warehouse: every kind of column, gaps, an identifier, a constant."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

CITIES = ("Köln", "Osaka", "San Juan, PR", "")


def rows(count: int = 800, seed: int = 0) -> list[dict[str, str]]:
    """Customers as text; those who complain and pay much leave."""
    rng = np.random.default_rng(seed)
    table = []
    for i in range(count):
        fee, complaints = rng.normal(50, 20), int(rng.integers(0, 4))
        left = fee / 20 + complaints + rng.normal(0, 0.3) > 4
        table.append(
            {
                "customer_id": str(seed * 1_000_000 + i),
                "monthly fee": "" if rng.random() < 0.1 else f"{fee:.3f}",
                "tenure/months": str(int(rng.integers(0, 400))),
                "complaints": str(complaints),
                "paperless": str(bool(rng.integers(0, 2))),
                "city": str(rng.choice(CITIES)),
                "country": "X",
                "household": f"h{int(rng.integers(0, count // 3))}",
                "churned": "yes" if left else "no",
            }
        )
    return table


def write_csv(path: Path, table: list[dict[str, str]]) -> Path:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


def typed(table: list[dict[str, str]]) -> pa.Table:
    """The same as typed Arrow columns, as Parquet would hold them."""
    kinds = {
        "customer_id": int,
        "monthly fee": float,
        "tenure/months": int,
        "complaints": int,
        "paperless": lambda text: text == "True",
    }
    return pa.table(
        {
            name: [kinds.get(name, str)(row[name]) if row[name] else None for row in table]
            for name in table[0]
        }
    )


def write_parquet(path: Path, table: list[dict[str, str]]) -> Path:
    pyarrow.parquet.write_table(typed(table), path)
    return path
