"""How a suite measures: the speech recogniser, speed, the vocoder, and which clips are kept to be heard and seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo

from vqbench.config import ConfigModel, Fault, Several, must_exist, path_as_written, path_in_file, repeated


def _asr_model(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or not value.startswith((".", "/", "~")):
        return value
    path = path_in_file(value, info)
    if info.context is not None:
        must_exist(path, value, folders=True)
    return str(path)


def _asr_model_as_written(value: str, info: SerializationInfo) -> str:
    return path_as_written(Path(value), info) if Path(value).is_absolute() else value


class AsrConfig(ConfigModel):
    """The speech recogniser behind `speech.wer` and `speech.cer`. Its settings are part of a result's identity."""

    backend: Literal["faster-whisper", "openai-whisper"] = Field(default="faster-whisper", title="backend")
    """The implementation of Whisper."""

    model: Annotated[
        str,
        Field(min_length=1, max_length=4096),
        BeforeValidator(_asr_model),
        PlainSerializer(_asr_model_as_written),
    ] = "tiny.en"
    """A model's name, or a path, which starts with `./`, `../`, `/` or `~`."""

    beam_size: int = Field(default=5, ge=1, le=100)
    """Beams of the search; 1 is greedy."""

    window: Literal["clip", "full"] = Field(default="clip", title="window")
    """What the recogniser reads at once: `full` is Whisper's 30 s, `clip` the clip and 8 s, which is faster."""


class ThroughputConfig(ConfigModel):
    """How speed is measured."""

    batch_sizes: Several[Annotated[int, Field(ge=1, le=65_536)]] = Field(default=(1, 8), min_length=1)
    """Clips at once, each size measured apart."""

    segment_s: float = Field(default=4.0, gt=0, le=600)
    """Length of the clips that are measured with, in seconds."""

    repetitions: int = Field(default=10, ge=2, le=100_000)
    """Timed runs of each stage."""

    warmup: int = Field(default=2, ge=0, le=100_000)
    """Runs before the timed ones."""

    yardstick: str | None = None
    """A candidate whose speed tells how fast a machine is. Against a baseline of another machine the others' speeds are
    then judged by their ratio to its; without one, such rules are inconclusive."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Each batch size once."""
        yield from repeated(data, "batch_sizes")


class VocoderConfig(ConfigModel):
    """How mels become waveforms again, the same way for every candidate: Griffin-Lim."""

    iterations: int = Field(default=32, ge=1, le=10_000)
    """Rounds of Griffin-Lim."""


class ExhibitsConfig(ConfigModel):
    """Which clips a run keeps to be heard and seen, as everybody gives them back. No figure depends on it."""

    clips: Several[str] = ()
    """Clips by their ids in the run, e.g. `pairs/000003` or `downstream/` and the id of a recording."""

    drawn: int = Field(default=1, ge=0, le=1000)
    """Clips drawn by the suite's seed, of each set: recordings, what the GPT wrote, human speech, spoken sentences."""

    worst: int = Field(default=3, ge=0, le=1000)
    """Clips on which a candidate did worst, of each set."""

    sound: Literal["flac", "opus"] = Field(default="flac", title="kind of sound file")
    """`flac` keeps the sound as it is; `opus` takes some 64 kbit/s, about a third."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Each clip once."""
        yield from repeated(data, "clips")
