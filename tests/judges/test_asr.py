"""Both backends understand real speech, whatever stands beside it, and have an answer to what is not speech."""

import json
import socket
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from vqbench.audio.io import load_waveform
from vqbench.data.corpora import corpus_clips
from vqbench.errors import CheckpointError, ConfigError, DataError
from vqbench.judges.asr.packaged import PACKAGED, PackagedModel
from vqbench.judges.asr.recognizer import SpeechRecognizer, load_recognizer, locate_model, require_languages
from vqbench.judges.asr.text import word_errors
from vqbench.judges.asr.whisper_base import Decoded, WhisperRecognizer, _halves, _loops, _Piece, split_at_pauses

RATE_HZ = 22_050
BACKENDS = ("faster-whisper", "openai-whisper")
CLIPS = {clip.id: clip for clip in corpus_clips("tortoise-voices")}
EASY = ("train_kennard/2", "train_daws/3", "train_mouse/1")


def speech(clip_id: str) -> torch.Tensor:
    return load_waveform(CLIPS[clip_id].path, RATE_HZ)


@pytest.fixture(scope="module", autouse=True)
def no_network() -> Iterator[None]:
    def refuse(*args: object) -> None:
        raise AssertionError("something reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def recognizer(backend) -> SpeechRecognizer:
    return load_recognizer(backend, "tiny.en", beam_size=1, window="clip", device="cpu")


@pytest.fixture(scope="module")
def easy_texts(recognizer) -> list[str]:
    return recognizer.transcribe([speech(clip) for clip in EASY], RATE_HZ)


def test_real_speech_is_understood(easy_texts):
    assert [sum(word_errors(CLIPS[clip].text, text)[:3]) for clip, text in zip(EASY, easy_texts, strict=True)] == [
        0
    ] * 3


def test_the_full_window_and_beams_understand_it_too(backend, easy_texts):
    careful = load_recognizer(backend, "tiny.en", beam_size=2, window="full", device="cpu")
    for text, quick in zip(careful.transcribe([speech(clip) for clip in EASY], RATE_HZ), easy_texts, strict=True):
        assert sum(word_errors(text, quick)[:3]) <= 1


def test_neighbours_order_and_type_change_nothing(recognizer, easy_texts):
    clips = [speech(clip).numpy() for clip in EASY]
    assert recognizer.transcribe(clips[::-1], RATE_HZ) == easy_texts[::-1]
    assert recognizer.transcribe(clips[1:2], RATE_HZ) == easy_texts[1:2]
    assert recognizer.transcribe([], RATE_HZ) == []


def test_batches_as_on_a_gpu_change_nothing(recognizer, monkeypatch):
    clips = [speech(clip) for clip in ("train_daws/1", "train_daws/2", "train_daws/3")]  # 9 s each: the same window
    singly = recognizer.transcribe(clips, RATE_HZ)
    monkeypatch.setattr(recognizer, "_batch_size", 4)
    assert recognizer.transcribe(clips, RATE_HZ) == singly


def test_a_fresh_recognizer_says_the_same(backend, recognizer, easy_texts):
    again = load_recognizer(backend, "tiny.en", beam_size=1, window="clip", device="cpu")
    assert again.identity == recognizer.identity
    assert again.transcribe([speech(EASY[2])], RATE_HZ) == easy_texts[2:]


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_the_sample_rate_is_heeded(recognizer, easy_texts, rate_hz):
    clip = load_waveform(CLIPS[EASY[2]].path, rate_hz)
    assert recognizer.transcribe([clip], rate_hz) == easy_texts[2:]


def test_long_recordings_are_heard_to_their_end(recognizer):
    parts = ("train_daws/3", "train_kennard/1", "train_daws/1", "train_grace/1")
    waveform = torch.cat([speech(clip) for clip in parts])
    assert len(waveform) > 30 * RATE_HZ
    (text,) = recognizer.transcribe([waveform], RATE_HZ)
    counts = word_errors(" ".join(CLIPS[clip].text for clip in parts), text)
    assert sum(counts[:3]) <= 0.1 * counts.n_reference


def test_what_is_not_speech_has_an_answer(recognizer):
    noise = np.random.default_rng(0).normal(size=2 * RATE_HZ).astype(np.float32)
    waveforms = [np.zeros(2 * RATE_HZ, np.float32), np.zeros(1), np.ones(1), noise * 0.1, noise * 1e6, noise > 0]
    texts = recognizer.transcribe(waveforms, RATE_HZ)
    assert len(texts) == len(waveforms)
    assert texts == recognizer.transcribe(waveforms, RATE_HZ)
    assert all(len(text.split()) <= 50 for text in texts)


UNHEARABLE = {
    "empty": (np.zeros(0), "empty"),
    "NaN": (np.array([0.0, np.nan, 0.0]), "1 of 3 samples are NaN"),
    "infinite": (np.array([np.inf]), "infinite"),
    "stereo": (np.zeros((2, 100)), "mono"),
    "a number": (np.array(0.5), "mono"),
}


@pytest.mark.parametrize("name", UNHEARABLE)
def test_what_cannot_be_heard_is_named_by_its_place(recognizer, name):
    waveform, problem = UNHEARABLE[name]
    with pytest.raises(DataError, match=problem) as caught:
        recognizer.transcribe([np.zeros(100), waveform], RATE_HZ)
    assert caught.value.where == "waveform 1"


def test_greedy_search_does_not_loop_on_a_short_window():
    """A sentence that greedy search with int8 said over and over in a short window."""
    recognizer = load_recognizer("faster-whisper", "tiny.en", beam_size=1, window="clip", device="cpu")
    clip = "train_lescault/lescault_new5"
    (text,) = recognizer.transcribe([speech(clip)], RATE_HZ)
    assert sum(word_errors(CLIPS[clip].text, text)[:3]) <= 3


class Parrot(WhisperRecognizer):
    """Repeats itself in short windows, and notes what it was given."""

    def __init__(self) -> None:
        super().__init__({}, "clip", batch_size=2)
        self.batches: list[tuple[int, list[int]]] = []

    def _decode(self, waveforms: Sequence[np.ndarray], token_limits: Sequence[int], language: str) -> list[Decoded]:
        (length,) = {len(waveform) for waveform in waveforms}
        self.batches.append((length, list(token_limits)))
        texts = ["once more. " * (3 if length < 480_000 and waveform[0] else 1) for waveform in waveforms]
        return [Decoded(text, True) for text in texts]


def test_only_loops_are_decoded_again_in_the_full_window():
    parrot = Parrot()
    waveforms = [np.full(16_000 * seconds, float(loops)) for seconds, loops in ((2, 1), (1, 0), (2, 0), (2, 1))]
    assert parrot.transcribe(waveforms, 16_000) == ["once more."] * 4
    short, full = 10 * 16_000, 30 * 16_000
    assert parrot.batches == [(9 * 16_000, [20]), (short, [30, 30]), (short, [30]), (full, [30, 30])]


LOOPS = {
    "I see. I see. I see.": True,
    "the choice of entrees, the choice of entrees": True,
    "no no no no": True,
    "": False,
    "word": False,
    "no no no": False,
    "that that is is": False,
    "they had had it": False,
    "row, row, row your boat, gently down the stream": False,
}


@pytest.mark.parametrize("text", LOOPS)
def test_loops_are_told_from_speech(text):
    assert _loops(text, _Piece(np.zeros(1), "en")) is LOOPS[text]


@pytest.mark.parametrize("seconds", [0, 30, 30.01, 49, 59.9, 61, 200])
def test_pieces_fit_the_window_and_lose_nothing(seconds):
    waveform = np.random.default_rng(0).normal(size=int(seconds * 16_000)).astype(np.float32)
    pieces = split_at_pauses(waveform)
    assert all(len(piece) <= 30 * 16_000 for piece in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces), waveform)
    assert seconds <= 30 or min(map(len, pieces)) >= 10 * 16_000


def test_cuts_are_made_in_pauses():
    waveform = np.ones(40 * 16_000, np.float32)
    waveform[int(19.0 * 16_000) : int(19.3 * 16_000)] = 0
    first, _ = split_at_pauses(waveform)
    assert 19.0 <= len(first) / 16_000 <= 19.3


def test_the_identity_holds_what_changes_a_transcript():
    settings = [("faster-whisper", 1, "clip"), ("faster-whisper", 2, "clip"), ("faster-whisper", 1, "full")]
    identities = [load_recognizer(b, "tiny.en", beam, window, "cpu").identity for b, beam, window in settings]
    assert len({json.dumps(identity, sort_keys=True) for identity in identities}) == 3
    for identity in identities:
        assert identity["model"] == "tiny.en"
        assert len(str(identity["weights"])) == 64
        assert identity["compute_type"] == "float32"
        assert not any("/" in str(value) for value in identity.values())


def test_a_published_checkpoint_is_read_like_its_conversion(tmp_path):
    folder = locate_model("openai-whisper", "tiny.en")
    from vqbench.judges.asr.ctranslate2_weights import load_converted_whisper

    model = load_converted_whisper(folder).half()
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, tmp_path / "mine.pt")
    published = load_recognizer("openai-whisper", str(tmp_path / "mine.pt"), 1, "clip", "cpu")
    converted = load_recognizer("openai-whisper", str(folder), 1, "clip", "cpu")
    assert published.identity["model"] == "mine.pt"
    assert published.transcribe([speech(EASY[0])], RATE_HZ) == converted.transcribe([speech(EASY[0])], RATE_HZ)


MISSING = {
    "a near name": ("tiny.em", "did you mean 'tiny.en'?"),
    "another name": ("conformer", "no Whisper is called 'conformer'"),
    "a name that is not here": ("large-v1", "downloads nothing by itself"),
    "a path to nothing": ("./models/none", "there is no ASR model"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_model_that_is_not_here_is_explained(backend, monkeypatch, tmp_path, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, problem = MISSING[name]
    with pytest.raises(ConfigError) as caught:
        load_recognizer(backend, model, 1, "clip", "cpu")
    assert problem in str(caught.value)


def test_the_package_that_brings_a_model_is_named(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    unknown = PackagedModel(("a-package",), ("a_package_that_is_not_installed",))
    monkeypatch.setitem(PACKAGED, "large-v1", unknown)
    with pytest.raises(ConfigError) as caught:
        locate_model(backend, "large-v1")
    assert "vqbench[offline]" in caught.value.fix


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'faster-whisper'"):
        load_recognizer("fast-whisper", "tiny.en", 1, "clip", "cpu")
    with pytest.raises(ConfigError, match="beam_size is 0"):
        load_recognizer("faster-whisper", "tiny.en", 0, "clip", "cpu")


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not be printed",)


@pytest.fixture
def model_folder(tmp_path):
    """tiny.en without its weights."""
    for file in locate_model("faster-whisper", "tiny.en").iterdir():
        if file.name != "model.bin":
            (tmp_path / file.name).symlink_to(file)
    return tmp_path


def weights_start() -> bytes:
    with (locate_model("faster-whisper", "tiny.en") / "model.bin").open("rb") as file:
        return file.read(100_000)


@pytest.mark.parametrize(
    "content", [None, b"", b"no model at all", weights_start()], ids=["none", "empty", "text", "cut"]
)
def test_a_folder_without_whole_weights_is_refused(backend, model_folder, content):
    if content is not None:
        (model_folder / "model.bin").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_recognizer(backend, str(model_folder), 1, "clip", "cpu")
    assert str(model_folder) in caught.value.where


@pytest.mark.parametrize("content", [None, b"{}", b"not json"], ids=["none", "another", "text"])
def test_a_folder_without_its_tokenizer_is_refused(model_folder, content):
    (model_folder / "model.bin").symlink_to(locate_model("faster-whisper", "tiny.en") / "model.bin")
    (model_folder / "tokenizer.json").unlink()
    if content is not None:
        (model_folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError):
        load_recognizer("faster-whisper", str(model_folder), 1, "clip", "cpu")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "code", "foreign"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, capsys, content):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(RunsCode() if content == "code" else {"weights": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError):
        load_recognizer("openai-whisper", str(path), 1, "clip", "cpu")
    assert "must not be printed" not in capsys.readouterr().out
    with pytest.raises(ConfigError, match="openai-whisper"):
        load_recognizer("faster-whisper", str(path), 1, "clip", "cpu")


class _Loops(WhisperRecognizer):
    """Says the same again and again, whatever it hears."""

    def __init__(self) -> None:
        super().__init__({}, "clip", batch_size=4)
        self.windows_s: list[float] = []

    def _decode(self, waveforms, token_limits, language):  # type: ignore[no-untyped-def]
        self.windows_s += [len(waveform) / 16_000 for waveform in waveforms]
        return [Decoded("Well, it is not right, it is not right, it is not", False)] * len(waveforms)


def test_a_loop_is_decoded_once_more_and_then_told_as_it_is() -> None:
    recognizer = _Loops()
    (text,) = recognizer.transcribe([np.zeros(16_000, dtype=np.float32)], 16_000)
    assert text == "Well, it is not right, it is not right, it is not"
    assert recognizer.windows_s == [9.0, 30.0]


class _Talkative(WhisperRecognizer):
    """Has five words for each second, and no room for more than forty."""

    def __init__(self) -> None:
        super().__init__({}, "full", batch_size=4, known=("en", "hi"))
        self.told: list[tuple[str, int]] = []

    def _decode(self, waveforms, token_limits, language):  # type: ignore[no-untyped-def]
        self.told += [(language, limit) for limit in token_limits]
        heard = [range(*(np.flatnonzero(waveform)[[0, -1]] + [0, 3200]) // 3200) for waveform in waveforms]
        return [
            Decoded(" ".join(f"w{waveform[k * 3200]:.0f}" for k in words[:40]), len(words) <= 40)
            for waveform, words in zip(waveforms, heard, strict=True)
        ]


def test_what_does_not_fit_into_a_text_is_heard_in_halves() -> None:
    # The word said at each moment is written into the sound itself.
    sound = np.repeat(np.arange(1, 151, dtype=np.float32), 3200)
    assert len(sound) == 30 * 16_000
    talkative = _Talkative()
    (cut,) = talkative.transcribe([sound], 16_000, ["en"])
    assert len(cut.split()) == 40
    (whole,) = talkative.transcribe([sound], 16_000, ["hi"])
    assert {int(word[1:]) for word in whole.split()} >= set(range(2, 150))
    assert talkative.told[0] == ("en", 224)
    assert {language for language, _ in talkative.told[1:]} == {"hi"}


def test_halves_lose_nothing() -> None:
    sound = np.random.default_rng(0).normal(size=70_001).astype(np.float32)
    halves = _halves(sound)
    assert len(halves) == 2
    np.testing.assert_array_equal(np.concatenate(halves), sound)
    assert all(len(half) > 20_000 for half in halves)


def test_what_has_no_spaces_loops_by_characters() -> None:
    assert _loops("谢谢大家谢谢大家", _Piece(np.zeros(1), "zh"))
    assert not _loops("谢谢大家", _Piece(np.zeros(1), "zh"))


@pytest.mark.parametrize(
    ("codes", "message", "fix"),
    [
        (["vi"], "tiny.en knows English only, and there are clips in Vietnamese (vi)", "model: base"),
        (["en", "vi", "de"], "clips in German (de), Vietnamese (vi)", "model: base"),
        (["yue"], "clips in Cantonese (yue)", "model: large-v3"),
        (["ig"], "clips in Igbo (ig)", "no Whisper knows Igbo (ig)"),
    ],
)
def test_an_english_whisper_refuses_other_languages(recognizer, codes, message, fix) -> None:
    require_languages(recognizer, ["en"])
    with pytest.raises(ConfigError) as caught:
        require_languages(recognizer, codes)
    assert message in caught.value.problem
    assert fix in caught.value.fix
