"""The YAML's edge: from a file that a person wrote to a frozen model, or to all its faults at once, each with its line.

Models derive from `ConfigModel`. What types cannot say (exactly one of two keys, no repeated names) they say in
`cross_faults`, over the data as written, so that one faulty field hides no other fault.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SerializationInfo,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from vqbench.config.marked_yaml import Place, read_yaml
from vqbench.errors import ConfigError, did_you_mean, raise_all
from vqbench.files import near_files
from vqbench.paths import project_root, resolve_inside

T = TypeVar("T")


class Fault(NamedTuple):
    """Something wrong at a place of the data, relative to the model that says so; the loader adds file and line."""

    at: Place
    problem: str
    expected: str | None = None
    fix: str | None = None


class Folder(NamedTuple):
    """What relative paths of a file are relative to, and what they may not leave."""

    path: Path
    root: Path


_FAULTS = "vqbench_faults"


def reject(*faults: Fault) -> PydanticCustomError:
    """The exception by which a validator reports faults in plain words."""
    text = "; ".join(f"{dotted(fault.at)}: {fault.problem}" if fault.at else fault.problem for fault in faults)
    return PydanticCustomError(_FAULTS, "{text}", {"text": text, "faults": faults})


class ConfigModel(BaseModel):
    """A part of a configuration: frozen, no unknown keys, no silent conversion between types, no NaN or infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterable[Fault]:
        """Faults that no single field shows. `data` is as written: any key may be missing, any value of any type."""
        return ()

    @classmethod
    def value_in(cls, data: Mapping[str, Any], name: str) -> Any:
        """The value of a field as written, or its default."""
        return data[name] if name in data else cls.model_fields[name].get_default(call_default_factory=True)

    @model_validator(mode="wrap")
    @classmethod
    def _report_together(cls, data: Any, handler: Callable[[Any], Any]) -> Any:
        if not isinstance(data, Mapping):
            return handler(data)
        faults = list(cls.cross_faults(data))
        try:
            model = handler(data)
        except ValidationError as error:
            faults += [fault for detail in error.errors(include_url=False) for fault in _faults(cls, detail)]
        if faults:
            raise reject(*faults)
        return model


class ConfigFile(ConfigModel):
    """A configuration that is a file of its own."""

    _path: Path | None = PrivateAttr(default=None)
    _folder: Folder | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path | None:
        """The file it was read from; None for one that was built in code."""
        return self._path

    @property
    def digest(self) -> str:
        """Sixteen hex digits of what the file says, whatever its comments, order of keys and place on the disk.

        Settings at their defaults are left out, so that one which is new to vqbench changes no older file's digest.
        """
        content = self.model_dump(mode="json", context=self._folder, exclude_defaults=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


M = TypeVar("M", bound=ConfigFile)


def load_config(path: Path, model: type[M], change: Mapping[str, Any] | None = None) -> M:
    """Reads a YAML file into a model.

    Args:
        path: the file.
        model: its shape.
        change: what is otherwise than in the file, before anything is checked: mappings are merged key by key, None
            takes a key out, all else takes the place of what is there. Paths are relative to the file's folder, too.

    Raises:
        ConfigError: for one fault, `where` being `file:line`, with ` as changed` behind it where there is a change.
        ManyErrors: for several, sorted by line.
    """
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise ConfigError(
            f"the file holds {shown(document.data)}",
            where=f"{path}:1",
            expected=f"keys with values: {_listed(model.model_fields)}",
        )
    folder = Folder(path.parent.resolve(), project_root(path.parent))
    faults: list[Fault] = []
    data = _changed(document.data, change or {}, faults)
    try:
        config = model.model_validate(data, context=folder)
    except ValidationError as error:
        faults += [fault for detail in error.errors(include_url=False) for fault in _faults(model, detail)]
    version = " as changed" if change else ""
    errors = [(line, ConfigError(problem, where=f"{path}:{line}")) for line, problem in document.faults]
    for fault in faults:
        if fault.at not in document.unread:
            line = document.line(fault.at)
            problem = f"{dotted(fault.at)}: {fault.problem}" if fault.at else fault.problem
            where = f"{path}:{line}{version}"
            errors.append((line, ConfigError(problem, where=where, expected=fault.expected, fix=fault.fix)))
    raise_all([error for _, error in sorted(errors, key=lambda pair: pair[0])])
    config._path, config._folder = path, folder
    return config


def _changed(data: Mapping[str, Any], change: Mapping[str, Any], faults: list[Fault], at: Place = ()) -> dict[str, Any]:
    """The data with a change over it; what cannot be taken out is added to the faults."""
    changed = dict(data)
    for key, value in change.items():
        old = changed.get(key)
        if isinstance(value, Mapping):
            changed[key] = _changed(old if isinstance(old, Mapping) else {}, value, faults, (*at, key))
        elif value is not None:
            changed[key] = value
        elif key in changed:
            del changed[key]
        else:
            # A misspelt key would otherwise take out nothing, and nobody would know.
            faults.append(Fault((*at, key), f"there is nothing to take out{did_you_mean(key, data)}"))
    return changed


# ---- kinds of fields


def path_in_file(written: str, info: ValidationInfo, *, follow_links: bool = False) -> Path:
    """Resolves a path that a file holds, by the rule of `vqbench.paths`; one given in code is taken as it is."""
    if not isinstance(info.context, Folder):
        return Path(written)
    try:
        return resolve_inside(info.context.path, written, info.context.root, follow_links=follow_links)
    except ConfigError as error:
        raise reject(Fault((), error.problem, error.expected, error.fix)) from None


def path_as_written(path: Path, info: SerializationInfo) -> str:
    """The path relative to its file again, so that a digest does not change with the place of the project."""
    folder = info.context
    if isinstance(folder, Folder) and path.is_relative_to(folder.root):
        return Path(os.path.relpath(path, folder.path)).as_posix()
    return path.as_posix()


def must_exist(path: Path, written: str, *, folders: bool = False) -> None:
    """Rejects a path where no file is (or, with `folders`, neither a file nor a folder)."""
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise reject(Fault((), f"{shown(written)} cannot be read: {error.strerror}")) from None
    if not is_file and not (folders and is_folder):
        problem = (
            f"{shown(written)} is a folder" if is_folder else f"there is no file {shown(written)}{near_files(path)}"
        )
        raise reject(Fault((), problem, expected=f"a file at {path}"))


def existing_file(value: Any, info: ValidationInfo) -> Path:
    """Resolves the path of a file that must be there."""
    return _existing(value, info, folders=False)


def existing_path(value: Any, info: ValidationInfo) -> Path:
    """Resolves the path of a file or folder that must be there."""
    return _existing(value, info, folders=True)


def _existing(value: Any, info: ValidationInfo, *, folders: bool) -> Path:
    if not isinstance(value, str | Path):
        raise reject(Fault((), f"expected a path, got {shown(value)}"))
    path = path_in_file(str(value), info)
    if info.context is not None:
        must_exist(path, str(value), folders=folders)
    return path


ExistingFile = Annotated[Path, BeforeValidator(existing_file), PlainSerializer(path_as_written, return_type=str)]
"""A file, relative to the file that names it (see `vqbench.paths`); the value is absolute, and there is a file."""

ExistingPath = Annotated[Path, BeforeValidator(existing_path), PlainSerializer(path_as_written, return_type=str)]
"""Likewise a file or a folder."""

FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64, title="name")]
"""A name that is used in names of files and folders."""

Several = Annotated[tuple[T, ...], Field(strict=False)]
"""A YAML list, kept as a tuple."""


# ---- helpers for cross_faults


def section(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key, empty where there is none."""
    value = data.get(key)
    if isinstance(value, BaseModel):
        return dict(value)
    return value if isinstance(value, Mapping) else {}


def items(data: Mapping[str, Any], key: str) -> list[Any]:
    """The items of the list under a key, models as mappings; empty where there is no list."""
    value = data.get(key)
    return (
        [dict(item) if isinstance(item, BaseModel) else item for item in value]
        if isinstance(value, list | tuple)
        else []
    )


def exactly_one(data: Mapping[str, Any], *keys: str) -> Iterator[Fault]:
    """A fault unless just one of the keys has a value."""
    given = [key for key in keys if data.get(key) is not None]
    if len(given) != 1:
        came = " and ".join(given) if given else "none of them"
        yield Fault((given[1],) if given else (), f"expected exactly one of {_listed(keys)}, got {came}")


def repeated(data: Mapping[str, Any], key: str) -> Iterator[Fault]:
    """A fault for every item of a list that was there before."""
    seen: list[Any] = []
    for index, item in enumerate(items(data, key)):
        if item in seen:
            yield Fault((key, index), f"{shown(item)} is here for the second time")
        seen.append(item)


# ---- plain words


def dotted(place: Place) -> str:
    """A place as people write it.

    >>> dotted(("candidates", 2, "name"))
    'candidates[2].name'
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def shown(value: Any) -> str:
    """A value from a YAML file in a message.

    >>> shown("on"), shown(1.5), shown(None)
    ("'on'", 'the number 1.5', 'nothing')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 1e30:
        return "a number of more than 30 digits"
    if isinstance(value, int | float):
        return f"the number {value!r}"
    if isinstance(value, str | Path):
        text = str(value)
        return repr(text if len(text) <= 60 else text[:57] + "...")
    return "a list" if isinstance(value, list | tuple) else "a mapping" if isinstance(value, Mapping) else repr(value)


_KINDS = {
    "string_type": "text",
    "string_unicode": "text without halves of characters",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt:.10g}",
    "greater_than_equal": "a number of at least {ge:.10g}",
    "less_than": "a number below {lt:.10g}",
    "less_than_equal": "a number of at most {le:.10g}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


def _faults(model: type[BaseModel], detail: ErrorDetails) -> Iterator[Fault]:
    """What pydantic found in the data of `model`, in plain words."""
    kind, at, came, context = detail["type"], detail["loc"], detail["input"], detail.get("ctx", {})
    if kind == _FAULTS:
        for fault in context["faults"]:
            yield fault._replace(at=(*at, *fault.at))
        return
    if kind == "too_short" and len(came) >= context["min_length"]:
        return  # pydantic counts only the good items of a tuple; the faulty ones are reported by themselves
    fields = model.model_fields
    field = fields.get(str(at[0])) if at else None
    noun = (field and field.title) or "known value"
    noun = f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
    if kind == "missing" and isinstance(at[-1], str):
        yield Fault(at, "this key is missing", expected=field.description if field else None)
    elif kind == "missing":
        yield Fault(at[:-1], f"the list is too short: item {int(at[-1]) + 1} is missing")
    elif kind == "extra_forbidden":
        yield Fault(at, f"unknown key{did_you_mean(str(at[-1]), fields)}", expected=f"one of {_listed(fields)}")
    elif kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        near = did_you_mean(came, known) if isinstance(came, str) else ""
        yield Fault(at, f"{shown(came)} is not {noun}{near}", expected=_listed(known))
    elif kind == "string_pattern_mismatch":
        yield Fault(at, f"{shown(came)} cannot be {noun}", expected=field.description if field else None)
    elif kind in _KINDS:
        # YAML reads an unquoted `1.0` or `true` as what it looks like.
        quotes = "put it in quotes" if kind == "string_type" and isinstance(came, int | float) else None
        size = f"{len(came)} items" if kind.startswith("too_") and isinstance(came, list | tuple) else shown(came)
        yield Fault(at, f"expected {_KINDS[kind].format(**context)}, got {size}", fix=quotes)
    else:
        yield Fault(at, f"{detail['msg']}, got {shown(came)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
