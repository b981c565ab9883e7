"""A candidate in a process, and an environment, of its own: whatever program speaks a few lines of JSON.

docs/tokenizers.md has the protocol, and a program of twenty lines. The process is started once and told what to do in
batches; waveforms and codes go through files in a folder of their own. One that dies is started again, and what it died
of is tried clip by clip, so that only that clip is without a row.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from vqbench.errors import CheckpointError, DataError
from vqbench.files import file_digest
from vqbench.tokenizers.protocol import Codes, Stream, bits_of, slack_s

PROTOCOL = 1
"""The version of the protocol, which the program says first."""

STARTING_S = 600.0
"""So long a program may take to load its model."""

CLIP_S = 120.0
"""So long a program may take for each clip."""

_STDERR_SHOWN = 400
_LARGEST_CODEBOOK = 1 << 24
_MOST_LINE = 1 << 20


class _Gone(Exception):  # noqa: N818 - what became of the process, not an error of ours
    """The process died, went silent or said what is no answer."""


class Process:
    """A tokenizer behind a command.

    Args:
        command: program and arguments; what is in those that are files, or folders with a whole path, is part of its
            digest.

    Raises:
        CheckpointError: it cannot be started, or does not say what it is.
    """

    n_parameters: int | None = None

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[str] | None = None
        self._stderr: IO[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        try:
            said = self._start()
        except _Gone as error:
            raise CheckpointError(
                f"the tokenizer cannot be started: {error}", where=" ".join(self._command), fix="docs/tokenizers.md"
            ) from None
        self.sample_rate_hz, self.streams, self.licence = self._understood(said)
        self.can_decode = said.get("decodes", True) is True
        # What is in files, and not where they lie: another machine's copy is the same tokenizer.
        content = json.dumps([said, [_content(part) for part in self._command]], sort_keys=True)
        self.digest = hashlib.sha256(content.encode()).hexdigest()[:16]

    def bits(self, codes: Codes) -> float:
        """log2 of the codebook's size for each code."""
        return bits_of(codes, self.streams)

    def encode(self, waveforms: Sequence[Tensor]) -> list[Codes | DataError]:
        """(N,) float32 each → its codes."""
        return self._each("encode", list(waveforms))

    def decode(self, codes: Sequence[Codes], lengths: Sequence[int]) -> list[Tensor | DataError]:
        """Codes → (length,) float32 each."""
        return self._each("decode", list(zip(codes, lengths, strict=True)))

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, self._stderr):
                if stream is not None:
                    stream.close()

    def __del__(self) -> None:
        self.close()

    def _each(self, what: str, given: list[Any]) -> list[Any]:
        """All together; where the process does not survive that, one by one, so that one clip costs no other."""
        try:
            return self._batch(what, given)
        except _Gone as error:
            self.close()
            if len(given) == 1:
                return [DataError(f"the tokenizer failed: {error}")]
        return [row for one in given for row in self._each(what, [one])]

    def _batch(self, what: str, given: list[Any]) -> list[Any]:
        if not given:
            return []
        if self._process is None:
            self._start()
        with tempfile.TemporaryDirectory(prefix="vqbench-") as name:
            folder = Path(name)
            wavs = [folder / f"{place}.wav" for place in range(len(given))]
            codes = [folder / f"{place}.json" for place in range(len(given))]
            request: dict[str, Any] = {"do": what}
            if what == "encode":
                for path, waveform in zip(wavs, given, strict=True):
                    soundfile.write(path, waveform.numpy(), self.sample_rate_hz, subtype="FLOAT")
                request |= {"wav": [str(path) for path in wavs], "codes": [str(path) for path in codes]}
            else:
                for path, (rows, _) in zip(codes, given, strict=True):
                    path.write_text(json.dumps([row.tolist() for row in rows]), encoding="utf-8")
                request |= {
                    "codes": [str(path) for path in codes],
                    "wav": [str(path) for path in wavs],
                    "samples": [length for _, length in given],
                }
            failed = self._ask(request, CLIP_S * len(given)).get("failed", {})
            if not isinstance(failed, dict):
                raise _Gone(self._told('its "failed" is no mapping from places to reasons'))
            rows = []
            for place in range(len(given)):
                if str(place) in failed:
                    rows.append(DataError(f"the tokenizer says: {failed[str(place)]}"))
                elif what == "encode":
                    rows.append(self._read_codes(codes[place]))
                else:
                    rows.append(self._read_waveform(wavs[place], given[place][1]))
            return rows

    def _read_codes(self, path: Path) -> Codes | DataError:
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            # Without a dtype: told to be whole numbers, 1.7 would become 1, and true too.
            codes = tuple(torch.tensor(row) if row else torch.empty(0, dtype=torch.int64) for row in rows)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            return DataError(f"the tokenizer wrote no codes: {error}")
        if any(row.dtype != torch.int64 for row in codes):
            return DataError("the tokenizer wrote codes that are no whole numbers")
        return codes

    def _read_waveform(self, path: Path, length: int) -> Tensor | DataError:
        try:
            samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            return DataError(f"the tokenizer wrote no waveform: {error}")
        if rate_hz != self.sample_rate_hz or samples.shape[1] != 1:
            return DataError(
                f"the tokenizer wrote {samples.shape[1]} channels at {rate_hz} Hz",
                expected=f"one at {self.sample_rate_hz} Hz",
            )
        if not np.isfinite(samples).all():
            return DataError("the tokenizer's waveform holds NaN or infinity")
        waveform = torch.from_numpy(samples[:, 0].copy())
        if abs(len(waveform) - length) > slack_s(self.streams) * rate_hz:
            return DataError(f"the tokenizer gave {len(waveform)} samples back of {length}")
        return torch.nn.functional.pad(waveform, (0, max(0, length - len(waveform))))[:length]

    # ---- the process

    def _start(self) -> dict[str, Any]:
        """Starts it, and gives what it says of itself."""
        # A file, since a pipe that nobody reads would stop the program one day.
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            self._process = None
            raise _Gone(error.strerror or str(error)) from None
        self._lines = queue.Queue()
        threading.Thread(target=_read_lines, args=(self._process.stdout, self._lines), daemon=True).start()
        said = self._answer(STARTING_S)
        if said.get("vqbench") != PROTOCOL:
            raise _Gone(f'it says {json.dumps(said)[:200]}, where `"vqbench": {PROTOCOL}` was expected')
        return said

    def _ask(self, request: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise _Gone(self._told("it has ended")) from None
        answer = self._answer(deadline_s)
        if "error" in answer:
            raise _Gone(self._told(str(answer["error"])))
        return answer

    def _answer(self, deadline_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=deadline_s)
        except queue.Empty:
            raise _Gone(self._told(f"nothing was heard of it for {deadline_s:g} s")) from None
        if line is None:
            assert self._process is not None
            raise _Gone(self._told(f"it ended with exit code {self._process.wait()}"))
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise _Gone(self._told(f"it wrote {line[:200]!r}, where a line of JSON was expected"))
        return answer

    def _told(self, problem: str) -> str:
        """A problem, with the end of what the process wrote to its standard error."""
        if self._stderr is None or self._stderr.closed:
            return problem
        # However much it wrote: a letter takes at most four bytes.
        end = os.fstat(self._stderr.fileno()).st_size
        content = os.pread(self._stderr.fileno(), 4 * _STDERR_SHOWN, max(0, end - 4 * _STDERR_SHOWN))
        written = content.decode(errors="replace").strip()[-_STDERR_SHOWN:]
        return f"{problem}; it wrote: {written}" if written else problem

    def _understood(self, said: Mapping[str, Any]) -> tuple[int, tuple[Stream, ...], str | None]:
        rate_hz, streams = said.get("sample_rate_hz"), said.get("streams")
        fits = (
            isinstance(rate_hz, int)
            and 1000 <= rate_hz <= 192_000
            and isinstance(streams, list)
            and streams
            and all(isinstance(one, list) and len(one) == 2 and _is_stream(*one) for one in streams)
        )
        if not fits:
            self.close()
            raise CheckpointError(
                f"the tokenizer says {json.dumps(dict(said))[:200]}",
                where=" ".join(self._command),
                expected='"sample_rate_hz", and "streams": [[codes a second, size of the codebook], …]',
                fix="docs/tokenizers.md",
            )
        assert isinstance(rate_hz, int) and isinstance(streams, list)
        licence = said.get("licence")
        return rate_hz, tuple(Stream(float(hz), int(size)) for hz, size in streams), str(licence) if licence else None


def _content(part: str) -> str | list[list[str]]:
    """An argument as the digest knows it: what is in a file or folder, else the argument itself."""
    path = Path(part)
    if path.is_file():
        return file_digest(path)
    if path.is_absolute() and path.is_dir():
        inside = sorted(one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)
        return [[str(one.relative_to(path)), file_digest(one)] for one in inside]
    return part


def _is_stream(rate_hz: object, codebook_size: object) -> bool:
    """Whether that can be codes a second and the size of a codebook."""
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (rate_hz, codebook_size))
    if not numbers:
        return False
    assert isinstance(rate_hz, int | float)
    size_fits = isinstance(codebook_size, int) and 1 <= codebook_size <= _LARGEST_CODEBOOK
    return size_fits and 0 < rate_hz < math.inf


def _read_lines(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    """Puts what the process says into a queue, line by line, and None at its end."""
    assert stream is not None
    try:
        while line := stream.readline(_MOST_LINE):
            lines.put(line)
    except (OSError, ValueError):
        pass
    lines.put(None)
