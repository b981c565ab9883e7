"""Commands in a document, and what it says they print: run by the tests, and written anew by running this file.

A block is fenced as ```console; a line `$ vqbench …` is a command, the lines below are its output, and `$ echo $?` asks
for its exit code.

    python tests/documented.py docs/release.md
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

from vqbench.cli import app

_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
ROOT = Path(__file__).parent.parent


def answered(document: str) -> str:
    """The document with the output of every command as it is now."""
    return _BLOCK.sub(lambda block: "".join(_session(block[0])), document)


def _session(block: str) -> Iterator[str]:
    exit_code = 0
    for line in block.splitlines():
        if not line.startswith("$ "):
            continue
        yield f"{line}\n"
        if line == "$ echo $?":
            yield f"{exit_code}\n"
            continue
        program, *arguments = shlex.split(line[2:])
        if program != "vqbench":
            raise ValueError(f"not a command of ours: {line}")
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "100", "NO_COLOR": "1"})
        if result.exit_code not in (0, 1, 3):
            raise ValueError(f"{line} ended with {result.exit_code}:\n{result.output}")
        exit_code = result.exit_code
        yield from (f"{said.rstrip()}\n" for said in result.stdout.rstrip().splitlines())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name).resolve()
        os.chdir(ROOT)
        path.write_text(answered(path.read_text(encoding="utf-8")), encoding="utf-8")
