"""Whisper by openai-whisper, that is PyTorch: fp32 on a CPU, fp16 on CUDA."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqbench.audio.io import file_digest
from vqbench.errors import CheckpointError
from vqbench.judges.asr.ctranslate2_weights import load_converted_whisper
from vqbench.judges.asr.whisper_base import Decoded, WhisperRecognizer, Window
from vqbench.judges.prerequisites import import_judge


class OpenaiWhisper(WhisperRecognizer):
    """A Whisper checkpoint as OpenAI publishes it, or one in CTranslate2's format, converted when it is loaded.

    Args:
        path: a `.pt` file, or a folder with CTranslate2's `model.bin`.
        name: what results call the model.
        beam_size: beams of the search; 1 is greedy.
        window: what the encoder sees.
        device: a CPU or one CUDA device.

    Raises:
        CheckpointError: where the weights are missing, or are no Whisper.
    """

    def __init__(self, path: Path, name: str, beam_size: int, window: Window, device: torch.device) -> None:
        self._whisper = import_judge("whisper", "speech recognition")
        model = load_converted_whisper(path) if path.is_dir() else _load_published(self._whisper, path)
        self._model = model.to(device).eval()
        self._device = device
        self._options: dict[str, Any] = {
            "without_timestamps": True,
            "temperature": 0.0,
            "fp16": device.type == "cuda",
            "beam_size": beam_size if beam_size > 1 else None,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves the closing of its vocabulary to the collector
            self._tokenizer = self._whisper.tokenizer.get_tokenizer(
                model.is_multilingual, num_languages=model.num_languages, language="en", task="transcribe"
            )
        identity: dict[str, str | int | float] = {
            "backend": "openai-whisper",
            **{package: metadata.version(package) for package in ("openai-whisper", "torch", "soxr")},
            "model": name,
            "weights": file_digest(path / "model.bin" if path.is_dir() else path),
            "beam_size": beam_size,
            "compute_type": "float16" if device.type == "cuda" else "float32",
            "device": device.type,
        }
        every = [*self._whisper.tokenizer.LANGUAGES][: model.num_languages]
        super().__init__(
            identity, window, 16 if device.type == "cuda" else 1, every if model.is_multilingual else ["en"]
        )

    def _decode(self, waveforms: Sequence[np.ndarray], token_limits: Sequence[int], language: str) -> list[Decoded]:
        mels = torch.stack(
            [
                self._whisper.log_mel_spectrogram(waveform, self._model.dims.n_mels, device=self._device)
                for waveform in waveforms
            ]
        )
        options = self._whisper.DecodingOptions(**self._options, language=language, sample_len=max(token_limits))
        with _positions_for(self._model.encoder, mels.shape[-1]):
            results = self._whisper.decode(self._model, mels, options)
        return [
            Decoded(self._tokenizer.decode(result.tokens[:limit]), len(result.tokens) < limit)
            for result, limit in zip(results, token_limits, strict=True)
        ]


@contextmanager
def _positions_for(encoder: Any, n_frames: int) -> Iterator[None]:
    """Lets the encoder read mels shorter than 30 s: it insists on two frames for each of its positions."""
    positions = encoder.positional_embedding
    encoder.positional_embedding = positions[: n_frames // 2]
    try:
        yield
    finally:
        encoder.positional_embedding = positions


def _load_published(whisper: Any, path: Path) -> Any:
    try:
        return whisper.load_model(str(path), device="cpu")
    except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"openai-whisper cannot load this file: {error}",
            where=str(path),
            expected="a Whisper checkpoint with the keys 'dims' and 'model_state_dict'",
        ) from error
