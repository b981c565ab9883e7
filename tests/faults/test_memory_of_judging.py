"""No file of up to 50 MB makes a judging verb take more than a gigabyte, whatever is in it."""

from __future__ import annotations

import base64
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import edit_result, make_run

from vqbench.records.store import save_run

MB = 1 << 20
LIMIT_BYTES = 1 << 30

JUDGE = """
import resource, sys
import vqbench.judging.gate, vqbench.report.tables.terminal, vqbench.report.tables.markdown, rich.console, rich.table
with open("/proc/self/statm") as file:
    own = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (own + {limit}, own + {limit}))
from vqbench.cli import main
sys.argv = ["vqbench", "gate", sys.argv[1], "--rule", "codebook.entropy >= 0", "--rule", "speech.wer <= 1"]
main()
"""


def bomb(n_bytes: int) -> str:
    return base64.b64encode(zlib.compress(bytes(n_bytes), 9)).decode()


def many_values(plain: dict[str, Any]) -> None:
    """Tables whose codes are a gigabyte each once they are unpacked."""
    lengths = base64.b64encode((90_000_000).to_bytes(4, "little") * 12).decode()
    column = {
        "lengths": {"type": "uint32", "data": lengths},
        "values": {"type": "uint8", "zlib": bomb(1 << 30)},
    }
    plain["statistics"] = {
        key: column if "lengths" in packed else packed for key, packed in plain["statistics"].items()
    }


HOSTILE: dict[str, Callable[[Path], object]] = {
    "newlines": lambda file: file.write_bytes(b"\n" * (50 * MB) + file.read_bytes()),
    "newlines within": lambda file: file.write_bytes(
        file.read_bytes().replace(b'"statistics": {', b"\n" * (50 * MB) + b'"statistics": {')
    ),
    "empty lists": lambda file: file.write_bytes(b"[" + b"[]," * (16 * MB) + b"[]]"),
    "numbers": lambda file: file.write_bytes(b"[" + b"1.5," * (6 * MB) + b"1]"),
    "a string": lambda file: file.write_bytes(b'{"schema": 3, "suite": "' + b"x" * (50 * MB) + b'"}'),
    "strings": lambda file: file.write_bytes(b"[" + b'"ab",' * (5 * MB) + b'"ab"]'),
    "keys": lambda file: file.write_bytes(b'{"schema": 3' + b"".join(b',"%x": 1' % n for n in range(2 * MB)) + b"}"),
    "values of a bomb": lambda file: edit_result(file, many_values),
    "zeros": lambda file: file.write_bytes(bytes(50 * MB)),
}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_within_bounds(kind: str, tmp_path: Path) -> None:
    file = save_run(make_run(n_clips=12, resamples=20), tmp_path)
    HOSTILE[kind](file)
    assert file.stat().st_size < 51 * MB
    script = JUDGE.format(limit=LIMIT_BYTES)
    ended = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, timeout=120)
    assert ended.returncode in (2, 3), ended.stderr[-2000:]  # 3: read, and the same
    assert "Traceback" not in ended.stderr
    assert (ended.returncode == 2) == ("error:" in ended.stderr)
