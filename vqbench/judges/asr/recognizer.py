"""Speech recognition: one small protocol, and how a suite's words become a recogniser. Nothing is ever downloaded."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import torch

from vqbench.errors import ConfigError, did_you_mean
from vqbench.judges.asr.faster_whisper import FasterWhisper
from vqbench.judges.asr.openai_whisper import OpenaiWhisper
from vqbench.judges.asr.packaged import PACKAGED, packaged_model
from vqbench.judges.asr.whisper_base import Window
from vqbench.judges.prerequisites import import_judge, judge_device
from vqbench.languages import ENGLISH, language_of, listed

Backend = Literal["faster-whisper", "openai-whisper"]


class SpeechRecognizer(Protocol):
    """Writes down what is said.

    Attributes:
        identity: everything that changes a transcript: backend and versions, weights, decoder settings.
        languages: codes of those that it knows.
    """

    @property
    def identity(self) -> dict[str, str | int | float]:
        """Equal identities give equal transcripts of a clip in its language."""
        ...

    @property
    def languages(self) -> frozenset[str]:
        """Codes of `vqbench.languages`."""
        ...

    def transcribe(
        self,
        waveforms: Sequence[np.ndarray | torch.Tensor],
        sample_rate_hz: int,
        languages: Sequence[str] | None = None,
    ) -> list[str]:
        """All that is heard, one text a waveform, in their order.

        Args:
            waveforms: (N,) floats each, mono, nominally in [-1, 1].
            sample_rate_hz: of all of them.
            languages: the code of each, one that it knows; all are English where it is left out.

        Raises:
            DataError: for an empty waveform, NaN or infinite samples.
        """
        ...


def load_recognizer(
    backend: Backend, model: str, beam_size: int, window: Window, device: torch.device | str
) -> SpeechRecognizer:
    """Loads a Whisper from this machine.

    Args:
        backend: who runs it.
        model: a name such as `tiny.en` (English only) or `base` (99 languages), or a path: a folder in CTranslate2's
            format for both backends, or a `.pt` file as OpenAI publishes them for openai-whisper.
        beam_size: beams of the search; 1 is greedy.
        window: `full` always shows the encoder 30 s, as Whisper was trained; `clip` the clip and 8 s, about twice
            faster.
        device: a CUDA device; anything else means the CPU.

    Raises:
        ConfigError: for an unknown name, a path where nothing is, or a model that is not on this machine.
        CheckpointError: for files that are no Whisper.
        MissingExtraError: where the backend's package is not installed.
    """
    if beam_size < 1:
        raise ConfigError(f"beam_size is {beam_size}", expected="1 (greedy) or more")
    if backend not in get_args(Backend):
        raise ConfigError(
            f"there is no ASR backend {backend!r}{did_you_mean(backend, get_args(Backend))}",
            expected=" or ".join(get_args(Backend)),
        )
    device = judge_device(device)
    location = locate_model(backend, model)
    name = model if is_name(model) else location.name
    recognizer = FasterWhisper if backend == "faster-whisper" else OpenaiWhisper
    return recognizer(location, name, beam_size, window, device)


def require_languages(recognizer: SpeechRecognizer, codes: Collection[str]) -> None:
    """Sees to it that an ASR knows all languages that it is to hear.

    Raises:
        ConfigError: it does not know one.
    """
    unknown = set(codes) - recognizer.languages
    if not unknown:
        return
    model, known = (
        recognizer.identity.get("model", "the ASR"),
        {language_of(code).whisper for code in recognizer.languages},
    )
    strangers = [code for code in unknown if language_of(code).whisper is None]
    larger = "large-v3" if "yue" in unknown else "base"
    raise ConfigError(
        f"{model} knows {'English only' if known == {ENGLISH} else f'{len(known)} languages'}, "
        f"and there are clips in {listed(unknown)}",
        where="asr",
        expected="a Whisper that knows the languages of all clips",
        fix=f"no Whisper knows {listed(strangers)}: leave these clips out, or the metrics that need an ASR"
        if strangers
        else f"asr: {{model: {larger}}}, or a path to another multilingual Whisper",
    )


def is_name(model: str) -> bool:
    """Whether a model is meant by name; paths hold a separator or start with `.` or `~`.

    >>> is_name("tiny.en"), is_name("./tiny.en"), is_name("models/tiny.en")
    (True, False, False)
    """
    return not (model.startswith((".", "~")) or "/" in model or os.sep in model)


def locate_model(backend: Backend, model: str) -> Path:
    """Where a model lies on this machine, without touching the network.

    Names are looked for in the packages of the `offline` extra, then in the backend's own cache.

    Returns:
        A folder in CTranslate2's format, or a `.pt` file (openai-whisper only).

    Raises:
        ConfigError: where it is not there.
    """
    if not is_name(model):
        return _existing(backend, Path(model).expanduser())
    packaged = packaged_model(model)
    if packaged is not None:
        return packaged
    return _cached_ctranslate2(model) if backend == "faster-whisper" else _cached_openai(model)


def _existing(backend: Backend, path: Path) -> Path:
    if not path.exists():
        raise ConfigError(
            "there is no ASR model", where=str(path), expected="a folder in CTranslate2's format or a .pt file"
        )
    if path.is_file() and backend == "faster-whisper":
        raise ConfigError(
            "faster-whisper cannot read a single file",
            where=str(path),
            expected="a folder in CTranslate2's format",
            fix="choose the backend openai-whisper for this file",
        )
    return path


def _cached_ctranslate2(name: str) -> Path:
    faster_whisper = import_judge("faster_whisper", "speech recognition")
    _known(name, faster_whisper.available_models())
    hub_errors = import_judge("huggingface_hub.errors", "speech recognition")
    try:
        return Path(faster_whisper.download_model(name, local_files_only=True))
    except hub_errors.LocalEntryNotFoundError as error:
        raise _absent(name, f"python -c \"import faster_whisper; faster_whisper.download_model('{name}')\"") from error


def _cached_openai(name: str) -> Path:
    whisper = import_judge("whisper", "speech recognition")
    _known(name, whisper.available_models())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"
    path = cache / str(whisper._MODELS[name]).rsplit("/", 1)[1]
    if not path.is_file():
        raise _absent(name, f"python -c \"import whisper; whisper.load_model('{name}')\"")
    return path


def _known(name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ConfigError(
            f"no Whisper is called {name!r}{did_you_mean(name, names)}",
            expected="one of " + ", ".join(names) + ", or a path",
        )


def _absent(name: str, command: str) -> ConfigError:
    package = "pip install 'vqbench[offline]', or " if name in PACKAGED else ""
    return ConfigError(
        f"the ASR model {name!r} is not on this machine, and vqbench downloads nothing by itself",
        fix=f"{package}{command}",
    )
