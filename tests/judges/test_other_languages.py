"""Speech of other languages than English, said by espeak-ng and heard by Whisper base."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from espeak import needs_espeak, say

from vqbench.audio.io import load_waveform
from vqbench.judges.asr.packaged import is_packaged
from vqbench.judges.asr.recognizer import SpeechRecognizer, load_recognizer
from vqbench.judges.asr.text import compare

pytestmark = [
    needs_espeak,
    pytest.mark.skipif(not is_packaged("base"), reason="heard by Whisper base, of the extra `offline`"),
]

RATE_HZ = 22_050

UNDERSTOOD = {
    "de": ("Guten Morgen, heute ist das Wetter schön und wir gehen in den Park.", 0.4),
    "es": ("Buenos días, hoy hace buen tiempo y vamos a pasear por el parque.", 0.2),
    "pl": ("Mam na imię Piotr i mieszkam w Krakowie.", 0.5),
    "vi": ("Hôm nay trời đẹp quá, chúng ta đi dạo công viên nhé.", 0.4),
}
"""Code → a sentence, and the WER that it stays below."""

REPEATED = "Nein, nein, nein, nein. Das ist nicht wahr. Das ist nicht wahr."


@pytest.fixture(scope="module", autouse=True)
def no_network() -> Iterator[None]:
    def refuse(*args: object) -> None:
        raise AssertionError("something reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="module")
def base() -> SpeechRecognizer:
    return load_recognizer("faster-whisper", "base", beam_size=5, window="clip", device="cpu")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("espeak")
    texts = {code: text for code, (text, _) in UNDERSTOOD.items()} | {"repeated": REPEATED}
    return {
        name: load_waveform(say(text, "de" if name == "repeated" else name, folder / f"{name}.wav"), RATE_HZ)
        for name, text in texts.items()
    }


@pytest.fixture(scope="module")
def heard(base: SpeechRecognizer, sounds: dict[str, object]) -> dict[str, str]:
    """All of them in one call, each told its language."""
    texts = base.transcribe([sounds[code] for code in UNDERSTOOD], RATE_HZ, [*UNDERSTOOD])
    return dict(zip(UNDERSTOOD, texts, strict=True))


@pytest.mark.parametrize("code", UNDERSTOOD)
def test_other_languages_are_understood_mostly(heard: dict[str, str], code: str) -> None:
    text, limit = UNDERSTOOD[code]
    words = compare(text, heard[code], code).words
    assert words is not None
    assert sum(words[:3]) / words.n_reference < limit, heard[code]


def test_it_is_the_language_that_whisper_is_told(
    base: SpeechRecognizer, sounds: dict[str, object], heard: dict[str, str]
) -> None:
    (english,) = base.transcribe([sounds["vi"]], RATE_HZ)
    assert english != heard["vi"]
    assert english.isascii()


def test_neighbours_in_other_languages_change_nothing(
    base: SpeechRecognizer, sounds: dict[str, object], heard: dict[str, str]
) -> None:
    assert base.transcribe([sounds["es"]], RATE_HZ, ["es"]) == [heard["es"]]


def test_what_people_repeat_is_no_loop(base: SpeechRecognizer, sounds: dict[str, object]) -> None:
    (text,) = base.transcribe([sounds["repeated"]], RATE_HZ, ["de"])
    compared = compare(REPEATED, text, "de")
    # Whether it is understood or not: it was said so often.
    assert not compared.looped
    assert len(compared.counted) == len(compared.wanted) == 12


@pytest.mark.parametrize("backend", ["openai-whisper"])
def test_the_other_backend_is_told_languages_too(backend: str, sounds: dict[str, object], tmp_path: Path) -> None:
    recognizer = load_recognizer(backend, "base", beam_size=1, window="clip", device="cpu")  # type: ignore[arg-type]
    assert {"de", "vi", "zh", "jv"} <= recognizer.languages
    assert "yue" not in recognizer.languages
    text, limit = UNDERSTOOD["es"]
    words = compare(text, recognizer.transcribe([sounds["es"]], RATE_HZ, ["es"])[0], "es").words
    assert words is not None
    assert sum(words[:3]) / words.n_reference < limit
