"""How a suite measures: the recogniser, speed, the vocoder, slices, and which clips are kept to be heard and seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    ValidationInfo,
)

from vqbench.config.models import (
    ConfigModel,
    Fault,
    Several,
    must_exist,
    path_as_written,
    path_in_file,
    reject,
    repeated,
    shown,
)
from vqbench.config.registered import JudgeName
from vqbench.errors import ConfigError, did_you_mean
from vqbench.records.conditions import NUMBERS, parse_condition


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


class SpeechConfig(ConfigModel):
    """Who listens to what candidates make of recordings; the metric group is `speech`."""

    judges: Several[JudgeName] = Field(default=(), title="judge")
    """Who listens besides the ASR and the speaker encoder. `mos`: DNSMOS, how clean copies sound (extra `judges`).
    `clvp`: the CLVP of the suite's teacher, how well they fit their text."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Each judge once."""
        yield from repeated(data, "judges")


class ThroughputConfig(ConfigModel):
    """How speed is measured."""

    batch_sizes: Several[Annotated[int, Field(ge=1, le=65_536)]] = Field(default=(1, 8), min_length=1)
    """Clips at once, each size measured apart."""

    segment_s: float = Field(default=4.0, gt=0, le=600)
    """Length of the clips that are measured with, in seconds."""

    repetitions: int = Field(default=20, ge=2, le=100_000)
    """Blocks, in each of which every candidate is timed once at every stage and batch size, in a drawn order. With
    fewer than some twenty no difference of speed is told apart once all comparisons are corrected for."""

    warmup: int = Field(default=2, ge=0, le=100_000)
    """Blocks before the timed ones."""

    yardstick: str | None = None
    """A candidate whose speed tells how fast the machine was. Against another run the others' speeds are then compared
    by their ratio to its; without one, such comparisons are not made, and rules on them are inconclusive."""

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


def _condition(text: str) -> str:
    try:
        parse_condition(text)
    except ConfigError as error:
        raise reject(Fault((), error.problem, error.expected, error.fix)) from None
    return text


_SLICE_NAME = "^[a-z0-9][a-z0-9._-]*$"


class SlicesConfig(ConfigModel):
    """Parts of the clips whose figures are shown by themselves, each under a name of its own: `short: duration_s < 2`,
    a condition on `duration_s`, `n_words`, `language`, `speaker` or a column of the manifest."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, Annotated[str, AfterValidator(_condition)]] = Field(init=False)

    by: Several[str] = ()
    """Fields of which each value makes a slice, e.g. `speaker`: `speaker=p225`, `speaker=p226` and so on."""

    @property
    def named(self) -> dict[str, str]:
        """Name → condition."""
        return dict(self.__pydantic_extra__ or {})

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Names that can be told from values, and fields of which values can be told."""
        yield from repeated(data, "by")
        for name in data:
            if not isinstance(name, str) or not re.fullmatch(_SLICE_NAME, name):
                expected = "lower-case letters, digits, `.`, `_` and `-`, from a letter or digit on"
                yield Fault((name,), f"{shown(name)} cannot be the name of a slice", expected)
        by = data.get("by")
        for place, field in enumerate(by if isinstance(by, list | tuple) else ()):
            if field in NUMBERS:
                problem, fix = f"{field} has a value of its own for nearly every clip", f"short: {field} < 2"
                yield Fault(("by", place), problem, "language, speaker or a column of the manifest", fix)


def slice_fault(slices: Mapping[str, Any], name: Any) -> Fault | None:
    """What is wrong with the slice that a rule names, as far as that shows without the clips.

    Args:
        slices: as written.
        name: likewise.
    """
    by = slices.get("by")
    fields = [field for field in by if isinstance(field, str)] if isinstance(by, list | tuple) else []
    if "language" not in fields:
        fields.append("language")  # where clips are in several languages, each is a slice
    named = [str(key) for key in slices if key != "by"]
    if not isinstance(name, str) or name in named or ("=" in name and name.partition("=")[0] in fields):
        return None
    problem = f"there is no slice {shown(name)}{did_you_mean(name, named)}"
    return Fault((), problem, f"one of {', '.join([*named, *(f'{field}=VALUE' for field in fields)])}")
