"""Results of earlier versions of vqbench, brought to today's schema one version at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vqbench.records.mapping import MappingError, from_plain
from vqbench.records.packing import kind_of, pack
from vqbench.stats.columns import Cell, column_of


def migrate(plain: dict[str, Any], schema: int) -> dict[str, Any]:
    """Brings a result, as JSON gives it, from the schema that it was written in to today's.

    Args:
        plain: the whole result; it is not changed.
        schema: its version, one of `MIGRATIONS` or today's.

    Raises:
        MappingError: it is no result of that version.
    """
    while schema in MIGRATIONS:
        plain = MIGRATIONS[schema](plain)
        schema += 1
        plain["schema"] = schema
    return plain


def _pack_tables(plain: dict[str, Any]) -> dict[str, Any]:
    """1 → 2: the cells of tables move from lists of numbers in each table to packed columns at the end."""
    tables, statistics = [], {}
    for index, table in enumerate(from_plain(tuple[dict[str, Any], ...], plain.get("tables"), "tables")):
        place = f"tables[{index}]"
        columns = table.get("columns")
        if not isinstance(columns, dict):
            raise MappingError("holds no columns", f"{place}.columns", "an object")
        kinds = {}
        for name, cells in columns.items():
            read = from_plain(tuple[Cell, ...], cells, f"{place}.columns.{name}")
            try:
                column = column_of(read)
            except ValueError as error:
                raise MappingError(str(error), f"{place}.columns.{name}", None) from error
            kinds[name] = kind_of(column)
            statistics[f"{index}.{name}"] = pack(column)
        tables.append({**table, "columns": kinds})
    return {**plain, "tables": tables, "statistics": statistics}


def _same(plain: dict[str, Any]) -> dict[str, Any]:
    """2 → 3: a checksum came, which the file of an earlier schema has not."""
    return dict(plain)


MIGRATIONS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _pack_tables, 2: _same}
"""Schema → what makes the next one of it."""
