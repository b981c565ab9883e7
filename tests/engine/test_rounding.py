"""What is heard does not hang on rounding: not on the number of threads, and hardly on a millionth of a mel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.suite import load_suite
from vqbench.data.corpora import corpus_clips
from vqbench.engine.cache import Cache
from vqbench.engine.runner import run_suite
from vqbench.engine.systems import read_recording
from vqbench.judges.asr.recognizer import load_recognizer
from vqbench.judges.asr.text import word_errors
from vqbench.progress import Silent
from vqbench.records.run import Table
from vqbench.teachers.pocket.assets import load_true_tokenizer
from vqbench.threads import computed_on, one_thread
from vqbench.tokenizers.protocol import reconstruct

SPEC = MelSpec()
CPU = torch.device("cpu")
NEAR_TIES = ("012012", "012026", "012093")
"""Clips whose words int8 changed after a millionth of noise, near ties."""


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def tables(folder: Path, n_threads: int) -> dict[tuple[str, str], Table]:
    """The tables of a small suite that nobody has measured before."""
    suite = {
        "name": "tiny",
        "data": {"speech": {"corpus": "pocket", "split": "test", "limit": 2}},
        "candidates": [{"name": "oracle", "checkpoint": "pocket"}],
        "references": ["vocoded"],
        "metrics": ["reconstruction", "codebook", "speech"],
        "exhibits": {"drawn": 0, "worst": 0},
        "interval": {"resamples": 100},
        "device": "cpu",
    }
    (folder / "pyproject.toml").touch()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(suite))
    torch.set_num_threads(n_threads)
    run = run_suite(load_suite(folder / "tiny.yaml"), Cache(folder / f"cache-{n_threads}"), Silent()).run
    assert torch.get_num_threads() == run.provenance["threads"] == n_threads
    return {(table.candidate, table.group): table for table in run.tables}


def test_the_number_of_threads_changes_no_row(tmp_path: Path) -> None:
    one, two = tables(tmp_path, 1), tables(tmp_path, 2)
    assert len(one["oracle", "speech"].row_ids) == 2
    assert one == two


def test_a_millionth_of_a_mel_changes_hardly_a_word() -> None:
    tokenizer, front_end, vocoder = load_true_tokenizer(CPU), MelFrontEnd(SPEC), GriffinLim(SPEC)
    clips = [clip for clip in corpus_clips("pocket", "test") if clip.id in NEAR_TIES]
    recordings = [read_recording(clip, front_end) for clip in clips]
    mels = [one.mel for one in reconstruct(tokenizer, [recording.mel for recording in recordings])]
    recognizer = load_recognizer("faster-whisper", "tiny.en", beam_size=5, window="clip", device="cpu")
    errors = []
    for scale in (0.0, 1e-6, -1e-6):
        noise = torch.Generator().manual_seed(0)
        noisy = [mel + scale * torch.randn(mel.shape, generator=noise) for mel in mels]
        sounds = [vocoder(mel, len(recording.waveform)) for mel, recording in zip(noisy, recordings, strict=True)]
        texts = recognizer.transcribe(sounds, SPEC.sample_rate_hz)
        counts = [word_errors(clip.text or "", text) for clip, text in zip(clips, texts, strict=True)]
        errors.append(sum(sum(count[:3]) for count in counts))
    # The full measurement, 40 clips, is in docs/decisions/0012-rendering.md.
    assert max(errors) - min(errors) <= 1


def test_threads_stand_in_the_key_of_what_they_move() -> None:
    torch.set_num_threads(2)
    two = computed_on(CPU)
    torch.set_num_threads(1)
    assert two == {"device": "cpu", "threads": 2} != computed_on(CPU)
    assert computed_on(torch.device("cuda")) == {"device": "cuda"}


def test_one_thread_gives_the_others_back_after_an_error() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="on the way"), one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("on the way")
    assert torch.get_num_threads() == 2
