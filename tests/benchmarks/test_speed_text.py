"""Word errors of many pairs: the whole way of ours, its two parts, and rapidfuzz alone."""

from __future__ import annotations

import random

import jiwer
import pytest
from rapidfuzz.distance import Levenshtein

from vqbench.judges.asr.text import normalize_english, word_errors

TEXT = (
    "the of and Mr. colour twenty-one can't evening sky lazy dogs jumped over quick brown fox centre, realised "
    "nevertheless; London five pounds and half o'clock wouldn't honour their neighbours' theatre"
)


@pytest.fixture
def pairs(measured: bool) -> list[tuple[str, str]]:
    """Sentences of some 20 words, each with one word in ten misheard."""
    source, words = random.Random(0), TEXT.split()
    made = []
    for _ in range(200 if measured else 20):
        said = source.choices(words, k=20)
        heard = [source.choice(words) if source.random() < 0.1 else word for word in said]
        made.append((" ".join(said), " ".join(heard)))
    return made


@pytest.mark.parametrize("contender", ["ours", "normaliser alone", "jiwer alone", "rapidfuzz alone"])
def test_word_errors(benchmark, contender, pairs) -> None:
    benchmark.group = "word errors of 200 pairs"
    normalized = [(normalize_english(said), normalize_english(heard)) for said, heard in pairs]

    def by_jiwer(said: str, heard: str) -> int:
        found = jiwer.process_words(said, heard)
        return found.substitutions + found.deletions + found.insertions

    contenders = {
        "ours": lambda: [sum(word_errors(said, heard)[:3]) for said, heard in pairs],
        "normaliser alone": lambda: [(normalize_english(said), normalize_english(heard)) for said, heard in pairs],
        "jiwer alone": lambda: [by_jiwer(said, heard) for said, heard in normalized],
        "rapidfuzz alone": lambda: [
            len(Levenshtein.editops(said.split(), heard.split())) for said, heard in normalized
        ],
    }
    answer = benchmark(contenders[contender])
    assert answer == (normalized if contender == "normaliser alone" else contenders["ours"]())
