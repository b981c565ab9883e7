"""Codebook usage: how much of what the codes could say they do say.

The row keeps the codes themselves; all figures are reduced from their histogram (`vqbench.stats.reductions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vqbench.errors import DataError
from vqbench.metrics.base import Context, MetricGroup, Output, Rendering
from vqbench.records.rows import Measured
from vqbench.records.run import CandidateRecord, MetricSpec


def _spec(
    name: str,
    reduction: str,
    unit: str,
    better: bool | None,
    description: str,
    decimals: int = 3,
    headline: bool = False,
) -> MetricSpec:
    return MetricSpec(
        name=f"codebook.{name}",
        group="codebook",
        columns=("codes",),
        reduction=reduction,
        unit=unit,
        higher_is_better=better,
        version=1,
        description=description,
        decimals=decimals,
        headline=headline,
    )


class CodebookUsage:
    """Entropy and use of the codebook over all tokens of the suite; both grow with the number of tokens."""

    name = "codebook"
    needs: Output = "codes"
    identity: Mapping[str, object] = {"version": 1}
    specs = (
        _spec("entropy_bits", "entropy", "bits", True, "plug-in entropy of the code histogram: -sum p log2 p", 2),
        _spec(
            "entropy_corrected_bits",
            "entropy_corrected",
            "bits",
            True,
            "entropy corrected for the finite number of tokens",
            2,
            headline=True,
        ),
        _spec(
            "entropy_share",
            "entropy_share",
            "",
            True,
            "entropy / log2(min(codebook size, tokens)): share of what these tokens could reach",
        ),
        _spec("perplexity", "perplexity", "", True, "2 ** entropy: codes as good as equally used", 1),
        _spec("share_used", "share_used", "", True, "share of the codebook that occurs at all", headline=True),
        _spec("dead", "dead", "", False, "share of the codebook that never occurs: 1 - share_used"),
        _spec("dead_codes", "dead_codes", "", None, "codes that never occur", 0),
        _spec("bits_per_second", "bits_per_second", "bit/s", None, "entropy x token rate", 1),
    )

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """The clip's codes as they are."""
        rows: list[Measured | DataError] = []
        for rendering in renderings:
            assert rendering.codes is not None
            rows.append(Measured({"codes": tuple(rendering.codes.tolist())}))
        return rows


class StreamUsage:
    """The same of one stream of a tokenizer with several codebooks.

    Args:
        stream: counted from 0; names count from 1.
    """

    needs: Output = "streams"
    identity: Mapping[str, object] = {"version": 1}

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.name = f"codebook.q{stream + 1}"
        self.specs = tuple(
            replace(
                spec,
                name=spec.name.replace("codebook.", f"{self.name}."),
                group=self.name,
                headline=False,
                description=f"{spec.description}, of stream {stream + 1}",
            )
            for spec in CodebookUsage.specs
        )

    def constants_of(self, record: CandidateRecord) -> Mapping[str, float]:
        """Those of the stream; of a candidate with fewer streams there are no codes to be counted."""
        rate_hz, size = record.streams[self.stream] if self.stream < len(record.streams) else (1.0, 1)
        return {"codebook_size": float(size), "token_rate_hz": rate_hz}

    def measure(self, renderings: Sequence[Rendering]) -> list[Measured | DataError]:
        """The stream's codes as they are; a tokenizer with fewer streams has none."""
        return [
            Measured({"codes": tuple(rendering.streams[self.stream].tolist())})
            if self.stream < len(rendering.streams)
            else DataError(f"has {len(rendering.streams)} streams")
            for rendering in renderings
        ]


def make_groups(context: Context) -> Sequence[MetricGroup]:
    """Entropy and use of the codebook over all tokens of the suite."""
    several = range(context.n_streams) if context.n_streams > 1 else ()
    return [CodebookUsage(), *map(StreamUsage, several)]
