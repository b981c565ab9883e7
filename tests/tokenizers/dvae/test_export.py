"""What is exported is the official file: its keys, in our reader bit for bit, and never over what is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizer_reference import reference_codes

from vqbench.audio.mel import MelSpec
from vqbench.errors import CheckpointError, DataError
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.export import export_official
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.tokenizers.protocol import encode

SHAPES = Path(__file__).with_name("official_shapes.tsv")
NORMS = tuple(torch.linspace(-8.0, -2.0, 80).tolist())


def saved(folder: Path, spec: MelSpec | None = None, codebook_size: int = 40) -> tuple[DVAETokenizer, Path]:
    torch.manual_seed(0)
    dvae = DVAE(Dimensions(codebook_size=codebook_size, codebook_dim=8, hidden_dim=12))
    save_checkpoint(folder / "mine.safetensors", dvae, spec or MelSpec(), {})
    return load_tokenizer(folder / "mine.safetensors"), folder / "mine.safetensors"


def export(folder: Path, tokenizer: DVAETokenizer, source: Path, *, half: bool = False, again: bool = False) -> Path:
    path = folder / "out/dvae.pth"
    export_official(tokenizer, source, path, torch.float16 if half else torch.float32, again)
    return path


@pytest.mark.parametrize("half", [False, True])
def test_the_keys_are_the_official_ones_in_their_order(half: bool, tmp_path: Path) -> None:
    path = export(tmp_path, *saved(tmp_path), half=half)
    state = torch.load(path, weights_only=True)
    wanted = [line.split("\t")[0] for line in SHAPES.read_text().splitlines() if "." in line.split("\t")[0]]
    assert list(state) == wanted
    assert {tensor.dtype for tensor in state.values()} == {torch.float16 if half else torch.float32}


def test_it_comes_back_bit_for_bit_and_others_read_the_same_codes(tmp_path: Path) -> None:
    tokenizer, source = saved(tmp_path)
    path = export(tmp_path, tokenizer, source)
    state = torch.load(path, weights_only=True)
    assert all(torch.equal(tensor, state[key]) for key, tensor in tokenizer.dvae.state_dict().items())
    assert load_tokenizer(path).digest == tokenizer.digest
    mel = torch.randn(80, 61)
    assert torch.equal(reference_codes(state, mel[None])[0], encode(tokenizer, [mel])[0])
    assert not (path.parent / "mel_stats.pth").exists()


@pytest.mark.parametrize(
    ("norms", "codebook_size"), [(NORMS, 40), (MelSpec().norms, 1024)], ids=["other norms", "XTTS's number of codes"]
)
def test_norms_that_nobody_would_guess_lie_beside_it(
    norms: tuple[float, ...], codebook_size: int, tmp_path: Path
) -> None:
    tokenizer, source = saved(tmp_path, MelSpec(norms=norms), codebook_size)
    path = export(tmp_path, tokenizer, source)
    assert tuple(torch.load(path.with_name("mel_stats.pth"), weights_only=True).tolist()) == norms
    assert load_tokenizer(path).digest == tokenizer.digest


def test_nothing_that_is_there_is_replaced_unasked(tmp_path: Path) -> None:
    tokenizer, source = saved(tmp_path, MelSpec(norms=NORMS))
    path = export(tmp_path, tokenizer, source)
    before = path.read_bytes()
    with pytest.raises(DataError, match="a file already"):
        export(tmp_path, tokenizer, source, half=True)
    assert path.read_bytes() == before
    # The norms are there already, and the same: only the weights are in the way.
    assert export_official(tokenizer, source, path, torch.float16, replace=True) == [path]
    path.unlink()
    torch.save(torch.ones(80), path.with_name("mel_stats.pth"))
    with pytest.raises(DataError, match=r"mel_stats.*a file already"):
        export(tmp_path, tokenizer, source)
    assert not path.exists()


def test_the_checkpoint_itself_is_never_replaced_not_even_through_a_link(tmp_path: Path) -> None:
    tokenizer, source = saved(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dvae.pth").symlink_to(source)
    before = source.read_bytes()
    with pytest.raises(DataError, match="this is the checkpoint"):
        export(tmp_path, tokenizer, source, again=True)
    assert source.read_bytes() == before


def test_norms_of_another_checkpoint_beside_it_would_be_taken_for_its_own(tmp_path: Path) -> None:
    tokenizer, source = saved(tmp_path)
    (tmp_path / "out").mkdir()
    torch.save(torch.tensor(NORMS), tmp_path / "out/mel_stats.pth")
    with pytest.raises(DataError, match="not the exported VQVAE's mel norms"):
        export(tmp_path, tokenizer, source, again=True)


def test_another_front_end_cannot_be_said_in_an_official_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="another mel"):
        export(tmp_path, *saved(tmp_path, replace(MelSpec(), hop_length=200)))


def test_sums_that_half_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    tokenizer, source = saved(tmp_path)
    tokenizer.dvae.codebook.cluster_size[3] = 1e6
    with pytest.raises(CheckpointError, match=r"too large for float16: codebook\.cluster_size"):
        export(tmp_path, tokenizer, source, half=True)
    assert export(tmp_path, tokenizer, source).exists()
