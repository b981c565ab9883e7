"""Text as the official GPT and CLVP read it: English cleaners, then tortoise-tts's byte-pair vocabulary of 255."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vqbench.errors import DataError
from vqbench.teachers.tortoise.upstream import upstream_module

STOP = 0
"""The id that ends every text."""

SPACE = 2
"""The id of a blank."""

MAX_TOKENS = 399
"""The longest text that tortoise-tts takes, its stop counted."""


class TextEncoder:
    """Turns text into the ids that tortoise-tts gives it.

    Numbers, money, ordinals and abbreviations are spelt out in English, letters brought to lower-case ASCII; a
    character that the vocabulary lacks becomes `[UNK]` (1).

    Raises:
        MissingExtraError: tortoise-tts, or a package that its text module imports, is not installed.
    """

    vocabulary_size = 255

    def __init__(self) -> None:
        module = upstream_module("utils.tokenizer")
        self._vocabulary = Path(module.DEFAULT_VOCAB_FILE)
        self._tokenizer = module.VoiceBpeTokenizer(str(self._vocabulary))

    @property
    def identity(self) -> Mapping[str, str]:
        """What the ids depend on: the versions of the packages that clean the text, the digest of the vocabulary."""
        versions = {name: importlib.metadata.version(name) for name in ("tortoise-tts", "inflect", "Unidecode")}
        return {**versions, "vocabulary": hashlib.sha256(self._vocabulary.read_bytes()).hexdigest()}

    def encode(self, text: str) -> Tensor:
        """Encodes one text.

        Args:
            text: English; 30 words are about 80 tokens.

        Returns:
            (T,) int64 in [0, 255), the last of them 0, T at most 399.

        Raises:
            DataError: nothing in the text can be spoken, or it is too long.

        >>> TextEncoder().encode("Yes.").tolist()
        [38, 61, 9, 0]
        """
        ids = self._tokenizer.encode(text)
        if all(token == SPACE for token in ids):
            raise DataError(f"the text {text[:40]!r} holds nothing to speak", expected="letters or digits")
        if len(ids) >= MAX_TOKENS:
            raise DataError(
                f"the text {text[:40]!r}… has {len(ids) + 1} tokens",
                expected=f"at most {MAX_TOKENS} tokens, about 150 words",
                fix="split it into sentences",
            )
        return torch.tensor([*ids, STOP])
