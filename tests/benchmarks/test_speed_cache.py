"""An unchanged run reads its rows: a thousand entries, one small file each, against one file that holds them all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vqbench.engine.cache import Cache, content_key


@pytest.mark.parametrize("contender", ["ours", "one file of lines"])
def test_reading_rows(benchmark, contender, measured: bool, tmp_path: Path) -> None:
    benchmark.group = "read 1,000 cached rows"
    rows = {
        content_key({"clip": i}): {"cells": {"codes": [(i * 37 + j) % 8192 for j in range(215)]}, "texts": {}}
        for i in range(1000 if measured else 50)
    }
    cache, lines = Cache(tmp_path / "cache"), tmp_path / "rows.jsonl"
    for key, row in rows.items():
        cache.put("rows-codebook", key, row)
    lines.write_text("".join(json.dumps([key, row]) + "\n" for key, row in rows.items()), encoding="utf-8")

    def one_file() -> dict[str, object]:
        with lines.open(encoding="utf-8") as file:
            return dict(json.loads(line) for line in file)

    contenders = {"ours": lambda: {key: cache.get("rows-codebook", key) for key in rows}, "one file of lines": one_file}
    assert benchmark(contenders[contender]) == rows
