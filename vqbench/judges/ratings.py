"""How clean speech sounds: predicted ratings of listeners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vqbench.errors import DataError
from vqbench.judges.mos.dnsmos import QualityPredictor
from vqbench.judges.protocol import Asked, Heard, no_voice
from vqbench.records.rows import Measured
from vqbench.records.run import MetricSpec

_VERSION = 1


class SpeechRatings:
    """Mean opinion scores that DNSMOS predicts, mean over utterances.

    Args:
        predictor: who predicts.
        clip_set: of what.
    """

    def __init__(self, predictor: QualityPredictor, clip_set: str) -> None:
        self._predictor = predictor
        self.name = f"{clip_set}.mos"
        self.specs = self.specs_for(clip_set)

    @classmethod
    def specs_for(cls, clip_set: str) -> tuple[MetricSpec, ...]:
        """Four ratings."""
        return tuple(
            MetricSpec(
                name=f"{clip_set}.mos_{column}",
                group=f"{clip_set}.mos",
                columns=(column,),
                reduction="mean",
                unit="",
                higher_is_better=True,
                version=_VERSION,
                description=f"{description}, 1 to 5, as DNSMOS predicts it, mean over utterances",
                decimals=2,
                clip_set=clip_set,
            )
            for column, description in (
                ("overall", "overall quality (ITU-T P.835)"),
                ("signal", "how undistorted the voice is (ITU-T P.835)"),
                ("background", "how unintrusive noise is (ITU-T P.835)"),
                ("p808", "quality in one rating (ITU-T P.808)"),
            )
        )

    @classmethod
    def check(cls, asked: Asked) -> None:
        """It needs nothing."""

    @classmethod
    def make(cls, asked: Asked) -> SpeechRatings:
        """Loads DNSMOS."""
        return cls(QualityPredictor(), asked.clip_set)

    @property
    def identity(self) -> Mapping[str, object]:
        """Who predicts."""
        return {"version": _VERSION, "predictor": dict(self._predictor.identity)}

    def measure(self, heard: Sequence[Heard]) -> list[Measured | DataError]:
        """One row each, in order; what has no voice gives its error instead."""
        return [no_voice(one) or self._row(one) for one in heard]

    def _row(self, heard: Heard) -> Measured:
        return Measured(self._predictor.rate(heard.waveform, heard.sample_rate_hz))
