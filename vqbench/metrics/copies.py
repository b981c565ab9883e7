"""What judges make of copies: the metric group `speech`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vqbench.errors import DataError
from vqbench.judges.protocol import Heard, Judge
from vqbench.judges.transcription import Intelligibility
from vqbench.judges.voice import CopiedVoice
from vqbench.languages import ENGLISH
from vqbench.metrics.base import Context, MetricGroup, Output, Rendering
from vqbench.records.rows import Measured
from vqbench.records.run import MetricSpec


class Copies:
    """A judge who is asked about what a system makes of recordings.

    Args:
        judge: whoever listens.
        sample_rate_hz: of what it is shown.
    """

    needs: Output = "waveform"

    def __init__(self, judge: Judge, sample_rate_hz: int) -> None:
        self._judge, self._sample_rate_hz = judge, sample_rate_hz

    @property
    def name(self) -> str:
        """The judge's group."""
        return self._judge.name

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The judge's figures."""
        return self._judge.specs

    @property
    def identity(self) -> Mapping[str, object]:
        """The judge's."""
        return self._judge.identity

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """One row a rendering, in order."""
        return self._judge.measure([self._heard(rendering) for rendering in renderings])

    def _heard(self, rendering: Rendering) -> Heard:
        clip = rendering.clip
        assert rendering.waveform_hat is not None
        return Heard(
            text=clip.text or "",
            speaker=clip.speaker or "",
            waveform=rendering.waveform_hat,
            sample_rate_hz=self._sample_rate_hz,
            recording=clip.sha256,
            language=clip.language or ENGLISH,
            original=rendering.waveform,
        )


def make_groups(context: Context) -> Sequence[MetricGroup]:
    """Words understood by an ASR, voice recognised by a speaker encoder, and whoever else shall listen to copies."""
    judges: list[Judge] = [
        Intelligibility(context.recognizer, context.languages),
        CopiedVoice(context.speaker_encoder),
        *context.further_judges,
    ]
    return [Copies(judge, context.mel_spec.sample_rate_hz) for judge in judges]
