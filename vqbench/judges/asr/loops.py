"""Transcripts that repeat themselves: an ASR does on what it cannot make out, and so does a GPT that has run away.

So do people: "no, no, no, no". What is a loop is therefore asked of the reference: only sayings beyond its own are
surplus, and of these one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rapidfuzz.distance import Levenshtein

_LONGEST = 120
"""Words of the longest phrase that is looked for: half a window of Whisper's tokens."""

_AT_LEAST = 3
"""So many words too many are a loop; fewer, and less than the phrase once more, are errors like any others."""


def loop_start(words: Sequence[str]) -> int | None:
    """Where a phrase of three words or more follows itself at once, or one or two words go on repeating.

    Args:
        words: of what was heard; characters where the language has no spaces.

    Returns:
        how many words stand before the repetition, the first saying of the phrase included; None where none is.

    >>> loop_start("and so on and so on".split())
    3
    >>> loop_start("it is a loop a loop a loop".split())
    4
    >>> loop_start("no no no never never say never".split())
    """
    return next((start + period for start, _, period in _repetitions(words)), None)


def without_surplus(heard: Sequence[str], reference: Sequence[str]) -> tuple[list[str], bool]:
    """What was heard, where a phrase that goes on repeating beyond the reference counts once too often.

    Of each repetition as many sayings are kept as fit the reference best, by the fewest edits, and one of those that
    are left over; what follows it stays. Of equal numbers the smallest is taken, or what the reference itself repeats.
    A saying that the end of the text cuts off goes with those left over.

    Args:
        heard: words, normalised; characters where the language has no spaces.
        reference: likewise.

    Returns:
        what is to be counted, and whether it is less than what was heard.

    >>> " ".join(without_surplus("a b c a b c a b c a b c and d".split(), "a b c and d".split())[0])
    'a b c a b c and d'
    >>> " ".join(without_surplus("no no no no stop".split(), "no no no no stop".split())[0])
    'no no no no stop'
    """
    words, counted_to, looped = list(heard), 0, False
    while (surplus := _first_surplus(words, reference, counted_to)) is not None:
        start, length, kept = surplus
        words, counted_to, looped = [*words[: start + kept], *words[start + length :]], start + kept, True
    return words, looped


def _first_surplus(words: list[str], reference: Sequence[str], since: int) -> tuple[int, int, int] | None:
    """The first repetition that goes beyond the reference: its start, its length, and how much of it is kept."""
    own = {period: length for _, length, period in _repetitions(reference)}
    for start, length, period in sorted(_repetitions(words, since)):
        before, run, after = words[:start], words[start : start + length], words[start + length :]
        fits = {*range(length % period, length + 1, period), *(() if after else range(0, length, period))}
        edits = {n: Levenshtein.distance([*before, *run[:n], *after], reference) for n in sorted(fits)}
        # Misheard words fit as well in any number: there, that of the reference's own repetition is right.
        best = min(edits, key=lambda n: (edits[n], abs(n - own.get(period, 0))))
        if length - max(best, period) >= max(_AT_LEAST, period):
            return start, length, best + period
    return None


def _repetitions(words: Sequence[str], since: int = 0) -> Iterator[tuple[int, int, int]]:
    """Where words go on repeating, the shortest phrase first: start, length of all sayings, length of the phrase."""
    for period in range(1, min(_LONGEST, (len(words) - since) // 2) + 1):
        run = 0
        for place in range(since + period, len(words) + 1):
            if place < len(words) and words[place] == words[place - period]:
                run += 1
                continue
            if run >= max(_AT_LEAST, period):
                yield place - run - period, run + period, period
            run = 0
