"""YAML files as plain data that remembers its lines.

Scalars are read by YAML 1.2's core rules, not PyYAML's 1.1: `on`, `1:30` and dates are text, `1e-4` is a number.
Nothing a file says is executed: there are no tags beyond the core's, no merge keys, and no more data than `MAX_BYTES`
and `MAX_NODES` allow, however the aliases multiply.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vqbench.errors import ConfigError
from vqbench.files import near_files

MAX_BYTES = 1_000_000
"""Larger files are refused unread; a suite has some thousands of bytes."""

MAX_NODES = 10_000
"""Scalars, lists and mappings of one file, its aliases written out."""

MAX_DEPTH = 50
"""Lists and mappings inside each other; an anchor that contains itself ends here, too."""

Place = tuple[str | int, ...]
"""The keys and indices that lead to a value, e.g. `("candidates", 2, "name")`."""

_TAG = "tag:yaml.org,2002:"


class _CoreLoader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own shape


_CoreLoader.add_implicit_resolver(f"{_TAG}null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_CoreLoader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))
_CoreLoader.add_implicit_resolver(
    f"{_TAG}int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), list("-+0123456789")
)
_CoreLoader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
    list("-+.0123456789"),
)


def _integer(text: str) -> int:
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _number(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("expected true or false")
    return text.lower() == "true"


_SCALARS: dict[str, Callable[[str], Any]] = {
    f"{_TAG}null": lambda text: None,
    f"{_TAG}bool": _truth,
    f"{_TAG}int": _integer,
    f"{_TAG}float": _number,
    f"{_TAG}str": str,
}


@dataclass
class Document:
    """One file's data, and where in the file everything stands.

    Attributes:
        path: the file, as the user named it.
        data: dicts with text keys, lists, text, numbers, booleans and None. What could not be read is None.
        faults: (line, problem) of what is wrong with the file itself, a repeated key or a tag; the rest is still good.
        unread: places of the values that could not be read.
    """

    path: Path
    root: yaml.Node
    data: Any = None
    faults: list[tuple[int, str]] = field(default_factory=list)
    unread: set[Place] = field(default_factory=set)
    _n_nodes: int = 0

    def line(self, place: Place) -> int:
        """The line, from 1, of a value's key or list item; where there is none, of the nearest thing around it."""
        node, line = self.root, self.root.start_mark.line
        for step in place:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == step), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                found = (node.value[step], node.value[step])
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        return int(line) + 1

    def _fault(self, node: yaml.Node, problem: str) -> None:
        self.faults.append((node.start_mark.line + 1, problem))

    def _plain(self, node: yaml.Node, place: Place = ()) -> Any:
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES:
            raise ConfigError(f"there are more than {MAX_NODES} values, aliases written out", where=str(self.path))
        if len(place) > MAX_DEPTH:
            raise ConfigError(
                f"values are nested more than {MAX_DEPTH} deep, or an anchor contains itself",
                where=f"{self.path}:{node.start_mark.line + 1}",
            )
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._plain(item, (*place, index)) for index, item in enumerate(node.value)]
        problem = f"the tag {node.tag.replace(_TAG, '!!')!r} is not read here; leave it out"
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            try:
                return _SCALARS[node.tag](node.value)
            except ValueError:
                problem = f"{node.value[:40]!r} cannot be read as {node.tag.removeprefix(_TAG)}"
        self._fault(node, problem)
        self.unread.add(place)
        return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                came = repr(key.value[:40]) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                self._fault(key, f"a key must be a name, got {came}")
            elif key.value in data:
                self._fault(key, f"{key.value[:40]!r} is here for the second time; first on line {lines[key.value]}")
            else:
                data[key.value] = self._plain(value, (*place, key.value))
                lines[key.value] = key.start_mark.line + 1
        return data


def read_yaml(path: Path) -> Document:
    """Reads a YAML file. Of the few that were read last the same text gives the same document: it is not to be changed.

    Raises:
        ConfigError: where there is nothing to read: no such file, a folder, too large, not UTF-8, empty, not YAML.
    """
    return _document(path, _text(path))


@functools.lru_cache(maxsize=4)
def _document(path: Path, text: str) -> Document:
    try:
        root = yaml.compose(text, Loader=_CoreLoader)
    except RecursionError:
        raise ConfigError("lists and mappings are nested too deep to be read", where=str(path)) from None
    except yaml.YAMLError as error:
        raise _syntax_error(path, text, error) from None
    except (ValueError, OverflowError) as error:
        # PyYAML lets these out for escapes beyond Unicode and for absurd version numbers.
        raise ConfigError(f"this is not valid YAML: {error}", where=str(path)) from None
    if root is None:
        raise ConfigError("the file is empty", where=str(path))
    document = Document(path, root)
    document.data = document._plain(root)
    return document


def _text(path: Path) -> str:
    where = str(path)
    try:
        if path.is_dir():
            raise ConfigError("this is a folder", where=where, expected="a YAML file")
        if not path.exists():
            raise ConfigError(f"there is no such file{near_files(path)}", where=where)
        if not path.is_file():
            raise ConfigError("this is not a regular file", where=where, expected="a YAML file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the file cannot be read: {error}", where=where) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"the file is larger than {MAX_BYTES:,} bytes", where=where, expected="a suite or recipe")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8 text", where=f"{where}:{line}", fix="save it as UTF-8") from None


def _syntax_error(path: Path, text: str, error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        # A character that YAML forbids; PyYAML gives its index, or its number and an index.
        index = getattr(error, "position", 0)
        line, column = text.count("\n", 0, index) + 1, index - (text.rfind("\n", 0, index) + 1) + 1
        return ConfigError(
            f"this is not valid YAML: the character {text[index : index + 1]!r} is not allowed",
            where=f"{path}:{line}:{column}",
        )
    where, problem = f"{path}:{mark.line + 1}:{mark.column + 1}", getattr(error, "problem", None) or "it ends too early"
    context, start = getattr(error, "context", None), getattr(error, "context_mark", None)
    if context:
        problem = f"{context}{f' (from line {start.line + 1})' if start else ''}, {problem}"
    if text[mark.index : mark.index + 1] == "\t":
        return ConfigError("a tab stands where YAML wants spaces", where=where, fix="indent with spaces")
    fix = None
    if "cannot start any token" in problem or "mapping values are not allowed" in problem:
        fix = "put text with special characters in quotes, and check the indentation"
    return ConfigError(f"this is not valid YAML: {problem}", where=where, fix=fix)
