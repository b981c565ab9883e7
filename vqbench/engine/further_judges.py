"""Judges of what is spoken that a suite asks for by name."""

from __future__ import annotations

from collections.abc import Sequence

from vqbench.config.downstream import FurtherJudge
from vqbench.data.manifest import Clip
from vqbench.errors import ConfigError
from vqbench.judges.quality import QualityPredictor
from vqbench.metrics.spoken.base import SpeechJudge
from vqbench.metrics.spoken.fit import SpokenFit
from vqbench.metrics.spoken.quality import SpokenQuality
from vqbench.records.run import MetricSpec
from vqbench.teachers.tortoise.official import TOKENIZER_FILE
from vqbench.teachers.tortoise.teacher import Teacher
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer


def further_specs(names: Sequence[FurtherJudge]) -> tuple[MetricSpec, ...]:
    """The figures that further judges will give; none of them is loaded."""
    specs = {"clvp": SpokenFit.specs, "mos": SpokenQuality.specs}
    return tuple(spec for name in names for spec in specs[name])


def check_further_judges(names: Sequence[FurtherJudge], teacher: Teacher) -> None:
    """Sees to it that the teacher has what they need.

    Raises:
        ConfigError: CLVP is asked for, and there is no VQVAE by which it could read what is spoken.
    """
    if "clvp" in names:
        _true_tokenizer(teacher)


def further_judges(
    names: Sequence[FurtherJudge], teacher: Teacher, recordings: Sequence[Clip]
) -> tuple[SpeechJudge, ...]:
    """Further judges, in the order of their names.

    Args:
        names: as a suite names them.
        teacher: who spoke, untuned.
        recordings: what speech is compared with.

    Raises:
        ConfigError: as for `check_further_judges`.
        MissingExtraError: the package of one is not installed.
    """
    return tuple(
        SpokenFit(teacher, _true_tokenizer(teacher), recordings)
        if name == "clvp"
        else SpokenQuality(QualityPredictor())
        for name in names
    )


def _true_tokenizer(teacher: Teacher) -> DVAETokenizer:
    if teacher.tokenizer is None:
        raise ConfigError(
            f"CLVP reads the tokens of the teacher's VQVAE, which {teacher.name} does not have",
            where="downstream.judges",
            fix=f"leave out clvp, or put {TOKENIZER_FILE} into the teacher's folder",
        )
    return teacher.tokenizer
