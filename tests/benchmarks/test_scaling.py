"""The document on scaling shows what was measured."""

from pathlib import Path

from benchmarks.scaling.model import read
from benchmarks.scaling.report import tables

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"


def test_the_document_has_the_tables_of_the_measurement() -> None:
    document = DOCUMENT.read_text()
    model, machine = read()
    assert all(table in document for table in tables(model))
    assert all(str(machine[key]) in document for key in ("date", "processor", "torch"))
