"""What GitHub's runner does with the lines of a job's log, written from its documentation and its behaviour."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

KNOWN = {
    *("error", "warning", "notice", "debug", "group", "endgroup", "echo", "stop-commands"),
    *("add-mask", "add-path", "add-matcher", "remove-matcher", "set-env", "set-output", "save-state"),
}


@dataclass(frozen=True)
class Command:
    """One command that the runner would follow."""

    name: str
    message: str
    properties: dict[str, str] = field(default_factory=dict)


def commands(log: str) -> list[Command]:
    """All commands that the runner follows in a log; those that stop and resume it are left out.

    A line is a command of the newer form where `::` is the first thing on it but blanks, else of the older form where
    `##[name ...]` stands anywhere. Names ignore case. What stands between `stop-commands` and its token is not read.
    """
    found = []
    token = None
    for line in re.split("\r\n|\r|\n", log):
        command = _read(line, {*KNOWN, *([token.lower()] if token is not None else [])})
        if command is None:
            continue
        if token is not None:
            token = None if command.name == token.lower() else token
        elif command.name == "stop-commands":
            token = command.message
        else:
            found.append(command)
    assert token is None, "commands stay switched off"
    return found


def _read(line: str, known: set[str]) -> Command | None:
    newer = re.match(r"\s*::([^ ]*?)( .*?)?::(.*)$", line)
    if newer and newer[1].lower() in known:
        return Command(newer[1].lower(), _decoded(newer[3], "0A 0D 25"), _properties(newer[2], ",", "0A 0D 25 2C 3A"))
    older = re.search(r"##\[([^ \]]*)( [^\]]*)?\](.*)$", line)
    if older and older[1].lower() in known:
        escapes = "0A 0D 25 3B 5D"
        return Command(older[1].lower(), _decoded(older[3], escapes), _properties(older[2], ";", escapes))
    return None


def _properties(text: str | None, separator: str, escapes: str) -> dict[str, str]:
    pairs = [pair.split("=", 1) for pair in (text or "").strip().split(separator) if "=" in pair]
    return {name.lower(): _decoded(value, escapes) for name, value in pairs}


def _decoded(text: str, escapes: str) -> str:
    return re.sub("%(" + escapes.replace(" ", "|") + ")", lambda match: unquote(match[0]), text)
