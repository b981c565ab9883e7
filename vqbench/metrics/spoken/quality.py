"""How clean what is spoken sounds: predicted ratings of listeners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vqbench.errors import DataError
from vqbench.judges.quality import QualityPredictor
from vqbench.metrics.base import Measured
from vqbench.metrics.spoken.base import CLIP_SET, Spoken, no_voice
from vqbench.records.run import MetricSpec

_VERSION = 1


class SpokenQuality:
    """Mean opinion scores that DNSMOS predicts, mean over utterances."""

    name = "downstream.mos"
    specs = tuple(
        MetricSpec(
            name=f"downstream.mos_{column}",
            group="downstream.mos",
            columns=(column,),
            reduction="mean",
            unit="",
            higher_is_better=True,
            version=_VERSION,
            description=f"{description}, 1 to 5, as DNSMOS predicts it, mean over utterances",
            decimals=2,
            clip_set=CLIP_SET,
        )
        for column, description in (
            ("overall", "overall quality (ITU-T P.835)"),
            ("signal", "how undistorted the voice is (ITU-T P.835)"),
            ("background", "how unintrusive noise is (ITU-T P.835)"),
            ("p808", "quality in one rating (ITU-T P.808)"),
        )
    )

    def __init__(self, predictor: QualityPredictor) -> None:
        self._predictor = predictor

    @property
    def identity(self) -> Mapping[str, object]:
        """Who predicts."""
        return {"version": _VERSION, "predictor": dict(self._predictor.identity)}

    def measure(self, spoken: Sequence[Spoken]) -> list[Measured | DataError]:
        """One row an utterance, in order; one without a voice gives its error instead."""
        return [no_voice(one) or self._row(one) for one in spoken]

    def _row(self, spoken: Spoken) -> Measured:
        return Measured(self._predictor.rate(spoken.waveform, spoken.sample_rate_hz))
