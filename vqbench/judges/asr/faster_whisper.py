"""Whisper by faster-whisper, that is CTranslate2: fp32 on a CPU, fp16 on CUDA.

On a CPU int8 would be faster, but rounds every activation to one of 255 steps: a millionth of a mel then changes words
(docs/decisions/0012-rendering.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from vqbench.audio.io import file_digest
from vqbench.errors import CheckpointError
from vqbench.judges.asr.whisper_base import Decoded, WhisperRecognizer, Window
from vqbench.judges.prerequisites import import_judge
from vqbench.threads import one_thread

_FILES = ("model.bin", "config.json", "tokenizer.json")


class FasterWhisper(WhisperRecognizer):
    """A Whisper in CTranslate2's format.

    Args:
        folder: holds `model.bin`, `config.json`, `tokenizer.json` and the vocabulary.
        name: what results call the model.
        beam_size: beams of the search; 1 is greedy.
        window: what the encoder sees.
        device: a CPU or one CUDA device.

    Raises:
        CheckpointError: where files are missing, or are no Whisper.
    """

    def __init__(self, folder: Path, name: str, beam_size: int, window: Window, device: torch.device) -> None:
        faster_whisper = import_judge("faster_whisper", "speech recognition")
        for file in _FILES:
            # Without its tokenizer.json, faster-whisper would fetch one from the network.
            if not (folder / file).is_file():
                raise CheckpointError(
                    f"the file {file} is missing", where=str(folder), expected="a Whisper in CTranslate2's format"
                )
        workers = 1 if device.type == "cuda" else torch.get_num_threads()
        try:
            with one_thread():  # as CTranslate2 sets it for everybody while it loads; afterwards all are as before
                self._model = faster_whisper.WhisperModel(
                    str(folder),
                    device=device.type,
                    device_index=device.index or 0,
                    compute_type="float16" if device.type == "cuda" else "float32",
                    # Each clip is heard in one thread, and many clips at once: no transcript depends on their number.
                    cpu_threads=1,
                    num_workers=workers,
                )
                # Libraries of the device are loaded at the first call: better now than after a training.
                self._model.encode(self._model.feature_extractor(np.zeros(16_000, dtype=np.float32), padding=0)[None])
        except Exception as error:  # tokenizers raises bare Exceptions
            raise CheckpointError(
                f"faster-whisper cannot load this model on {device.type}: {error}",
                where=str(folder),
                expected="a Whisper in CTranslate2's format",
            ) from error
        self._tokenizer_of = faster_whisper.tokenizer.Tokenizer
        self._beam_size = beam_size
        identity: dict[str, str | int | float] = {
            "backend": "faster-whisper",
            **{package: metadata.version(package) for package in ("faster-whisper", "ctranslate2", "soxr")},
            "model": name,
            "weights": file_digest(folder / "model.bin"),
            "beam_size": beam_size,
            "compute_type": self._model.model.compute_type,
            "device": device.type,
        }
        # On a CPU the encoder is faster a clip at a time: the activations of one clip stay in its cache.
        token = self._model.hf_tokenizer.token_to_id
        known = [name for name in self._model.supported_languages if name == "en" or token(f"<|{name}|>") is not None]
        super().__init__(identity, window, 16 if device.type == "cuda" else 1, known, workers)

    def _decode(self, waveforms: Sequence[np.ndarray], token_limits: Sequence[int], language: str) -> list[Decoded]:
        is_multilingual = self._model.model.is_multilingual
        tokenizer = self._tokenizer_of(self._model.hf_tokenizer, is_multilingual, task="transcribe", language=language)
        prompt = self._model.get_prompt(tokenizer, [], without_timestamps=True)
        features = np.stack([self._model.feature_extractor(waveform, padding=0) for waveform in waveforms])
        results = self._model.model.generate(
            self._model.encode(features),
            [prompt] * len(waveforms),
            beam_size=self._beam_size,
            # CTranslate2 writes at most half of it, and what the prompt leaves: the half is the smaller here.
            max_length=2 * max(token_limits),
        )
        return [
            Decoded(tokenizer.decode(result.sequences_ids[0][:limit]), len(result.sequences_ids[0]) < limit)
            for result, limit in zip(results, token_limits, strict=True)
        ]
