"""Transcripts that repeat themselves: an ASR does on what it cannot make out, and so does a GPT that has run away."""

from __future__ import annotations


def loop_start(text: str) -> int | None:
    """Where a phrase of three words or more follows itself at once, or one or two words go on repeating.

    Returns:
        how many words stand before the repetition, the first saying of the phrase included; None where none is.

    >>> loop_start("and so on. And so on.")
    3
    >>> loop_start("it is a loop a loop a loop")
    4
    >>> loop_start("no no no, never never say never")
    """
    words = ["".join(filter(str.isalnum, word)) for word in text.lower().split()]
    for period in range(1, len(words) // 2 + 1):
        run = 0
        for start, (earlier, later) in enumerate(zip(words, words[period:], strict=False)):
            run = run + 1 if earlier == later else 0
            if run == max(3, period):
                return start + period - run + 1
    return None


def without_loop(text: str) -> str:
    """A text up to where it begins to repeat itself.

    >>> without_loop("it is a loop a loop a loop")
    'it is a loop'
    """
    return " ".join(text.split()[: loop_start(text)])
