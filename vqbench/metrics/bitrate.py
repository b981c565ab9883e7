"""What candidates spend: bits a second of speech, however well they use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vqbench.errors import DataError
from vqbench.metrics.base import Context, MetricGroup, Output, Rendering
from vqbench.records.rows import Measured
from vqbench.records.run import MetricSpec


class Bitrate:
    """Bits of the codes (log2 of the codebook's size each), or of what is written in their place, over seconds.

    Args:
        sample_rate_hz: of the recordings.
    """

    name = "bitrate"
    needs: Output = "bits"
    identity: Mapping[str, object] = {"version": 1}
    specs = (
        MetricSpec(
            name="bitrate.bits_per_second",
            group="bitrate",
            columns=("bits", "seconds"),
            reduction="ratio",
            unit="bit/s",
            higher_is_better=None,
            version=1,
            description="bits of the codes, log2(codebook size) each, or of the packets / seconds of speech",
            decimals=0,
            headline=True,
        ),
    )

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """Bits and seconds of each clip."""
        rows: list[Measured | DataError] = []
        for one in renderings:
            assert one.bits is not None
            rows.append(Measured({"bits": one.bits, "seconds": len(one.waveform) / self._sample_rate_hz}))
        return rows


def make_groups(context: Context) -> Sequence[MetricGroup]:
    """Bits a second of speech that candidates spend."""
    return [Bitrate(context.mel_spec.sample_rate_hz)]
