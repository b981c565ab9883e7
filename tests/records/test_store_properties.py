"""Any run survives being written and read, and any of an earlier schema being migrated; what is damaged is refused."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from builders import make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqbench.errors import ResultError, VqbenchError
from vqbench.records.check import MAX_NUMBER, check_run
from vqbench.records.mapping import to_plain
from vqbench.records.run import CandidateRecord, ClipRecord, MetricSpec, Run, Table
from vqbench.records.store import load_run, save_run
from vqbench.stats.columns import Column, Ragged, columns_of

TEXTS = st.text(max_size=12)
FLOATS = st.floats(-MAX_NUMBER, MAX_NUMBER)
WHOLE = st.integers(-(2**40), 2**40).map(float)
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)

NUMBER = MetricSpec("a.number", "a", ("number",), "mean", "", None, 1, "")
CODES = MetricSpec("b.entropy", "b", ("codes",), "entropy", "bits", True, 1, "")
SCORES = MetricSpec("c.mean", "c", ("scores",), "pooled_mean", "", None, 1, "")
TIMES = MetricSpec("d.time", "d", ("seconds",), "mean", "s", False, 1, "", resampled="repetition")


@st.composite
def runs(draw: st.DrawFn) -> Run:
    ids = draw(st.lists(TEXTS, max_size=5, unique=True))
    clips = tuple(
        ClipRecord(i, draw(TEXTS), draw(st.floats(0, 1e3)), draw(TEXTS), draw(st.none() | TEXTS)) for i in ids
    )
    names = draw(st.lists(TEXTS, min_size=1, max_size=2, unique=True))
    tables = []
    for name in names:
        lost = draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
        kept = draw(st.permutations([i for i in ids if i not in lost]))
        n = len(kept)
        unscored = {i: draw(TEXTS) for i in lost}
        rows = {
            "a": {"number": draw(st.lists(FLOATS | WHOLE, min_size=n, max_size=n))},
            "b": {"codes": [tuple(draw(st.lists(st.integers(0, 9000)))) for _ in range(n)]},
            "c": {"scores": [tuple(draw(st.lists(FLOATS))) for _ in range(n)]},
        }
        for group, cells in rows.items():
            constants = {"codebook_size": 9001.0}
            tables.append(Table(name, group, tuple(kept), columns_of(cells), constants, unscored))
        seconds = draw(st.lists(FLOATS, max_size=4))
        tables.append(Table(name, "d", tuple(map(str, range(len(seconds)))), columns_of({"seconds": seconds})))
    run = make_run(n_clips=2, resamples=10)
    candidates = tuple(CandidateRecord(name, "candidate", "", "") for name in names)
    specs = (NUMBER, CODES, SCORES, TIMES)
    suite = replace(run.suite, plausibility={})  # schema 1 had none
    return replace(
        run, suite=suite, clips=clips, metrics=specs, candidates=candidates, tables=tuple(tables), results=()
    )


def cells(column: Column) -> list[object]:
    """A column as schema 1 wrote it."""
    if isinstance(column, Ragged):
        return [row.tolist() for row in column.rows()]
    return column.tolist()


def as_schema_1(run: Run) -> dict[str, object]:
    plain = {name: to_plain(getattr(run, name)) for name in ("suite", "candidates", "clips", "metrics", "results")}
    for key in ("inconclusive", "plausibility", "yardstick", "reference"):
        del plain["suite"][key]
    tables = [
        {
            "candidate": table.candidate,
            "group": table.group,
            "row_ids": list(table.row_ids),
            "columns": {name: cells(column) for name, column in table.columns.items()},
            "constants": dict(table.constants),
            "unscored": dict(table.unscored),
        }
        for table in run.tables
    ]
    interval = {"method": run.interval.method, "confidence": 0.95, "resamples": 10, "seed": 0, "unit": "speaker"}
    return {"schema": 1, **plain, "tables": tables, "interval": interval, "provenance": to_plain(run.provenance)}


@SHARED
@given(runs())
def test_a_run_survives(tmp_path: Path, run: Run) -> None:
    read = load_run(save_run(run, tmp_path))
    assert read == run
    check_run(read)


@SHARED
@given(runs())
def test_a_run_of_schema_1_is_the_same_run(tmp_path: Path, run: Run) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps(as_schema_1(run)), encoding="utf-8")
    migrated = load_run(old)
    assert migrated.schema == run.schema == 3
    assert migrated.tables == run.tables
    assert replace(migrated, interval=run.interval) == run
    assert load_run(save_run(migrated, tmp_path)) == migrated


RUN = make_run(n_clips=6, resamples=10)


@SHARED
@given(st.data())
def test_a_damaged_file_is_read_as_it_was_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """A few bytes that are others, or a part that is missing: the same run, or one clear error; never other figures."""
    whole = save_run(RUN, tmp_path).read_bytes()
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    file = tmp_path / "damaged.json"
    file.write_bytes(whole[:start] + data.draw(st.binary(max_size=3)) + whole[end:])
    same_or_refused(file)


def same_or_refused(file: Path) -> bool:
    """Whether it was refused."""
    try:
        run = load_run(file)
        check_run(run)
    except VqbenchError as error:
        assert isinstance(error, ResultError) or str(file) in str(error)
        return True
    assert run == RUN
    return False


def content_of(file: Path) -> object:
    """What any reader of JSON finds in a file; None where it is no JSON."""
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        return None


def other_byte(byte: int, draw: random.Random) -> int:
    return byte ^ draw.randrange(1, 256)


def other_bit(byte: int, draw: random.Random) -> int:
    return byte ^ 1 << draw.randrange(8)


def other_digit(byte: int, draw: random.Random) -> int:
    return ord("0") + (byte - ord("0") + draw.randrange(1, 10)) % 10


CHANGES = {"byte": (other_byte, range(256)), "bit": (other_bit, range(256)), "digit": (other_digit, b"0123456789")}


@pytest.mark.parametrize("kind", CHANGES)
def test_any_one_byte_that_is_another_is_refused_unless_it_says_the_same(kind: str, tmp_path: Path) -> None:
    """The last digit of some numbers is beyond a double: such a file has the same content, and reads as the same."""
    change, changed = CHANGES[kind]
    whole = save_run(RUN, tmp_path).read_bytes()
    file = tmp_path / "damaged.json"
    file.write_bytes(whole)
    content, draw = content_of(file), random.Random(kind)
    for place in draw.sample([place for place, byte in enumerate(whole) if byte in changed], 400):
        damaged = bytearray(whole)
        damaged[place] = change(whole[place], draw)
        file.write_bytes(damaged)
        assert same_or_refused(file) == (content_of(file) != content), (place, whole[place], damaged[place])


@pytest.mark.parametrize("figure", range(0, len(RUN.results), 7))
def test_a_figure_that_was_edited_is_named(tmp_path: Path, figure: int) -> None:
    file = save_run(RUN, tmp_path)
    plain = json.loads(file.read_bytes())
    result = plain["results"][figure]
    result["value"] = 0.021
    file.write_text(json.dumps(plain))
    with pytest.raises(ResultError, match=re.escape(f"{result['candidate']}, {result['metric']}: is 0.021")):
        load_run(file)
    # In a schema that had no checksum, the rows alone tell.
    del plain["checksum"]
    file.write_text(json.dumps({**plain, "schema": 2}))
    with pytest.raises(ResultError, match=re.escape(f"{result['candidate']}, {result['metric']}: is 0.021")):
        load_run(file)


@pytest.mark.parametrize("schema", [0, 4, -1, 10**6])
def test_a_schema_that_nobody_knows_is_refused(tmp_path: Path, schema: int) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps({**as_schema_1(RUN), "schema": schema}))
    with pytest.raises(ResultError, match=f"was written in schema {schema}"):
        load_run(file)
