"""Runs on disk: `RUN/result.json`, and the same file under a name in `baselines/`.

The file is the record types of `vqbench.records.run` as JSON. The statistics of clips are packed columns: who only
wants the figures does not read them, and who judges by a few metrics reads these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from vqbench.errors import DataError, ResultError, VqbenchError, did_you_mean, raise_all
from vqbench.files import require_file, write_whole
from vqbench.records.check import check_run, check_structure
from vqbench.records.contradictions import contradictions
from vqbench.records.layout import Packed, encoded, read_layout, write_layout, written_checksum
from vqbench.records.mapping import MappingError, from_plain, to_plain
from vqbench.records.packing import Kind, kind_of, pack, unpack
from vqbench.records.run import ClipRecord, MetricSpec, Run, Table
from vqbench.stats.columns import Column

RESULT_FILE = "result.json"
BASELINES = Path("baselines")

MAX_VALUES = 1 << 25
"""Values that a column may hold: some 400 hours of tokens."""


def save_run(run: Run, folder: Path) -> Path:
    """Writes `folder/result.json`, whole or not at all, and returns its path.

    Raises:
        ResultError: the run does not agree with itself, or the file cannot be written.
    """
    return _write(run, folder / RESULT_FILE)


def load_run(path: Path) -> Run:
    """Reads a run from its folder, from a result.json, or from a baseline's file.

    Raises:
        ResultError: the file is missing, is no JSON, comes from another version of vqbench, or is broken; says where.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    try:
        require_file(file)
    except DataError as error:
        raise ResultError(
            error.problem,
            where=error.where,
            expected=f"a run folder with a {RESULT_FILE}, or a baseline's .json",
            fix="vqbench run writes one; a run that was interrupted has none yet",
        ) from error
    try:
        plain, packed, checksum, intact = read_layout(file)
        stored = from_plain(tuple[_StoredTable, ...], plain.pop("tables", None), "tables")
        _know(packed, stored)
        run: Run = from_plain(Run, {**plain, "tables": []})
    except MappingError as error:
        where = f"{file}: {error.place}" if error.place else str(file)
        raise ResultError(error.problem, where=where, expected=error.expected) from error
    every_clip = _clips_of_groups(run.metrics, run.clips)
    tables = []
    for index, table in enumerate(stored):
        clips = every_clip.get(table.group, ())
        # Of most tables every clip has a row: they share one tuple, which is then checked once.
        rest = tuple(clip for clip in clips if clip not in table.unscored) if table.unscored else clips
        row_ids = rest if table.row_ids is None else table.row_ids
        place = f"{file}: {table.candidate} / {table.group}"
        columns = _StoredColumns(packed, index, table.columns, len(row_ids), place)
        tables.append(Table(table.candidate, table.group, row_ids, columns, table.constants, table.unscored))
    run = replace(run, tables=tuple(tables))
    try:
        check_structure(run)
    except VqbenchError as error:
        raise ResultError(f"does not agree with itself\n{error}", where=str(file)) from error
    if not intact:
        _require_its_own_figures(run, checksum, file)
    return run


def _require_its_own_figures(run: Run, checksum: str | None, file: Path) -> None:
    """Sees to it that a file whose bytes say nothing of it holds what was written, or at least what its rows say."""
    if checksum is not None and checksum == written_checksum(_to_json(run)):
        return  # laid out by somebody else, and the same
    try:
        raise_all(list(contradictions(run)))
    except VqbenchError as error:
        raise ResultError(f"has figures that its rows contradict\n{error}", where=str(file)) from error
    if checksum is not None:
        raise ResultError(
            "was changed after it was written: its checksum is of another content",
            where=str(file),
            fix="restore the file, or run the suite again",
        )


def save_baseline(run: Run, name: str, folder: Path = BASELINES, *, replace: bool = False) -> Path:
    """Writes `folder/name.json` and returns its path.

    Raises:
        ResultError: the name is no plain file name, or is taken and `replace` is not set.
    """
    if not name.isprintable() or not name or name.startswith(".") or name != Path(name).name or "\\" in name:
        raise ResultError(f"{name!r} cannot be the name of a baseline", expected="a plain name, e.g. quick")
    file = folder / f"{name.removesuffix('.json')}.json"
    if file.exists() and not replace:
        raise ResultError(
            "there is such a baseline already", where=str(file), fix="choose another name, or --replace it"
        )
    return _write(run, file)


def find_baseline(name_or_path: str, folder: Path = BASELINES) -> Path:
    """Finds a baseline by its name in `folder`, or a run or baseline by its path.

    Raises:
        ResultError: neither is there; near names are suggested.
    """
    named = folder / f"{name_or_path}.json"
    if name_or_path and "/" not in name_or_path and named.is_file():
        return named
    path = Path(name_or_path)
    if name_or_path and path.exists():
        return path
    known = list_baselines(folder)
    raise ResultError(
        f"no baseline, run or file is called {name_or_path!r}{did_you_mean(name_or_path, known)}",
        expected=f"a path, or a baseline in {folder}/: {', '.join(known) or 'there is none yet'}",
        fix="vqbench baseline save RUN NAME keeps a run as a baseline",
    )


def list_baselines(folder: Path = BASELINES) -> list[str]:
    """The names of the baselines in a folder, sorted; none where there is no such folder."""
    return sorted(file.stem for file in folder.glob("*.json"))


def _write(run: Run, file: Path) -> Path:
    check_run(run)
    try:
        text = _to_json(run)
    except ValueError as error:
        raise ResultError(f"holds a number that is not finite: {error}", where=str(file)) from error
    try:
        write_whole(file, encoded(text))
    except DataError as error:
        raise ResultError(error.problem, where=error.where) from error
    return file


def _to_json(run: Run) -> str:
    every_clip = _clips_of_groups(run.metrics, run.clips)
    plain = {"schema": run.schema, **{f.name: to_plain(getattr(run, f.name)) for f in fields(run) if f.name in _PLAIN}}
    plain["tables"] = [to_plain(_stored(table, every_clip)) for table in run.tables]
    packed = {
        f"{index}.{name}": pack(column)
        for index, table in enumerate(run.tables)
        for name, column in table.columns.items()
    }
    return write_layout(plain, packed)


_PLAIN = {field.name for field in fields(Run)} - {"schema", "tables"}


@dataclass(frozen=True)
class _StoredTable:
    """A table as it is written; `row_ids` None are all clips of its group that are not unscored, in their order."""

    candidate: str
    group: str
    columns: Mapping[str, Kind]
    row_ids: tuple[str, ...] | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
    unscored: Mapping[str, str] = field(default_factory=dict)


def _stored(table: Table, every_clip: Mapping[str, tuple[str, ...]]) -> _StoredTable:
    scored = tuple(clip for clip in every_clip.get(table.group, ()) if clip not in table.unscored)
    return _StoredTable(
        table.candidate,
        table.group,
        {name: kind_of(column) for name, column in table.columns.items()},
        None if table.row_ids == scored else table.row_ids,
        table.constants,
        table.unscored,
    )


def _clips_of_groups(metrics: tuple[MetricSpec, ...], clips: tuple[ClipRecord, ...]) -> dict[str, tuple[str, ...]]:
    """Group → the clips that its tables speak of; groups of repetitions have none."""
    of_set: dict[str, list[str]] = {}
    for clip in clips:
        of_set.setdefault(clip.clip_set, []).append(clip.id)
    tuples = {name: tuple(ids) for name, ids in of_set.items()}
    return {spec.group: tuples.get(spec.clip_set, ()) for spec in metrics if spec.resampled == "clip"}


class _StoredColumns(Mapping[str, Column]):
    """The columns of a table in a file, each decoded when it is first asked for."""

    def __init__(self, packed: Packed, index: int, kinds: Mapping[str, Kind], n_rows: int, place: str) -> None:
        self._packed, self._index, self._kinds, self._n_rows, self._place = packed, index, kinds, n_rows, place
        self._decoded: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._decoded:
            kind, place = self._kinds[name], f"{self._place}, column {name}"
            try:
                packed = self._packed[f"{self._index}.{name}"]
                self._decoded[name] = unpack(packed, kind, self._n_rows, place, MAX_VALUES)
            except MappingError as error:
                raise ResultError(error.problem, where=error.place, expected=error.expected) from error
        return self._decoded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._kinds  # as inherited it would decode the column

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


def _know(packed: Packed, tables: tuple[_StoredTable, ...]) -> None:
    """Sees to it that each column of a table is there, and nothing else."""
    wanted = {f"{index}.{name}" for index, table in enumerate(tables) for name in table.columns}
    for key in wanted - packed.keys():
        raise MappingError(f"the column {key!r} is missing", "statistics", None)
    for key in packed.keys() - wanted:
        raise MappingError(f"no table has the column {key!r}", "statistics", None)
