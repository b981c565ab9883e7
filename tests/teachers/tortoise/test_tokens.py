"""Token rules and lengths: by hand, and against the lines of tortoise-tts that they come from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from vqbench.audio.mel import MelSpec
from vqbench.errors import CheckpointError
from vqbench.teachers.tortoise.tokens import (
    OFFICIAL,
    MelVocabulary,
    aligned,
    diffusion_frames,
    gpt_tokens,
    settle,
    speech_tokens,
    vqvae_tokens,
    waveform_samples,
)
from vqbench.teachers.tortoise.upstream import upstream_module
from vqbench.tokenizers.dvae.network import Dimensions

STOP = OFFICIAL.stop


def row(*codes: int) -> Tensor:
    return torch.tensor([codes])


def test_the_official_vocabulary_is_the_checkpoints() -> None:
    assert (OFFICIAL.size, OFFICIAL.start, OFFICIAL.stop) == (8194, 8192, 8193)


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": 0},
        {"stop": 8192},
        {"calm": 8192},
        {"calm": -1},
        {"tail": (45, 8193)},
        {"n_codes": 512},
    ],
    ids=str,
)
def test_an_impossible_vocabulary_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(CheckpointError, match="mel vocabulary"):
        MelVocabulary(**wrong)


@pytest.mark.parametrize(
    ("codes", "settled"),
    [
        pytest.param(row(1, 2, 3, 4), row(1, 2, 3, 4), id="no stop"),
        pytest.param(row(1, 2, STOP, 4, 5, 6, 7), row(1, 2, 83, 83, 45, 45, 248), id="all after the first stop"),
        pytest.param(row(1, 2, 3, 4, 5, STOP), row(1, 2, 3, 45, 45, 248), id="the tail covers codes"),
        pytest.param(row(STOP, STOP, STOP), row(45, 45, 248), id="nothing but stops"),
        pytest.param(row(7, STOP), row(45, 248), id="shorter than the tail"),
    ],
)
def test_settled_codes(codes: Tensor, settled: Tensor) -> None:
    before = codes.clone()
    assert torch.equal(settle(codes), settled)
    assert torch.equal(codes, before)


def test_a_batch_settles_as_upstream_does_row_by_row() -> None:
    theirs = upstream_module("api").fix_autoregressive_output
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(8192, (40, 30), generator=generator)
    for index, length in enumerate(torch.randint(31, (40,), generator=generator).tolist()):
        codes[index, length:] = STOP
    expected = torch.stack([theirs(one.clone(), STOP, complain=False) for one in codes])
    assert torch.equal(settle(codes), expected)


def test_another_vocabulary_settles_to_its_own_codes() -> None:
    small = MelVocabulary(n_codes=16, start=16, stop=17, calm=3, tail=())
    assert settle(row(5, 17, 17), small).tolist() == [[5, 3, 3]]
    assert speech_tokens(torch.tensor([5] + [3] * 12), small) == 9


def upstream_cut(codes: list[int]) -> int:
    """The loop of tortoise-tts's `tts`, written out."""
    calm = 0
    for k, code in enumerate(codes):
        calm = calm + 1 if code == 83 else 0
        if calm > 8:
            return k
    return len(codes)


@pytest.mark.parametrize(
    ("codes", "n"),
    [
        ([], 0),
        ([83] * 8, 8),
        ([83] * 9, 8),
        ([1] * 20, 20),
        ([1] + [83] * 8 + [2] + [83] * 8, 18),
        ([1, 2] + [83] * 40, 10),
        ([1] + [83] * 9 + [2] * 30, 9),
    ],
)
def test_speech_ends_at_the_ninth_calm_token(codes: list[int], n: int) -> None:
    assert speech_tokens(torch.tensor(codes, dtype=torch.int64)) == n == upstream_cut(codes)


def test_speech_ends_where_upstream_cuts() -> None:
    generator = torch.Generator().manual_seed(1)
    cut = 0
    for _ in range(300):
        codes = torch.where(torch.rand(60, generator=generator) < 0.85, 83, 7)
        assert speech_tokens(codes) == upstream_cut(codes.tolist())
        cut += speech_tokens(codes) < 60
    assert 0 < cut < 300


def test_the_vqvae_writes_this_many_tokens_at_every_remainder() -> None:
    spec, dimensions = MelSpec(), Dimensions()
    for n_samples in range(1, 3 * 1024 + 2):
        assert vqvae_tokens(n_samples) == dimensions.n_tokens(spec.n_frames(n_samples)), n_samples


def test_unified_voice_clips_and_stops_here_at_every_remainder() -> None:
    set_mel_padding = upstream_module("models.autoregressive").UnifiedVoice.set_mel_padding
    rules = SimpleNamespace(mel_length_compression=1024, stop_mel_token=STOP)
    n_samples = torch.arange(1, 3 * 1024 + 2)
    codes = torch.zeros(len(n_samples), 8, dtype=torch.int64)
    kept = (set_mel_padding(rules, codes, n_samples) != STOP).sum(1)
    for samples, n_kept in zip(n_samples.tolist(), kept.tolist(), strict=True):
        assert gpt_tokens(samples) == samples // 1024 == n_kept - 1, samples
        assert vqvae_tokens(samples) == n_kept, samples


def test_lengths_there_and_back() -> None:
    for n_tokens in range(605):
        n_samples = waveform_samples(n_tokens)
        assert gpt_tokens(n_samples) == n_tokens == vqvae_tokens(n_samples) - 1
        assert n_samples == n_tokens * 4 * MelSpec().hop_length
        assert diffusion_frames(n_tokens) == int(n_tokens * 4 * 24_000 / 22_050 + 1e-9)


@pytest.mark.parametrize(("n", "m"), [(5, 6), (6, 5), (4, 4), (0, 3)])
def test_sequences_are_cut_at_the_end(n: int, m: int) -> None:
    teacher, candidate = aligned(torch.arange(n), torch.arange(m) + 100)
    assert teacher.tolist() == list(range(min(n, m)))
    assert candidate.tolist() == list(range(100, 100 + min(n, m)))
