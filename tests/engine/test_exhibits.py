"""What a run keeps to be heard and seen: a tiny teacher, real recordings, and everybody's takes of a few clips."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from audio_reference import librosa_mel
from scipy.optimize import linear_sum_assignment
from tiny_teacher import VOCABULARY, make_teacher

from vqbench.audio.io import decode_waveform, load_waveform, save_waveform
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.cli.run import write_outcome
from vqbench.config.suite import Suite, load_suite
from vqbench.data.corpora import corpus_clips
from vqbench.data.manifest import Clip, read_manifest, verify, write_manifest
from vqbench.engine.cache import Cache
from vqbench.engine.runner import Outcome, run_suite
from vqbench.errors import ConfigError
from vqbench.progress import Silent, Timekeeper
from vqbench.records.exhibits import NOTHING, Mel, Shown, Take, load_exhibits, read_sound, unpack_whole
from vqbench.records.store import load_run
from vqbench.stats.columns import Ragged
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

SPEAKERS = ("train_kennard", "train_mouse")
NARROW = MelSpec(sample_rate_hz=16_000)
"""Another front end: what reads it writes no tokens that a GPT could be tuned on."""

LINES = ("train_kennard-0", "train_mouse-0", "train_kennard-1", "train_mouse-1")
"""The recordings whose sentences are spoken: the speakers take turns."""


def dvae(seed: int) -> DVAE:
    torch.manual_seed(seed)
    made = DVAE(Dimensions(codebook_size=VOCABULARY.n_codes, codebook_dim=8, hidden_dim=8, num_resnet_blocks=1))
    with torch.no_grad():
        rows = made.encoder(torch.randn(1, 80, 8 * VOCABULARY.n_codes) * 2)[0].t()
        made.codebook.set_codes(rows[: VOCABULARY.n_codes], 1.0)
    return made


def bursting(seed: int) -> DVAE:
    """One whose mels are far louder than any number can tell."""
    made = dvae(seed)
    last = [module for module in made.decoder.modules() if isinstance(module, torch.nn.Conv1d)][-1]
    with torch.no_grad():
        last.bias.fill_(-1e4)  # type: ignore[union-attr]
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pieces of human speech by two speakers, one recording that holds a NaN, and three kinds of candidates."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    clips, told = [], []
    for speaker in SPEAKERS:
        of_speaker = [clip for clip in corpus_clips("tortoise-voices") if clip.speaker == speaker]
        waveform = load_waveform(of_speaker[0].path, 22_050)
        for part in range(3):
            path = folder / f"{speaker}-{part}.flac"
            save_waveform(path, waveform[part * 20_000 :][: 20_000 + 3_000 * part], 22_050)
            clips.append(
                verify(Clip(path.stem, path, "", 0.0, text=f"Piece {part} of {speaker[6:]}.", speaker=speaker))
            )
        path = folder / f"{speaker}-voice.flac"
        save_waveform(path, load_waveform(of_speaker[1].path, 22_050)[: 3 * 22_050], 22_050)
        told.append(verify(Clip(path.stem, path, "", 0.0, speaker=speaker)))
    nan = np.zeros(22_050, dtype=np.float32)
    nan[4321] = np.nan
    soundfile.write(folder / "broken.wav", nan, 22_050, subtype="FLOAT")
    broken = verify(Clip("broken", folder / "broken.wav", "", 0.0, text="No one can hear this.", speaker="nobody"))
    write_manifest(folder / "clips.jsonl", [*clips, broken])
    write_manifest(folder / "training.jsonl", [replace(clip, text=f"{clip.text} Again.") for clip in clips])
    write_manifest(folder / "voices.jsonl", told)
    write_manifest(folder / "natural.jsonl", [*clips[:2], broken])
    for name, made, spec in (
        ("one", dvae(1), MelSpec()),
        ("burst", bursting(2), MelSpec()),
        ("narrow", dvae(3), NARROW),
    ):
        save_checkpoint(folder / f"{name}.safetensors", made, spec, {})
    return folder


class Deaf:
    """Hears nothing, quickly."""

    identity: Mapping[str, str | int | float] = {"asr": "deaf"}
    languages = frozenset({"en"})

    def transcribe(
        self, waveforms: Sequence[Any], sample_rate_hz: int, languages: Sequence[str] | None = None
    ) -> list[str]:
        return ["" for _ in waveforms]


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    def open_tiny(*_: object) -> Any:
        return replace(make_teacher(), tokenizer=DVAETokenizer(dvae(0), MelSpec()))

    with pytest.MonkeyPatch.context() as patch:
        for module in ("assignment", "question"):
            patch.setattr(f"vqbench.engine.{module}.open_teacher", open_tiny)
        # What the ASR would make of a tiny teacher's noise takes minutes, and nobody hears it.
        patch.setattr("vqbench.engine.groups.load_recognizer", lambda *_, **__: Deaf())
        yield


NAMED = ("train_mouse-1", "downstream/train_kennard-1", "pairs/000001", "natural/train_kennard-1", "broken")


def suite_of(project: Path, exhibits: Mapping[str, Any], **changes: Any) -> Suite:
    content = {
        "name": "tiny",
        "teacher": "pocket",
        "data": {
            "speech": {"manifest": "clips.jsonl"},
            "pairs": {"n": 6, "voices": {"manifest": "voices.jsonl"}},
            "natural": {"manifest": "natural.jsonl"},
        },
        "candidates": [{"name": name, "checkpoint": f"{name}.safetensors"} for name in ("one", "burst", "narrow")],
        "metrics": ["token_agreement", "reconstruction", "codebook", "downstream"],
        "downstream": {
            "finetune": {"data": [{"manifest": "training.jsonl"}], "steps": 2, "batch_size": 3, "learning_rate": 1e-3},
            "n": len(LINES),
            "voices": {"manifest": "voices.jsonl"},
            "enrolment": {"manifest": "training.jsonl"},
        },
        "vocoder": {"iterations": 2},
        "interval": {"resamples": 100},
        "device": "cpu",
        "exhibits": dict(exhibits),
        **changes,
    }
    path = project / "suite.yaml"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return load_suite(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def outcome(project: Path, cache: Cache) -> Outcome:
    return run_suite(suite_of(project, {"clips": NAMED, "drawn": 0, "worst": 0}), cache, Silent())


def shown_of(outcome: Outcome, clip: str) -> Shown:
    (found,) = (shown for exhibit in outcome.exhibits.exhibits for shown in exhibit.shown if shown.clip == clip)
    return found


def take_of(outcome: Outcome, clip: str, candidate: str) -> Take:
    (found,) = (take for take in shown_of(outcome, clip).takes if take.candidate == candidate)
    return found


def sound_of(outcome: Outcome, take: Take) -> np.ndarray:
    samples: np.ndarray = decode_waveform(outcome.sounds[take.sound], take.sound).numpy()
    return samples


def codes_in(outcome: Outcome, candidate: str, group: str, column: str, clip: str) -> list[int]:
    (table,) = (t for t in outcome.run.tables if (t.candidate, t.group) == (candidate, group))
    rows = table.columns[column]
    assert isinstance(rows, Ragged)
    return list(rows.rows())[table.row_ids.index(clip)].tolist()  # type: ignore[no-any-return]


def whole(packed: Any) -> list[int]:
    return unpack_whole(packed, "codes").tolist()  # type: ignore[no-any-return]


def picture(mel: Mel | None) -> np.ndarray:
    assert mel is not None
    return unpack_whole(mel.levels, "levels").reshape(mel.bands, mel.frames)


def in_db(log_mel: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Normalised log mels as whole dB above -50: by e to powers of ten."""
    db = log_mel * np.array(spec.norms)[:, None] * 10 / np.log(10)
    return np.clip(np.rint(db + 50), 0, 255)


COPIES = ["original", "vocoded", "one", "narrow"]
SPOKEN = ["original", "vocoded", "zero-shot", "one", "burst"]


def test_everybodys_takes_are_there_and_who_cannot_give_one_is_left_out(outcome: Outcome) -> None:
    found = {
        shown.clip: [take.candidate for take in shown.takes]
        for exhibit in outcome.exhibits.exhibits
        for shown in exhibit.shown
    }
    assert found == {
        # `burst` gives back no sound; but its tokens can be learnt, and `narrow`'s cannot. Nobody can read `broken`.
        "train_mouse-1": COPIES,
        "downstream/train_mouse-1": SPOKEN,
        "train_kennard-1": COPIES,
        "downstream/train_kennard-1": SPOKEN,
        "pairs/000001": ["", "vocoded", "one", "narrow"],
        "natural/train_kennard-1": COPIES,
    }
    assert set(outcome.sounds) == {take.sound for take in outcome.exhibits.takes}
    (copied,) = (t for t in outcome.run.tables if (t.candidate, t.group) == ("burst", "reconstruction"))
    assert "train_mouse-1" in copied.unscored


def test_a_recording_and_what_is_spoken_of_its_sentence_are_shown_together(outcome: Outcome) -> None:
    together = [[shown.clip for shown in exhibit.shown] for exhibit in outcome.exhibits.exhibits]
    # Whichever of the two was named.
    assert together[:2] == [
        [f"{at}{name}" for at in ("", "downstream/")] for name in ("train_mouse-1", "train_kennard-1")
    ]
    assert [exhibit.why for exhibit in outcome.exhibits.exhibits] == [("named in the suite",)] * 4


def test_both_give_their_reasons(project: Path, cache: Cache) -> None:
    lines = [f"downstream/{name}" for name in LINES]
    found = run_suite(suite_of(project, {"clips": lines, "worst": 9, "drawn": 9}), cache, Silent())
    together = [one for one in found.exhibits.exhibits if len(one.shown) == 2]
    assert len(together) == len(LINES)
    for exhibit in together:
        # The one of what is spoken, the other of the copies.
        assert "named in the suite" in exhibit.why
        assert any("worst reconstruction." in why for why in exhibit.why)
        assert len(set(exhibit.why)) == len(exhibit.why)
    clips = [shown.clip for one in found.exhibits.exhibits for shown in one.shown]
    assert len(set(clips)) == len(clips)
    # All there are, but for the recording that nobody can read, and those that a GPT was only asked about.
    there = {clip.id for clip in found.run.clips if clip.clip_set != "held-out"}
    assert set(clips) == there - {"broken", "natural/broken"}


def test_the_original_is_the_recording_and_the_gpts_rendering_is_as_it_was(outcome: Outcome, project: Path) -> None:
    clips = {clip.id: clip for clip in read_manifest(project / "clips.jsonl")}
    for clip in ("train_mouse-1", "train_kennard-1"):
        recorded = load_waveform(clips[clip].path, 22_050).numpy()
        take = take_of(outcome, clip, "original")
        assert np.array_equal(sound_of(outcome, take), recorded)
        assert take.duration_s == len(recorded) / 22_050
        # In the three places in which it is shown it is one file.
        assert take_of(outcome, f"downstream/{clip}", "original").sound == take.sound
    written = take_of(outcome, "pairs/000001", "")
    (record,) = (clip for clip in outcome.run.clips if clip.id == "pairs/000001")
    assert written.duration_s == record.duration_s == pytest.approx(len(sound_of(outcome, written)) / 22_050)


def test_takes_differ_and_sound_as_long_as_the_recording(outcome: Outcome) -> None:
    shown = shown_of(outcome, "train_mouse-1")
    assert len({take.sound for take in shown.takes}) == len(COPIES)
    assert [take.duration_s for take in shown.takes] == pytest.approx([shown.takes[0].duration_s] * 4, abs=1e-4)
    # What the teacher says as it is, and tuned to two candidates, is not the same.
    spoken = shown_of(outcome, "downstream/train_mouse-1").takes
    assert len({take.sound for take in spoken}) == len(SPOKEN)


def test_pictures_are_in_whole_decibels(outcome: Outcome, project: Path) -> None:
    for clip, who in (("train_mouse-1", "original"), ("train_mouse-1", "vocoded"), ("pairs/000001", "")):
        take = take_of(outcome, clip, who)
        wanted = in_db(librosa_mel(sound_of(outcome, take)), MelSpec())
        assert take.mel is not None and take.mel.of == "sound"
        assert take.mel.frames_per_s == pytest.approx(22_050 / 256)
        # A step where the other one rounds otherwise, or where 16 bits are too few to tell.
        assert np.abs(picture(take.mel) - wanted).max() <= 1
        assert np.mean(picture(take.mel) == wanted) > 0.99
    for who, made, spec in (("one", dvae(1), MelSpec()), ("narrow", dvae(3), NARROW)):
        for clip in ("train_mouse-1", "pairs/000001"):
            take = take_of(outcome, clip, who)
            assert take.mel is not None and take.mel.of == "decoder"
            assert take.mel.frames_per_s == pytest.approx(spec.sample_rate_hz / 256)
            (decoded,) = DVAETokenizer(made, spec).decode([torch.tensor(whole(take.codes))])
            wanted = in_db(decoded.numpy()[:, : take.mel.frames], spec)
            assert np.abs(picture(take.mel) - wanted).max() <= 1
            assert np.mean(picture(take.mel) == wanted) > 0.99
    assert picture(take_of(outcome, "downstream/train_mouse-1", "one").mel).shape[0] == 80


def test_codes_are_those_of_the_tables(outcome: Outcome, project: Path) -> None:
    for who in ("one", "narrow"):
        found = whole(take_of(outcome, "train_mouse-1", who).codes)
        assert found == codes_in(outcome, who, "codebook", "codes", "train_mouse-1")
    for clip, group in (("pairs/000001", "token_agreement"), ("natural/train_kennard-1", "token_agreement.natural")):
        shown, found = shown_of(outcome, clip), whole(take_of(outcome, clip, "one").codes)
        # The tables hold what both have, so that each token has its partner.
        wanted = codes_in(outcome, "one", group, "codes", clip)
        assert found[: len(wanted)] == wanted
        assert whole(shown.codes)[: len(wanted)] == codes_in(outcome, "one", group, "gpt_codes", clip)
    assert shown_of(outcome, "pairs/000001").codes_by == "the GPT"
    assert shown_of(outcome, "natural/train_kennard-1").codes_by == "the true tokenizer"


def test_beside_a_recording_stand_the_true_tokens(outcome: Outcome, project: Path) -> None:
    (clip,) = (clip for clip in read_manifest(project / "clips.jsonl") if clip.id == "train_mouse-1")
    with torch.inference_mode():
        wanted = dvae(0).eval().encode(MelFrontEnd(MelSpec())(load_waveform(clip.path, 22_050))[None])[0].tolist()
    shown = shown_of(outcome, clip.id)
    assert (whole(shown.codes), shown.codes_by) == (wanted, "the true tokenizer")
    spoken = shown_of(outcome, f"downstream/{clip.id}")
    assert (spoken.codes, spoken.codes_by) == (None, None)
    assert all(take.codes is None for take in spoken.takes)


def test_the_relabelling_is_the_best_one(outcome: Outcome) -> None:
    assert [found.candidate for found in outcome.exhibits.relabellings] == ["one", "burst"]
    for found in outcome.exhibits.relabellings:
        (table,) = (t for t in outcome.run.tables if (t.candidate, t.group) == (found.candidate, "token_agreement"))
        own, target = (table.columns[name].values for name in ("codes", "gpt_codes"))  # type: ignore[union-attr]
        counted = np.zeros((64, 64), dtype=int)
        np.add.at(counted, (own, target), 1)
        columns = (found.codes, found.labels, found.matches, found.counts)
        codes, labels, matches, counts = (whole(column) for column in columns)
        assert found.tokens == len(own)
        assert matches == [counted[code, label] for code, label in zip(codes, labels, strict=True)]
        assert counts == [(own == code).sum() for code in codes]
        assert min(matches) >= 1 and matches == sorted(matches, reverse=True)
        assert len(set(codes)) == len(codes) and len(set(labels)) == len(labels)
        assert sum(matches) == counted[linear_sum_assignment(counted, maximize=True)].sum()


def refuse(*_: object, **__: object) -> Any:
    raise AssertionError("this was known")


def test_a_second_run_reads_all_of_it_and_gives_the_same(
    outcome: Outcome, project: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqbench.engine.exhibits.encode_waveform", refuse)
    monkeypatch.setattr("vqbench.engine.exhibits._picture", refuse)
    again = run_suite(suite_of(project, {"clips": NAMED, "drawn": 0, "worst": 0}), cache, Silent())
    assert again.exhibits == outcome.exhibits
    assert again.sounds == outcome.sounds
    # And so it lies beside the run.
    write_outcome(again, tmp_path)
    run = load_run(tmp_path)
    assert load_exhibits(tmp_path, run) == outcome.exhibits
    assert {take.sound: read_sound(tmp_path, take.sound) for take in again.exhibits.takes} == dict(outcome.sounds)


def test_nothing_is_spoken_for_it_even_where_nothing_is_believed(project: Path, cache: Cache) -> None:
    keeper = Timekeeper(Silent())
    suite = suite_of(project, {"clips": NAMED}, candidates=[{"name": "one", "checkpoint": "one.safetensors"}])
    run_suite(suite, Cache(cache.folder, read=False), keeper)
    spoken = [task.description for task in keeper.tasks if task.description.endswith(": speaking")]
    assert spoken == ["zero-shot: speaking", "one: speaking"]


def test_small_files_instead(outcome: Outcome, project: Path, cache: Cache) -> None:
    small = run_suite(suite_of(project, {"clips": NAMED, "drawn": 0, "worst": 0, "sound": "opus"}), cache, Silent())
    assert all(name.endswith(".opus") for name in small.sounds)
    assert sum(map(len, small.sounds.values())) < 0.7 * sum(map(len, outcome.sounds.values()))
    original, own = take_of(small, "train_mouse-1", "original"), take_of(outcome, "train_mouse-1", "original")
    assert replace(original, sound=own.sound) == own
    assert len(sound_of(small, original)) == pytest.approx(24_000 * own.duration_s, abs=1)


def test_a_suite_may_keep_none(project: Path, cache: Cache) -> None:
    keeper = Timekeeper(Silent())
    found = run_suite(suite_of(project, {"drawn": 0, "worst": 0}), cache, keeper)
    assert (found.exhibits.exhibits, found.sounds) == ((), {})
    assert [one.candidate for one in found.exhibits.relabellings] == ["one", "burst"]
    assert "keeping what is heard" not in [task.description for task in keeper.tasks]


def test_sentences_that_nobody_recorded_and_no_references(project: Path, cache: Cache) -> None:
    section = {
        "finetune": {"data": [{"manifest": "training.jsonl"}], "steps": 2, "batch_size": 3, "learning_rate": 1e-6},
        "n": 2,
        "sentences": "pocket",
        "voices": {"manifest": "voices.jsonl"},
        "enrolment": {"manifest": "training.jsonl"},
    }
    clips = ["downstream/0000-train_kennard", "train_mouse-0", "pairs/000001"]
    suite = suite_of(project, {"clips": clips, "drawn": 0, "worst": 0}, downstream=section, references=[])
    found = run_suite(suite, cache, Silent())
    assert [[(s.clip, [t.candidate for t in s.takes]) for s in one.shown] for one in found.exhibits.exhibits] == [
        [("train_mouse-0", ["one", "narrow"])],
        [("downstream/0000-train_kennard", ["zero-shot", "one", "burst"])],
        [("pairs/000001", ["", "one", "narrow"])],
    ]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("train_mouse-9", "train_mouse-"),
        ("pairs/000006", "pairs/00000"),
        ("downstream/train_mouse-2", "downstream/train_mouse-"),
        ("natural/train_kennard-7", "natural/train_kennard-"),
        ("nobody knows", None),
    ],
)
def test_a_clip_that_is_not_there_is_named_before_anything_is_measured(
    project: Path, tmp_path: Path, name: str, near: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        run_suite(suite_of(project, {"clips": [name]}), Cache(tmp_path / "new"), Silent())
    said = str(caught.value)
    assert said.startswith(f"{project / 'suite.yaml'}: exhibits.clips: there is no clip '{name}'")
    assert (f"(did you mean '{near}" in said) if near else "did you mean" not in said
    assert not (tmp_path / "new").exists()


def test_what_is_broken_off_leaves_no_exhibits_of_another_run(
    outcome: Outcome, project: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_outcome(outcome, tmp_path)
    alone = [{"name": "narrow", "checkpoint": "narrow.safetensors"}]
    other = run_suite(suite_of(project, {}, candidates=alone, metrics=["codebook"]), cache, Silent())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vqbench.records.exhibits.write_whole", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_outcome(other, tmp_path)
    assert load_run(tmp_path) == other.run
    assert load_exhibits(tmp_path, other.run) == NOTHING
    write_outcome(other, tmp_path)
    assert load_exhibits(tmp_path, other.run) == other.exhibits != NOTHING
    assert {path.name for path in (tmp_path / "exhibits").iterdir()} == set(other.sounds)
