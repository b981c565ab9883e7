"""The table of languages: Whisper's, the document's, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from whisper.tokenizer import LANGUAGES as WHISPERS

from vqbench.errors import DataError
from vqbench.languages import LANGUAGES, language_of

PAGE = Path(__file__).parents[1] / "docs/languages.md"


def test_whisper_knows_what_the_table_says() -> None:
    told = {language.whisper for language in LANGUAGES.values()} - {None}
    assert told == set(WHISPERS)
    # Whisper's own names, where they are not older or shorter ones.
    other = {"no", "ht", "jw", "my", "nn", "zh", "yue"}
    for language in LANGUAGES.values():
        if language.whisper and language.whisper not in other:
            assert WHISPERS[language.whisper] == language.name.lower()


def test_codes_are_those_of_iso_639() -> None:
    assert len(LANGUAGES) == 183 + 2
    assert [code for code in LANGUAGES if len(code) != 2] == ["haw", "yue"]
    assert {code for code, one in LANGUAGES.items() if not one.has_spaces} == {
        "ja",
        "km",
        "lo",
        "my",
        "th",
        "zh",
        "yue",
    }


def test_the_document_has_every_language() -> None:
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told = {
        code.strip().strip("`"): (name.strip(), whisper.strip(), counted.strip())
        for _, code, name, whisper, counted, _ in rows
    }
    assert told == {
        code: (
            one.name,
            "—" if one.whisper is None else "yes" if one.whisper == code else f"as `{one.whisper}`",
            "words" if one.has_spaces else "characters",
        )
        for code, one in LANGUAGES.items()
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [("german", "de"), ("Vietnamese", "vi"), ("pt-BR", "pt"), ("zh_CN", "zh"), ("vie", "vi"), ("yu", "yue")],
)
def test_an_unknown_code_is_refused_with_a_near_one(written: str, meant: str) -> None:
    with pytest.raises(DataError) as caught:
        language_of(written)
    assert f"did you mean '{meant}'?" in caught.value.problem


@pytest.mark.parametrize("written", ["", "qq1", "xx-yy", "klingon"])
def test_what_is_near_to_none_is_refused(written: str) -> None:
    with pytest.raises(DataError, match="there is no language"):
        language_of(written)
