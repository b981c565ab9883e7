"""A candidate as a suite writes it, and the candidates that it becomes: one for each of its seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PrivateAttr,
    SerializationInfo,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from vqbench.config.marked_yaml import read_yaml
from vqbench.config.models import (
    ConfigModel,
    ExistingFile,
    Fault,
    FileName,
    Folder,
    Several,
    exactly_one,
    items,
    path_as_written,
    path_in_file,
    reject,
    repeated,
    section,
    shown,
)
from vqbench.config.registered import known_name
from vqbench.config.source import POCKET, Checkpoint, MelNorms
from vqbench.errors import did_you_mean
from vqbench.files import near_files
from vqbench.registries import TOKENIZERS

_SEEDS = 2**32
"""Seeds are below this, as in a recipe."""


def _tokenizer(value: Any) -> Any:
    return known_name(TOKENIZERS, "known tokenizer", value)


def _command(value: Any, info: ValidationInfo) -> Any:
    """Arguments that are files beside the suite become whole paths: it matters not where it is started."""
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        return value
    folder = info.context.path if isinstance(info.context, Folder) else Path()

    # Not by the rule for other paths: a program of a suite may do anything, so it may also lie anywhere. A word alone
    # is no folder: it may as well be the name of a model.
    def there(part: str) -> bool:
        return bool(part) and ((folder / part).is_file() or ("/" in part and (folder / part).is_dir()))

    return tuple(str(folder / part) if there(part) else part for part in value)


def _command_as_written(value: tuple[str, ...], info: SerializationInfo) -> list[str]:
    return [path_as_written(Path(part), info) if Path(part).is_absolute() else part for part in value]


class CandidateConfig(ConfigModel):
    """One tokenizer to judge: the checkpoint of a VQVAE, a recipe that is trained as part of the run and kept in the
    cache, a tokenizer that vqbench knows by name, or a program."""

    name: FileName
    """Name in tables and of folders: lower-case letters, digits, `.`, `_` and `-`, from a letter or digit on."""

    checkpoint: Checkpoint | None = None
    """A file with weights, relative to the suite: vqbench's own, TorToiSe's `dvae.pth`, XTTS's, or a trainer's around
    it; or a folder with `dvae.pth`. Or `pocket`: the very VQVAE of the pocket TorToiSe."""

    recipe: ExistingFile | None = None
    """A training recipe, relative to the suite."""

    change: dict[str, Any] | None = None
    """What is otherwise than in the recipe, written as in a recipe: sections are merged key by key, null takes a key
    out, all else takes the place of what is there. Paths in it are relative to the recipe's folder."""

    tokenizer: Annotated[str, BeforeValidator(_tokenizer)] | None = None
    """A tokenizer by its name; `vqbench list tokenizers` shows them."""

    options: dict[str, Any] | None = None
    """What `tokenizer` is told, e.g. `{mode: 700C}`."""

    command: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1)], ...],
            Field(min_length=1, strict=False),
            BeforeValidator(_command),
            PlainSerializer(_command_as_written, return_type=list[str]),
        ]
        | None
    ) = None
    """A program with its arguments, in an environment of its own, that speaks the protocol of docs/tokenizers.md. Those
    of them that are files, or folders with a `/`, are relative to the suite."""

    seeds: Several[Annotated[int, Field(ge=0, lt=_SEEDS)]] = Field(default=(), min_length=1)
    """Seeds in place of the recipe's. There is a candidate for each, `NAME-s1`, `NAME-s2` and so on; where a gate rule
    or `--candidate` says NAME, it means all of them."""

    mel_norms: MelNorms | None = None
    """A file with the mel norms that the checkpoint was trained on, or `tortoise`. Where it is left out: those in the
    checkpoint, else `mel_stats.pth` beside it, else TorToiSe's; XTTS's 1,024 codes are refused then."""

    _family: str | None = PrivateAttr(default=None)

    @property
    def family(self) -> str | None:
        """The name as written, of which this candidate is one seed; None for one that was written without seeds."""
        return self._family

    @property
    def is_coded(self) -> bool:
        """Whether it is a tokenizer of waveforms, and no VQVAE on mels."""
        return self.tokenizer is not None or self.command is not None

    @property
    def source(self) -> str:
        """The file that it comes from, and what is changed in it."""
        if self.tokenizer is not None:
            return f"{self.tokenizer} {json.dumps(self.options)}" if self.options else self.tokenizer
        if self.command is not None:
            return " ".join(Path(part).name for part in self.command)
        file = self.checkpoint or self.recipe
        name = file.name if file else ""
        return f"{name}, changed by {json.dumps(self.change)}" if self.change else name

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """One source of weights, and beside it only what belongs to it."""
        yield from exactly_one(data, "checkpoint", "recipe", "tokenizer", "command")
        if data.get("options") is not None and data.get("tokenizer") is None:
            yield Fault(("options",), "options belong to a tokenizer that is named", fix="add `tokenizer:`")
        if data.get("mel_norms") is not None and data.get("checkpoint") is None:
            yield Fault(("mel_norms",), "mel norms belong to a checkpoint; a recipe's candidate brings its own")
        for key, what in (("change", "a change belongs"), ("seeds", "seeds belong")):
            if data.get(key) is not None and data.get("recipe") is None:
                yield Fault((key,), f"{what} to a recipe; a checkpoint is as it is")
        yield from repeated(data, "seeds")
        if "seeds" in data and "seed" in section(data, "change"):
            yield Fault(("change", "seed"), "the seeds stand in `seeds`", fix="leave one of them out")


def expand(candidates: Sequence[CandidateConfig]) -> tuple[CandidateConfig, ...]:
    """Puts in the place of a candidate with seeds one for each: a seed is one more change of the recipe."""
    expanded = []
    for candidate in candidates:
        for seed in candidate.seeds:
            change = {**(candidate.change or {}), "seed": seed}
            name = _seeded(candidate.name, seed)
            member = candidate.model_copy(update={"name": name, "change": change, "seeds": ()})
            member._family = candidate.name
            expanded.append(member)
        if not candidate.seeds:
            expanded.append(candidate)
    return tuple(expanded)


def names_of(written: Any) -> list[str]:
    """What a candidate as written may be called: its name, and those of its seeds; nothing where it has no name."""
    name = written.get("name") if isinstance(written, Mapping) else None
    if not isinstance(name, str):
        return []
    seeds = [seed for seed in items(written, "seeds") if type(seed) is int and 0 <= seed < _SEEDS]
    return [name, *(_seeded(name, seed) for seed in seeds)]


def place_of(path: Path | None, candidate: CandidateConfig) -> str:
    """Where a suite has a candidate: file and line, for what is found wrong with it only when it is opened.

    Args:
        path: of the suite; None for one that was built in code.
        candidate: of the suite.
    """
    called = f"candidate {candidate.name}"
    if path is None:
        return called
    document = read_yaml(path)
    written = items(document.data, "candidates") if isinstance(document.data, Mapping) else []
    key = next((key for key in ("options", "tokenizer", "command") if getattr(candidate, key) is not None), "name")
    index = next((place for place, one in enumerate(written) if candidate.name in names_of(one)), None)
    return f"{path}:{document.line(('candidates', index, key))}: {called}" if index is not None else f"{path}: {called}"


def members(candidates: Sequence[CandidateConfig], name: str) -> tuple[str, ...]:
    """The names of the expanded candidates that a name means: one, all the seeds of a family, or none."""
    return tuple(candidate.name for candidate in candidates if name in (candidate.name, candidate.family))


def _of_name_or_path(value: Any, info: ValidationInfo) -> CandidateConfig | None:
    """The candidate of that name; else a checkpoint, as a candidate whose name no candidate of a file can have."""
    if value is None or isinstance(value, CandidateConfig):
        return value
    if not isinstance(value, str):
        raise reject(Fault((), f"expected a candidate's name or a path, got {shown(value)}"))
    candidates: Sequence[CandidateConfig] = info.data.get("candidates", ())
    if not candidates:
        return None  # they are at fault, and that is told
    known = {candidate.name: candidate for candidate in candidates}
    if value in known:
        return known[value]
    if seeds := members(candidates, value):
        raise reject(Fault((), f"{shown(value)} has several seeds", expected=f"one of {', '.join(seeds)}"))
    if value == POCKET:
        name = "the pocket TorToiSe's VQVAE"
    else:
        path = path_in_file(value, info)
        if not path.exists():
            problem = f"{shown(value)} is no candidate{did_you_mean(value, known)}, and there is no such file"
            raise reject(Fault((), f"{problem}{near_files(path)}", expected="a candidate's name, or a checkpoint"))
        name = f"the file {path.name}"
    try:
        alone = CandidateConfig.model_validate({"name": "file", "checkpoint": value}, context=info.context)
    except ValidationError as error:
        found = [fault for detail in error.errors() for fault in detail.get("ctx", {}).get("faults", ())]
        raise reject(*(fault._replace(at=()) for fault in found)) from None
    return alone.model_copy(update={"name": name})


ReferenceVQVAE = Annotated[
    CandidateConfig | None, BeforeValidator(_of_name_or_path), WithJsonSchema({"type": "string", "minLength": 1})
]
"""The name of a candidate of the same file, or a checkpoint, relative to the file."""


def _seeded(name: str, seed: int) -> str:
    return f"{name}-s{seed}"
