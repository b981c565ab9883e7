"""Text to ids: the same as tortoise-tts's, and what cannot be spoken is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vqbench.errors import DataError
from vqbench.teachers.tortoise.text import MAX_TOKENS, TextEncoder
from vqbench.teachers.tortoise.upstream import upstream_module


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder()


def pieces(encoder: TextEncoder, text: str) -> str:
    """The vocabulary's entries of a text, the trailing stop left off."""
    vocabulary = json.loads(Path(upstream_module("utils.tokenizer").DEFAULT_VOCAB_FILE).read_text(encoding="utf-8"))
    names = {token: piece for piece, token in vocabulary["model"]["vocab"].items()}
    return "".join(names[token] for token in encoder.encode(text)[:-1].tolist()).replace("[SPACE]", " ")


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("The old farmer.", "the old farmer."),
        ("Dr. Smith came in 1984!", "doctor smith came in nineteen eighty-four!"),
        ("It cost $3.50.", "it cost three dollars, fifty cents."),
        # Upstream brings a text to ASCII before its rule for pounds sees it; what the GPT was trained on stays.
        ("£5", "psfive"),
        ("The 2nd\n\tof  12,000", "the second of twelve thousand"),
        ('"Café," she said', "cafe, she said"),
        ("a @ b", "a [UNK] b"),
    ],
)
def test_what_is_spoken(encoder: TextEncoder, text: str, spoken: str) -> None:
    assert pieces(encoder, text) == spoken


@pytest.mark.parametrize("text", ["Hello there, world?", "It's 5:30; go (now)!", "x" * 300])
def test_the_ids_are_upstreams_and_a_stop(encoder: TextEncoder, text: str) -> None:
    theirs = upstream_module("utils.tokenizer").VoiceBpeTokenizer().encode(text)
    ids = encoder.encode(text)
    assert ids.tolist() == [*theirs, 0]
    assert ids.dtype == torch.int64
    assert int(ids.max()) < encoder.vocabulary_size


@pytest.mark.parametrize("text", ["", "   ", "\n", '""', "\U0001f642"])
def test_a_text_with_nothing_to_speak_is_refused(encoder: TextEncoder, text: str) -> None:
    with pytest.raises(DataError, match="nothing to speak"):
        encoder.encode(text)


def test_the_longest_text(encoder: TextEncoder) -> None:
    # Each "x" is a token of its own, so the stop makes it one more.
    assert len(encoder.encode("x" * (MAX_TOKENS - 1))) == MAX_TOKENS
    with pytest.raises(DataError, match="has 400 tokens"):
        encoder.encode("x" * MAX_TOKENS)


def test_identity_names_all_that_changes_the_ids(encoder: TextEncoder) -> None:
    identity = encoder.identity
    assert set(identity) == {"tortoise-tts", "inflect", "Unidecode", "vocabulary"}
    assert len(identity["vocabulary"]) == 64
