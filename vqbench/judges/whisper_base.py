"""What the Whisper backends share: how waveforms become windows, and what keeps a broken one from running away.

A clip's transcript depends on that clip alone, never on its neighbours in a call: windows are whole seconds worked out
from the clip's own length, and only clips with the same window are decoded together.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch

from vqbench.audio.io import resample
from vqbench.judges.loops import loop_start, without_loop
from vqbench.judges.prerequisites import checked_waveform

Window = Literal["clip", "full"]
"""How much the encoder sees: the clip and `MARGIN_S` of silence, or always the 30 s that Whisper was trained on."""

SAMPLE_RATE_HZ = 16_000
FULL_WINDOW_S = 30

MARGIN_S = 8
"""Silence after the clip in a short window. With 3 s Whisper repeats itself, which costs words and a second look."""

MAX_TOKENS = 224
"""Half of Whisper's text context, its own limit for one window."""

TOKENS_PER_S = 10
"""No English speaker gets near this (fast reading is 5 to 6), so that only a loop is ever cut."""

_PIECE_S = 25
_PAUSE_SEARCH_S = 2.5
_PAUSE_S = 0.1

VERSION = 2
"""Raised whenever this file's rules would change a transcript."""


class WhisperRecognizer(ABC):
    """English, temperature 0, no timestamps, no text carried from window to window, no voice detection.

    Clips longer than 30 s are cut at pauses. A transcript from a short window that repeats itself (`loop_start`) is
    decoded once more in the full window, where Whisper loops far less; of what still loops, the first saying is kept.

    Attributes:
        identity: everything that changes a transcript.
    """

    def __init__(
        self, identity: dict[str, str | int | float], window: Window, batch_size: int, workers: int = 1
    ) -> None:
        self.identity: dict[str, str | int | float] = {
            **identity,
            "window": window,
            "margin_s": MARGIN_S,
            "tokens_per_s": TOKENS_PER_S,
            "language": "en",
            "version": VERSION,
        }
        self._window = window
        self._batch_size = batch_size
        self._workers = workers

    def transcribe(
        self, waveforms: Sequence[np.ndarray | torch.Tensor], sample_rate_hz: int, *, keep_loops: bool = False
    ) -> list[str]:
        """Writes down what is said.

        Silence and noise may give an empty text or a few invented words, as Whisper does.

        Args:
            waveforms: (N,) floats each, nominally in [-1, 1], of any length from one sample on.
            sample_rate_hz: of all of them; they are resampled to 16 kHz here.
            keep_loops: whether to keep what repeats itself in the full window, too.

        Returns:
            One text a waveform, in their order, as Whisper spells it.

        Raises:
            DataError: for an empty waveform or one with NaN or infinite samples, by its place in `waveforms`.
        """
        heard = [_resampled(waveform, sample_rate_hz, f"waveform {i}") for i, waveform in enumerate(waveforms)]
        pieces = [(i, piece) for i, waveform in enumerate(heard) for piece in split_at_pauses(waveform)]
        texts = self._decode_all([piece for _, piece in pieces], keep_loops)
        parts: list[list[str]] = [[] for _ in heard]
        for (i, _), text in zip(pieces, texts, strict=True):
            parts[i].append(text.strip())
        return [" ".join(filter(None, part)) for part in parts]

    def _decode_all(self, pieces: Sequence[np.ndarray], keep_loops: bool) -> list[str]:
        windows = [FULL_WINDOW_S if self._window == "full" else clip_window_s(len(piece)) for piece in pieces]
        texts = [""] * len(pieces)
        self._decode_into(texts, pieces, windows, range(len(pieces)))
        loops = [i for i, text in enumerate(texts) if windows[i] < FULL_WINDOW_S and loop_start(text) is not None]
        self._decode_into(texts, pieces, [FULL_WINDOW_S] * len(pieces), loops)
        # A loop is more often the decoder's than the speaker's: what it said once counts once.
        return texts if keep_loops else [without_loop(text) for text in texts]

    def _decode_into(
        self, texts: list[str], pieces: Sequence[np.ndarray], windows: Sequence[int], chosen: Sequence[int]
    ) -> None:
        def decode(job: tuple[int, list[int]]) -> list[str]:
            window_s, batch = job
            padded = [np.pad(pieces[i], (0, window_s * SAMPLE_RATE_HZ - len(pieces[i]))) for i in batch]
            return self._decode(padded, [token_limit(len(pieces[i])) for i in batch])

        jobs = list(_batches(chosen, windows, pieces, self._batch_size))
        with ThreadPoolExecutor(self._workers) as pool:
            for (_, batch), heard in zip(jobs, pool.map(decode, jobs), strict=True):
                for i, text in zip(batch, heard, strict=True):
                    texts[i] = text

    @abstractmethod
    def _decode(self, waveforms: Sequence[np.ndarray], token_limits: Sequence[int]) -> list[str]:
        """Decodes one batch.

        Args:
            waveforms: (N,) float32 at 16 kHz, all of one length: whole seconds, at most 30.
            token_limits: tokens that each text may have at most.
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
    n_pieces = math.ceil(len(waveform) / (_PIECE_S * SAMPLE_RATE_HZ))
    reach, pause = int(_PAUSE_SEARCH_S * SAMPLE_RATE_HZ), int(_PAUSE_S * SAMPLE_RATE_HZ)
    cuts = []
    for k in range(1, n_pieces):
        start = len(waveform) * k // n_pieces - reach
        frames = waveform[start : start + 2 * reach].reshape(-1, pause)
        quietest = int(np.square(frames, dtype=np.float64).sum(axis=1).argmin())
        cuts.append(start + quietest * pause + pause // 2)
    return np.split(waveform, cuts)


def _resampled(waveform: np.ndarray | torch.Tensor, sample_rate_hz: int, where: str) -> np.ndarray:
    samples = checked_waveform(waveform, where)
    return resample(torch.from_numpy(samples), sample_rate_hz, SAMPLE_RATE_HZ).numpy()


def _batches(
    chosen: Sequence[int], windows: Sequence[int], pieces: Sequence[np.ndarray], batch_size: int
) -> Iterator[tuple[int, list[int]]]:
    """Groups of at most `batch_size` of the chosen pieces that share a window, by length."""
    order = sorted(chosen, key=lambda i: (windows[i], len(pieces[i]), i))
    for window_s, group in itertools.groupby(order, key=lambda i: windows[i]):
        members = list(group)
        for start in range(0, len(members), batch_size):
            yield window_s, members[start : start + batch_size]
