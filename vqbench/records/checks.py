"""The checks of a run's plausibility, by name: what each looks for, and what it does where a suite does not say.

How each is made stands in `vqbench.judging.plausibility`; suites, errors and documents need the names alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PlausibilityLevel = Literal["off", "warn", "fail"]
"""What a check of plausibility does: it is not made, what it finds is named, or what it finds fails the gate."""


@dataclass(frozen=True)
class Check:
    """One thing that can be wrong with a run.

    Attributes:
        level: what a finding does where the suite does not say.
        about: what is looked for, in a line.
    """

    level: PlausibilityLevel
    about: str


CHECKS: Mapping[str, Check] = {
    "constant_tokens": Check("fail", "an encoder that writes hardly anything but one code"),
    "codebook_size": Check("fail", "a codebook of another size than the GPT's, or the baseline's"),
    "learnt_too_little": Check("warn", "a GPT that learnt too little of its candidate's tokens"),
    "learning_untold": Check("warn", "a GPT of which nobody can tell whether it learnt its candidate's tokens"),
    "gpt_out_of_depth": Check("warn", "a GPT that finds even the best tokens of the recordings no likelier than any"),
    "other_clips": Check("warn", "a candidate that was measured on other clips than another"),
    "missing_candidates": Check("warn", "candidates of the baseline that the run has not"),
    "front_end": Check("warn", "a mel front end that is not the baseline's, or not the first candidate's"),
    "above_ceiling": Check("warn", "a figure that is surely beyond its ceiling"),
    "more_bits_worse": Check("warn", "a candidate that spends more bits than another and scores worse"),
    "error_rate_above_one": Check("warn", "more word or character errors than there are to be made"),
    "agreement_not_asked": Check("warn", "several candidates of one codebook size, and no rule on whether they agree"),
    "unknown_clusters": Check("warn", "a set of which only some clips name their speaker (or sentence)"),
    "not_understood": Check(
        "warn", "an ASR that gets more than half of the original recordings wrong, language by language"
    ),
    "few_clips": Check("warn", "fewer clips in a set than the suite's `min_clips`"),
}
"""In the order in which findings are listed."""
