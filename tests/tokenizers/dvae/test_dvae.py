"""The network is the official one, and batching never changes a code."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from tokenizer_reference import reference_codes, reference_decode, reference_latents

from vqbench.audio.mel import MelSpec
from vqbench.errors import CheckpointError
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.tokenizers.protocol import encode, reconstruct

SMALL = Dimensions(codebook_size=300, codebook_dim=24, hidden_dim=16, num_resnet_blocks=2)


@pytest.fixture
def small() -> DVAE:
    torch.manual_seed(0)
    # In float64, so that no two codes are within rounding of each other: what differs then, differs for a reason.
    dvae = DVAE(SMALL).eval().requires_grad_(False).double()
    # Trained biases are not small, and it is biases that fill the padding.
    for name, parameter in dvae.named_parameters():
        if name.endswith("bias"):
            parameter.mul_(8)
    # Latents of an untrained encoder are tiny; codes drawn around real ones make neighbours that compete.
    z = dvae.latents(torch.randn(4, 80, 600, dtype=torch.float64)).transpose(1, 2).flatten(0, 1)
    dvae.codebook.set_codes(z[torch.randperm(len(z))[:300]].detach(), 1.0)
    return dvae


def test_state_dict_is_the_official_one_key_for_key() -> None:
    lines = Path(__file__).with_name("official_shapes.tsv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(lines, delimiter="\t")
    official = {row["key"]: (row["shape"], row["dtype"]) for row in rows}
    with torch.device("meta"):
        state = DVAE().state_dict()
    assert {k: (str(tuple(v.shape)), str(v.dtype).removeprefix("torch.")) for k, v in state.items()} == official


def test_official_parameter_count() -> None:
    with torch.device("meta"):
        dvae = DVAE()
    assert sum(p.numel() for p in dvae.parameters()) == 51_567_184
    assert sum(b.numel() for b in dvae.buffers()) == 8_396_800


@pytest.mark.parametrize(
    "dimensions",
    [
        SMALL,
        Dimensions(),
        Dimensions(codebook_size=1024),
        Dimensions(num_resnet_blocks=0, hidden_dim=8, codebook_size=9),
    ],
    ids=["small", "tortoise", "xtts", "no residual blocks"],
)
def test_sizes_are_told_from_the_shapes(dimensions: Dimensions) -> None:
    with torch.device("meta"):
        assert Dimensions.of_state_dict(DVAE(dimensions).state_dict()) == dimensions


@pytest.mark.parametrize(
    "broken",
    [{"codebook_size": 1}, {"hidden_dim": 0}, {"kernel_size": 4}, {"num_resnet_blocks": -1}, {"num_layers": 0}],
)
def test_impossible_sizes_are_refused(broken: dict[str, int]) -> None:
    with pytest.raises(CheckpointError, match="cannot have these sizes"):
        Dimensions(**broken)


def test_codes_and_mels_equal_a_plain_reference(small: DVAE) -> None:
    mel = torch.randn(3, 80, 401, dtype=torch.float64)
    state = small.state_dict()
    torch.testing.assert_close(small.latents(mel), reference_latents(state, mel))
    codes = small.encode(mel)
    assert torch.equal(codes, reference_codes(state, mel))
    assert len(codes.unique()) > 50
    torch.testing.assert_close(small.decode(codes), reference_decode(state, codes))


@pytest.mark.parametrize("n_frames", range(1, 18))
def test_lengths(small: DVAE, n_frames: int) -> None:
    codes = small.encode(torch.randn(1, 80, n_frames, dtype=torch.float64))
    assert codes.shape == (1, -(-n_frames // 4)) == (1, SMALL.n_tokens(n_frames))
    assert small.decode(codes).shape == (1, 80, 4 * codes.shape[1])


def test_a_token_stands_for_1024_samples() -> None:
    spec = MelSpec()
    for n_samples in [*range(1, 2100), 22_050 * 7 + 13]:
        assert Dimensions().n_tokens(spec.n_frames(n_samples)) == n_samples // 1024 + 1


def test_padding_changes_no_code_and_no_mel(small: DVAE) -> None:
    lengths = [1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 65, 200, 333, 400]
    mels = [torch.randn(80, n, dtype=torch.float64) for n in lengths]
    padded = torch.zeros(len(mels), 80, max(lengths), dtype=torch.float64)
    for row, mel in enumerate(mels):
        # What stands in the padding must not matter at all.
        padded[row] = 100.0
        padded[row, :, : mel.shape[1]] = mel
    codes = small.encode(padded, torch.tensor(lengths))
    alone = [small.encode(mel[None])[0] for mel in mels]
    for row, expected in enumerate(alone):
        assert torch.equal(codes[row, : len(expected)], expected)

    n_tokens = torch.tensor([len(c) for c in alone])
    batch = torch.nn.utils.rnn.pad_sequence(alone, batch_first=True, padding_value=7)
    decoded = small.decode(batch, n_tokens)
    for row, expected in enumerate(alone):
        torch.testing.assert_close(decoded[row, :, : 4 * len(expected)], small.decode(expected[None])[0])


def test_naive_padding_would_change_codes(small: DVAE) -> None:
    """Or the test above would prove nothing."""
    mel = torch.randn(1, 80, 201, dtype=torch.float64)
    padded = torch.nn.functional.pad(mel, (0, 99))
    assert not torch.equal(small.encode(padded)[:, :51], small.encode(mel))


@pytest.mark.parametrize("device", ["cpu", "meta-padded"])
def test_a_clip_has_the_same_codes_in_any_company(small: DVAE, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = DVAETokenizer(small, MelSpec())
    if device != "cpu":
        # The accelerators' way, run on the CPU: sorted, cut into batches, padded, masked.
        monkeypatch.setattr("vqbench.tokenizers.dvae.tokenizer._pads_batches", lambda device: True)
        monkeypatch.setattr("vqbench.tokenizers.dvae.tokenizer._PADDED_FRAMES", 600)
    mels = [torch.randn(80, n, dtype=torch.float64) for n in (300, 5, 77, 299, 1, 300, 150)]
    together = reconstruct(tokenizer, mels)
    for mel, made in zip(mels, together, strict=True):
        (alone,) = reconstruct(tokenizer, [mel])
        assert torch.equal(alone.codes, made.codes)
        torch.testing.assert_close(alone.mel, made.mel)
        assert made.mel.shape == mel.shape


def test_no_clips_give_no_codes(small: DVAE) -> None:
    assert encode(DVAETokenizer(small, MelSpec()), []) == []


def test_encoding_moves_no_buffer(small: DVAE) -> None:
    before = {k: v.clone() for k, v in small.state_dict().items()}
    small.train()
    small.encode(torch.randn(2, 80, 100, dtype=torch.float64))
    small(torch.randn(2, 80, 100, dtype=torch.float64))
    assert all(torch.equal(v, before[k]) for k, v in small.state_dict().items())


def test_a_code_outside_the_codebook_is_refused(small: DVAE) -> None:
    with pytest.raises(IndexError):
        small.decode(torch.tensor([[300]]))
