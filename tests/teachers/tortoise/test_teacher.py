"""A teacher says what its parts say, batched: nothing that an utterance is depends on its neighbours."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_teacher import SAMPLING, SECOND, VOCABULARY, hum, make_teacher, teacher, voices

from vqbench.errors import CheckpointError, DataError
from vqbench.teachers.tortoise.lazy_model import LazyModel
from vqbench.teachers.tortoise.sampling import Sampling, sample
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.teachers.tortoise.tokens import settle, speech_tokens
from vqbench.teachers.tortoise.utterance import Utterance

TEXTS = (
    "Hello there.",
    "The old farmer found the small box near the harbor.",
    "I think so.",
    "Two fishermen sold the heavy bell on Monday.",
    "No.",
    "My younger brother watched the bridge.",
    "Hello there.",
)
SEEDS = tuple(range(len(TEXTS)))


def speak_all(speaker: TortoiseTeacher, sampling: Sampling | None = None) -> list[Utterance]:
    return speaker.speak(TEXTS, [voices()[i % 3] for i in SEEDS], SEEDS, sampling)


def biased(token: int, bias: float) -> TortoiseTeacher:
    """The teacher whose GPT prefers one token."""

    def load() -> Any:
        with make_teacher(stop_bias=-100).gpt.loaded() as model:
            model.mel_head.bias.data[token] = bias
            return model

    return replace(teacher(), gpt=LazyModel(load))


def test_utterances_are_what_they_say() -> None:
    spoken = speak_all(teacher())
    assert [u.text for u in spoken] == list(TEXTS)
    assert [u.speaker for u in spoken] == [("ann", "bob", "cy")[i % 3] for i in SEEDS]
    assert [u.seed for u in spoken] == list(SEEDS)
    for utterance in spoken:
        assert utterance.codes.dtype == torch.int64
        assert int(utterance.codes.max()) < VOCABULARY.n_codes
        assert 0 < len(utterance.codes) <= SAMPLING.max_tokens
        assert utterance.waveform.shape == (1024 * len(utterance.codes),)
        assert utterance.waveform.abs().max() <= 1
        assert 0.01 < utterance.waveform.std() < 0.5
        assert utterance.sample_rate_hz == 22_050
        assert math.isfinite(utterance.clvp)
        assert utterance.finished == (len(utterance.codes) < SAMPLING.max_tokens)
    assert len({len(u.codes) for u in spoken}) > 2  # so that lengths differed in a batch


def test_an_utterance_is_the_same_alone() -> None:
    for seed, together in zip(SEEDS, speak_all(teacher()), strict=True):
        (alone,) = teacher().speak([TEXTS[seed]], [voices()[seed % 3]], [seed])
        assert alone.codes.tolist() == together.codes.tolist()
        assert alone.clvp == pytest.approx(together.clvp, abs=1e-5)
        torch.testing.assert_close(alone.waveform, together.waveform, atol=1e-4, rtol=0)


def test_the_same_seed_says_the_same_and_everything_matters() -> None:
    def codes(text: str, voice: int, seed: int, speaker: TortoiseTeacher | None = None) -> list[int]:
        return (speaker or teacher()).write([text], [voices()[voice]], [seed])[0].codes.tolist()

    said = codes(TEXTS[0], 0, 0)
    assert said == codes(TEXTS[0], 0, 0)
    assert said != codes(TEXTS[1], 0, 0)
    assert said != codes(TEXTS[0], 1, 0)
    assert said != codes(TEXTS[0], 0, 1)
    assert said != codes(TEXTS[0], 0, 0, make_teacher(1))


def test_an_utterance_is_what_the_parts_make_one_after_the_other() -> None:
    text, voice, seed = TEXTS[3], voices()[1], 11
    (spoken,) = teacher().speak([text], [voice], [seed])

    tokens = teacher().text.encode(text)
    with (
        torch.inference_mode(),
        teacher().gpt.loaded() as gpt,
        teacher().diffusion.loaded() as diffusion,
        teacher().clvp.loaded() as clvp,
        teacher().vocoder.loaded() as vocoder,
    ):
        sampled = sample(gpt, voice.gpt[None], [tokens], [seed], SAMPLING, VOCABULARY).codes[0]
        codes = sampled[sampled != VOCABULARY.stop]
        # Eight tokens of silence at least, and on to a multiple of 16.
        length = math.ceil((len(codes) + 8) / 16) * 16
        calmed = torch.cat([codes, torch.full((length - len(codes),), VOCABULARY.calm)])
        latents = gpt.latents(voice.gpt[None], tokens[None], calmed[None])
        mel = diffusion.render(latents, voice.diffusion[None], [seed], 4 * length)[0]
        waveform = vocoder(mel[:, : 4 * len(codes) + 4], 1024 * len(codes)).clamp(-1, 1)
        clvp_score = clvp(tokens[None], codes[None], return_loss=False)

    assert spoken.codes.tolist() == codes.tolist()
    assert spoken.clvp == pytest.approx(float(clvp_score), abs=1e-5)
    torch.testing.assert_close(spoken.waveform, waveform, atol=1e-4, rtol=0)


def test_the_official_clvp_reads_the_silence_too() -> None:
    padded = replace(teacher(), scores_padding=True)
    row = [TEXTS[2]], [voices()[2]], [2]
    (written,) = padded.write(*row)
    assert written.finished
    tokens = padded.text.encode(TEXTS[2])
    with torch.inference_mode(), padded.gpt.loaded() as gpt, padded.clvp.loaded() as clvp:
        sampled = sample(gpt, voices()[2].gpt[None], [tokens], [2], SAMPLING, VOCABULARY).codes
        expected = clvp(tokens[None], settle(sampled, VOCABULARY), return_loss=False)
    assert written.clvp == pytest.approx(float(expected), abs=1e-5)
    (spoken_only,) = teacher().write(*row)
    assert spoken_only.clvp != pytest.approx(written.clvp, abs=1e-4)


def test_the_best_of_several_is_rendered_and_its_seed_makes_it_again() -> None:
    args = [TEXTS[0], TEXTS[1]], [voices()[0], voices()[1]], [5, 6]
    best = teacher().speak(*args, k=4)
    for utterance, first in zip(best, teacher().speak(*args), strict=True):
        assert utterance.clvp >= first.clvp
    assert any(utterance.seed not in (5, 6) for utterance in best)
    for utterance, voice in zip(best, args[1], strict=True):
        (again,) = teacher().speak([utterance.text], [voice], [utterance.seed])
        assert again.codes.tolist() == utterance.codes.tolist()
        torch.testing.assert_close(again.waveform, utterance.waveform, atol=1e-4, rtol=0)


def test_a_text_that_the_gpt_cannot_read_is_named_before_anything_is_written() -> None:
    short = replace(teacher(), max_text_tokens=6)
    assert len(short.encode("Yes.")) <= 6
    with pytest.raises(DataError, match=r"the text 'The old farmer found the key\.'.* has \d+ tokens") as caught:
        short.speak(["Yes.", "The old farmer found the key."], [voices()[0]] * 2, [0, 1])
    assert "at most 6" in str(caught.value)


def test_a_gpt_that_stops_at_once_says_nothing() -> None:
    quiet, loud = biased(VOCABULARY.stop, 1000), teacher()
    (nothing,) = quiet.speak([TEXTS[0]], [voices()[0]], [0])
    assert nothing.finished
    assert nothing.clvp == -math.inf
    assert nothing.codes.shape == nothing.waveform.shape == (0,)
    # Beside others, too.
    written = [*quiet.write([TEXTS[0]], [voices()[0]], [0]), *loud.write([TEXTS[1]], [voices()[0]], [0])]
    silent, spoken = loud.render(written)
    assert not len(silent.waveform)
    assert len(spoken.waveform) == 1024 * len(spoken.codes) > 0


def test_a_gpt_that_never_stops_is_unfinished_up_to_its_last_position() -> None:
    endless = biased(VOCABULARY.stop, -1000)
    (spoken,) = endless.speak([TEXTS[0]], [voices()[0]], [0], Sampling(max_tokens=60))
    assert not spoken.finished
    assert len(spoken.codes) == 60  # all positions of the GPT, so none is left for silence
    assert spoken.waveform.shape == (1024 * 60,)


def test_speech_ends_after_eight_tokens_of_silence() -> None:
    sampling = Sampling(repetition_penalty=1.0, max_tokens=20)
    (written,) = biased(VOCABULARY.calm, 1000).write([TEXTS[0]], [voices()[0]], [0], sampling)
    assert written.codes.tolist() == [VOCABULARY.calm] * 8
    assert speech_tokens(torch.full((20,), VOCABULARY.calm), VOCABULARY) == 8


def test_a_second_start_token_ends_an_utterance_unfinished() -> None:
    (written,) = biased(VOCABULARY.start, 1000).write([TEXTS[0]], [voices()[0]], [0])
    assert not written.finished
    assert len(written.codes) == 0


def test_a_voice_is_the_mean_of_its_recordings() -> None:
    low, high = hum(90), hum(250, 2 * SECOND)
    one, other, both = teacher().voices({"low": [low], "high": [high], "both": [low, high]})
    torch.testing.assert_close(both.gpt, (one.gpt + other.gpt) / 2, atol=1e-5, rtol=0)
    assert not torch.allclose(one.diffusion, other.diffusion)
    assert len({one.digest, other.digest, both.digest}) == 3
    same = teacher().voice([low], "someone else")
    assert same.digest == one.digest
    assert torch.equal(same.gpt, one.gpt)


def test_the_diffusion_hears_a_voice_as_upstream() -> None:
    recordings = [hum(90), hum(250)]
    voice = teacher().voice(recordings, "a")
    with teacher().diffusion.loaded() as diffusion, torch.inference_mode():
        mels = torch.stack([teacher().diffusion_mel(waveform) for waveform in recordings])
        torch.testing.assert_close(voice.diffusion, diffusion.model.get_conditioning(mels[None])[0])


@pytest.mark.parametrize(("recordings", "says"), [([], "no recording of speaker 'a'"), ([torch.zeros(0)], "no voice")])
def test_a_voice_needs_a_recording(recordings: list[torch.Tensor], says: str) -> None:
    with pytest.raises(DataError, match=says):
        teacher().voice(recordings, "a")


def test_one_model_at_a_time_where_memory_is_small() -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def counted(part: LazyModel[Any]) -> LazyModel[Any]:
        def load() -> Any:
            nonlocal most
            gc.collect()  # a module refers to itself
            model = part._load()
            alive.add(model)
            most = max(most, len(alive))
            return model

        return LazyModel(load, keep=False)

    whole = make_teacher()
    parts = {name: counted(getattr(whole, name)) for name in ("gpt", "clvp", "diffusion", "vocoder")}
    small = replace(whole, **parts)
    kept, dropped = speak_all(teacher()), speak_all(small)
    assert most == 1
    for one, other in zip(kept, dropped, strict=True):
        assert one.codes.tolist() == other.codes.tolist()
        assert torch.equal(one.waveform, other.waveform)


def test_a_kept_model_is_loaded_once() -> None:
    loads = []
    part = LazyModel(lambda: loads.append(1) or object())
    with part.loaded() as one, part.loaded() as other:
        assert one is other
    assert len(loads) == 1


@pytest.mark.parametrize("name", ["gpt", "clvp", "diffusion"])
def test_weights_that_are_no_numbers_are_named(name: str) -> None:
    broken = make_teacher()
    with getattr(broken, name).loaded() as model:
        network = model.model if name == "diffusion" else model
        for parameter in network.parameters():
            parameter.data.fill_(math.nan)
    with pytest.raises((CheckpointError, DataError), match=r"not numbers|NaN|nan"):
        broken.speak([TEXTS[0]], [voices()[0]], [0])


def test_what_cannot_be_said_is_said_before() -> None:
    with pytest.raises(DataError, match="nothing to speak"):
        teacher().speak([TEXTS[0], ""], [voices()[0]] * 2, [0, 1])
    with pytest.raises(ValueError, match="2 texts, 1 voices"):
        teacher().write(TEXTS[:2], [voices()[0]], [0, 1])


def test_what_was_said_can_be_trained_on() -> None:
    (spoken,) = teacher().speak([TEXTS[0]], [voices()[0]], [0])
    voice = teacher().voice([hum(100)], "a")
    weight = torch.ones(VOCABULARY.n_codes, 2, requires_grad=True)
    embedded = torch.nn.functional.embedding(spoken.codes, weight)
    (embedded.sum() * voice.gpt.sum() * voice.diffusion.sum() * spoken.waveform.sum()).backward()
    assert weight.grad is not None


def test_nothing_to_say() -> None:
    assert teacher().speak([], [], []) == []


def test_progress_counts_every_utterance_once_a_stage() -> None:
    class Counting:
        def __init__(self) -> None:
            self.stages: dict[str, tuple[int, int]] = {}

        @contextmanager
        def task(self, description: str, total: int, done: int = 0) -> Iterator[Any]:
            self.stages[description] = (total, done)

            def advance(steps: int = 1, note: str = "") -> None:
                self.stages[description] = (total, self.stages[description][1] + steps)

            yield advance

    progress = Counting()
    teacher().speak(TEXTS, [voices()[0]] * len(TEXTS), SEEDS, progress=progress)
    assert list(progress.stages) == ["writing tokens", "rendering mels", "vocoding"]
    assert set(progress.stages.values()) == {(len(TEXTS), len(TEXTS))}
