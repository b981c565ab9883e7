"""What the Whisper backends share: how waveforms become windows, and what keeps a broken one from running away.

A clip's transcript depends on that clip alone, never on its neighbours in a call: windows are whole seconds worked out
from the clip's own length, and only clips with the same window are decoded together.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np
import torch

from vqbench.audio.io import resample
from vqbench.judges.asr.loops import loop_start
from vqbench.judges.prerequisites import checked_waveform
from vqbench.languages import ENGLISH, LANGUAGES, language_of

Window = Literal["clip", "full"]
"""How much the encoder sees: the clip and `MARGIN_S` of silence, or always the 30 s that Whisper was trained on."""

SAMPLE_RATE_HZ = 16_000
FULL_WINDOW_S = 30

MARGIN_S = 8
"""Silence after the clip in a short window. With 3 s Whisper repeats itself, which costs words and a second look."""

MAX_TOKENS = 224
"""Half of Whisper's text context, its own limit for one window."""

TOKENS_PER_S = 10
"""No English speaker gets near this (fast reading is 5 to 6), so that only a loop is ever cut. Of other languages some
take several tokens a character: they may fill the text, and what would not fit into it is heard in halves."""

_LEAST_S = 4.0
"""Shorter pieces are not halved: nobody says 224 tokens in four seconds."""

_PIECE_S = 25
_PAUSE_SEARCH_S = 2.5
_PAUSE_S = 0.1

VERSION = 3
"""Raised whenever this file's rules would change a transcript."""


class Decoded(NamedTuple):
    """A text, and whether Whisper ended it by itself, rather than its limit of tokens."""

    text: str
    ended: bool


class _Piece(NamedTuple):
    """At most 30 s of a clip, (N,) float32 at 16 kHz, and the code of its language."""

    samples: np.ndarray
    code: str


class WhisperRecognizer(ABC):
    """Temperature 0, no timestamps, no text carried from window to window, no voice detection.

    Clips longer than 30 s are cut at pauses. A transcript from a short window that repeats itself (`loop_start`) is
    decoded once more in the full window, where Whisper loops far less; what it then says is what was heard.

    Attributes:
        identity: everything that changes a transcript, but for the language, which is the clip's.
        languages: codes of those that the model knows.
    """

    def __init__(
        self,
        identity: dict[str, str | int | float],
        window: Window,
        batch_size: int,
        known: Collection[str] = ("en",),
        workers: int = 1,
    ) -> None:
        self.identity: dict[str, str | int | float] = {
            **identity,
            "window": window,
            "margin_s": MARGIN_S,
            "tokens_per_s": TOKENS_PER_S,
            "version": VERSION,
        }
        self.languages = frozenset(code for code, language in LANGUAGES.items() if language.whisper in known)
        self._window = window
        self._batch_size = batch_size
        self._workers = workers

    def transcribe(
        self,
        waveforms: Sequence[np.ndarray | torch.Tensor],
        sample_rate_hz: int,
        languages: Sequence[str] | None = None,
    ) -> list[str]:
        """Writes down what is said.

        Silence and noise may give an empty text or a few invented words, as Whisper does.

        Args:
            waveforms: (N,) floats each, nominally in [-1, 1], of any length from one sample on.
            sample_rate_hz: of all of them; they are resampled to 16 kHz here.
            languages: the code of each, one of `self.languages`; all are English where it is left out.

        Returns:
            One text a waveform, in their order, as Whisper spells it.

        Raises:
            DataError: for an empty waveform or one with NaN or infinite samples, by its place in `waveforms`.
        """
        told = [ENGLISH] * len(waveforms) if languages is None else languages
        heard = [_resampled(waveform, sample_rate_hz, f"waveform {i}") for i, waveform in enumerate(waveforms)]
        pieces = [
            (i, _Piece(samples, code))
            for i, (waveform, code) in enumerate(zip(heard, told, strict=True))
            for samples in split_at_pauses(waveform)
        ]
        texts = self._hear([piece for _, piece in pieces])
        parts: list[list[str]] = [[] for _ in heard]
        for (i, _), text in zip(pieces, texts, strict=True):
            parts[i].append(text)
        return [" ".join(filter(None, part)) for part in parts]

    def _hear(self, pieces: Sequence[_Piece]) -> list[str]:
        windows = [FULL_WINDOW_S if self._window == "full" else clip_window_s(len(piece.samples)) for piece in pieces]
        heard = [Decoded("", True)] * len(pieces)
        self._decode_into(heard, pieces, windows, range(len(pieces)))
        loops = [i for i, piece in enumerate(pieces) if windows[i] < FULL_WINDOW_S and _loops(heard[i].text, piece)]
        self._decode_into(heard, pieces, [FULL_WINDOW_S] * len(pieces), loops)
        return [
            " ".join(filter(None, self._hear([piece._replace(samples=half) for half in _halves(piece.samples)])))
            if _is_cut(one, piece)
            else one.text.strip()
            for one, piece in zip(heard, pieces, strict=True)
        ]

    def _decode_into(
        self, heard: list[Decoded], pieces: Sequence[_Piece], windows: Sequence[int], chosen: Sequence[int]
    ) -> None:
        def decode(job: tuple[tuple[str, int], list[int]]) -> list[Decoded]:
            (code, window_s), batch = job
            sounds = [pieces[i].samples for i in batch]
            padded = [np.pad(samples, (0, window_s * SAMPLE_RATE_HZ - len(samples))) for samples in sounds]
            limits = [token_limit(len(samples)) if code == ENGLISH else MAX_TOKENS for samples in sounds]
            told = language_of(code).whisper
            assert told is not None
            return self._decode(padded, limits, told)

        jobs = list(_batches(chosen, windows, pieces, self._batch_size))
        with ThreadPoolExecutor(self._workers) as pool:
            for (_, batch), decoded in zip(jobs, pool.map(decode, jobs), strict=True):
                for i, one in zip(batch, decoded, strict=True):
                    heard[i] = one

    @abstractmethod
    def _decode(self, waveforms: Sequence[np.ndarray], token_limits: Sequence[int], language: str) -> list[Decoded]:
        """Decodes one batch.

        Args:
            waveforms: (N,) float32 at 16 kHz, all of one length: whole seconds, at most 30.
            token_limits: tokens that each text may have at most.
            language: as Whisper calls that of all of them.
        """


def clip_window_s(n_samples: int) -> int:
    """The short window of a clip at 16 kHz: its length and the margin, in whole seconds.

    >>> clip_window_s(16_000), clip_window_s(16_001), clip_window_s(30 * 16_000)
    (9, 10, 30)
    """
    return min(FULL_WINDOW_S, math.ceil(n_samples / SAMPLE_RATE_HZ) + MARGIN_S)


def token_limit(n_samples: int) -> int:
    """Tokens that a clip at 16 kHz may give, so that a loop on broken audio ends.

    >>> token_limit(1), token_limit(160_000), token_limit(30 * 16_000)
    (20, 110, 224)
    """
    return min(MAX_TOKENS, TOKENS_PER_S * (1 + math.ceil(n_samples / SAMPLE_RATE_HZ)))


def split_at_pauses(waveform: np.ndarray) -> list[np.ndarray]:
    """Cuts a long waveform into pieces of at most 30 s, each time where the 0.1 s around the cut are the quietest.

    Args:
        waveform: (N,) float32 at 16 kHz.

    Returns:
        Pieces of 10 to 30 s that joined are the waveform, or the waveform itself where it fits into a window.
    """
    if len(waveform) <= FULL_WINDOW_S * SAMPLE_RATE_HZ:
        return [waveform]
    return _cut(waveform, math.ceil(len(waveform) / (_PIECE_S * SAMPLE_RATE_HZ)), _PAUSE_SEARCH_S)


def _halves(waveform: np.ndarray) -> list[np.ndarray]:
    return _cut(waveform, 2, len(waveform) / SAMPLE_RATE_HZ / 8)


def _cut(waveform: np.ndarray, n_pieces: int, search_s: float) -> list[np.ndarray]:
    """Pieces of about one length, cut at the quietest place within so many seconds."""
    pause = int(_PAUSE_S * SAMPLE_RATE_HZ)
    reach = int(search_s * SAMPLE_RATE_HZ) // pause * pause
    cuts = []
    for k in range(1, n_pieces):
        start = len(waveform) * k // n_pieces - reach
        frames = waveform[start : start + 2 * reach].reshape(-1, pause)
        quietest = int(np.square(frames, dtype=np.float64).sum(axis=1).argmin())
        cuts.append(start + quietest * pause + pause // 2)
    return np.split(waveform, cuts)


def _loops(text: str, piece: _Piece) -> bool:
    """Whether a text repeats itself, by its letters and digits."""
    words = ["".join(filter(str.isalnum, word)) for word in text.lower().split()]
    return loop_start(words if language_of(piece.code).has_spaces else "".join(words)) is not None


def _is_cut(heard: Decoded, piece: _Piece) -> bool:
    """Whether Whisper had more to say than fits into a text. Of English everything fits, and a loop never ends."""
    is_long = len(piece.samples) > _LEAST_S * SAMPLE_RATE_HZ
    return not heard.ended and piece.code != ENGLISH and is_long and not _loops(heard.text, piece)


def _resampled(waveform: np.ndarray | torch.Tensor, sample_rate_hz: int, where: str) -> np.ndarray:
    samples = checked_waveform(waveform, where)
    return resample(torch.from_numpy(samples), sample_rate_hz, SAMPLE_RATE_HZ).numpy()


def _batches(
    chosen: Sequence[int], windows: Sequence[int], pieces: Sequence[_Piece], batch_size: int
) -> Iterator[tuple[tuple[str, int], list[int]]]:
    """Groups of at most `batch_size` of the chosen pieces that share language and window, by length."""
    order = sorted(chosen, key=lambda i: (pieces[i].code, windows[i], len(pieces[i].samples), i))
    for shared, group in itertools.groupby(order, key=lambda i: (pieces[i].code, windows[i])):
        members = list(group)
        for start in range(0, len(members), batch_size):
            yield shared, members[start : start + batch_size]
