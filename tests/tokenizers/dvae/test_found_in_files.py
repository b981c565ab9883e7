"""Checkpoints as people have them: wrapped, prefixed, linked, without buffers; and whose mel norms are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vqbench.audio.mel import MelSpec, tortoise_mel_norms
from vqbench.errors import CheckpointError
from vqbench.tokenizers.dvae.checkpoint import load_codebook, load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions

State = dict[str, Tensor]
NORMS = torch.linspace(-8.0, -2.0, 80)


def dvae(codebook_size: int = 40) -> DVAE:
    torch.manual_seed(0)
    return DVAE(Dimensions(codebook_size=codebook_size, codebook_dim=8, hidden_dim=12, num_resnet_blocks=1)).eval()


def state(**more: Tensor) -> State:
    return {**dvae().state_dict(), **more}


def prefixed(prefix: str, **more: Tensor) -> State:
    return {f"{prefix}{key}": tensor for key, tensor in state(**more).items()}


def without(*names: str) -> State:
    return {key: tensor for key, tensor in state().items() if key not in names}


LOSS = {"discrete_loss.accumulator": torch.zeros(100, 40), "discrete_loss.accumulator_index": torch.zeros(1).long()}
OTHERS = {"xtts.gpt.h.0.w": torch.ones(4, 4), "torch_mel_spectrogram_dvae.mel_norms": torch.ones(80)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3), "step": 4}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}

FILES: dict[str, tuple[Any, str | None]] = {
    "bare": (lambda: state(), None),
    "wrapped as model": (lambda: {"model": state()}, "weights below model"),
    "wrapped as state_dict": (lambda: {"state_dict": state(), "epoch": 3}, "weights below state_dict"),
    "wrapped twice": (lambda: {"net": {"module": state()}}, "weights below net → module"),
    "a trainer's": (
        lambda: {
            "model": prefixed("dvae.", **LOSS) | OTHERS,
            "optimizer": OPTIMIZER,
            "config": {"model": "xtts", "languages": ["en"], "path": None},
            "step": np.int64(7),
            "best_loss": np.float64(0.25),
            "done": np.bool_(False),
            "epoch": 3,
        },
        "weights below model → dvae.*; left aside: optimizer, torch_mel_spectrogram_dvae.*, xtts.*; "
        "buffers of a loss left out (discrete_loss.*)",
    ),
    **{
        f"prefix {prefix}": (lambda prefix=prefix: prefixed(prefix), f"weights below {prefix}*")
        for prefix in ("dvae.", "xtts.dvae.", "module.", "_orig_mod.", "model.", "module.dvae.", "module._orig_mod.")
    },
    "EMA sums missing": (lambda: without("codebook.cluster_size", "codebook.embed_avg"), "EMA sums"),
    "one EMA sum missing": (lambda: without("codebook.embed_avg"), "EMA sums"),
    "a loss's buffers": (lambda: state(**LOSS), "buffers of a loss"),
    "float64": (lambda: {key: tensor.double() for key, tensor in state().items()}, "float64 rounded to float32"),
    "one state under two names": (lambda: (lambda s: {"model": s, "state_dict": s})(state()), "weights below"),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old pickle"])
def test_torch_files_give_the_same_vqvae(case: str, old: bool, tmp_path: Path) -> None:
    made, said = FILES[case]
    path = tmp_path / "no-suffix-that-says-anything.bin"
    torch.save(made(), path, _use_new_zipfile_serialization=not old)
    loaded = load_tokenizer(path)
    assert loaded.digest == bare_digest(tmp_path)
    assert loaded.loaded is not None
    assert path.name in loaded.loaded
    assert (said or "(mel norms") in loaded.loaded


FLAT = ["bare", "prefix dvae.", "prefix module.dvae.", "EMA sums missing", "a loss's buffers"]


@pytest.mark.parametrize("case", FLAT)
def test_safetensors_give_the_same_vqvae_whatever_their_name(case: str, tmp_path: Path) -> None:
    made, said = FILES[case]
    save_file(made(), tmp_path / "weights.pth")
    loaded = load_tokenizer(tmp_path / "weights.pth")
    assert loaded.digest == bare_digest(tmp_path)
    assert (said or "(mel norms") in str(loaded.loaded)


def bare_digest(folder: Path) -> str:
    torch.save(state(), folder / "bare.pth")
    return load_tokenizer(folder / "bare.pth").digest


def test_our_own_file_says_all_of_itself(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.safetensors", dvae(), MelSpec(), {})
    assert load_tokenizer(tmp_path / "a.safetensors").loaded is None


def test_ema_sums_made_anew_leave_a_codebook_where_it_is(tmp_path: Path) -> None:
    torch.save(without("codebook.cluster_size", "codebook.embed_avg"), tmp_path / "a.pth")
    codebook = load_tokenizer(tmp_path / "a.pth").dvae.codebook
    before = codebook.embed.clone()
    # Each code is used once, by a latent that is just there: there is nothing to move for.
    codebook.ema_update(before.t().contiguous(), torch.arange(40))
    torch.testing.assert_close(codebook.embed, before, atol=1e-4, rtol=0)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "two wrappers": (lambda: {"model": state(), "ema": state()}, "holds 2 VQVAEs.*(ema.*model|model.*ema)"),
    "two prefixes": (lambda: prefixed("dvae.") | prefixed("xtts.dvae."), r"2 VQVAEs.*dvae\.\*; xtts\.dvae\.\*"),
    "with and without a prefix": (lambda: state() | prefixed("module."), r"2 VQVAEs.*the file's own keys; module\.\*"),
    "a key too many below the prefix": (lambda: prefixed("dvae.", more=torch.ones(1)), "unexpected more"),
    "a key missing below the prefix": (
        lambda: {k: v for k, v in prefixed("dvae.").items() if k != "dvae.decoder.0.bias"},
        r"missing decoder\.0\.bias",
    ),
    "another model alone": (lambda: {"model": OTHERS}, "no VQVAE checkpoint"),
    "a wrong shape of an EMA sum": (lambda: state(**{"codebook.cluster_size": torch.ones(39)}), "wanted"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_ambiguous_or_unfit_is_refused(case: str, tmp_path: Path) -> None:
    made, said = REFUSED[case]
    torch.save(made(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=said):
        load_tokenizer(tmp_path / "a.pth")


def test_names_from_a_file_are_told_without_control_characters(tmp_path: Path) -> None:
    torch.save({"mo\x1b[31mdel": state()}, tmp_path / "a.pth")
    assert "mo?[31mdel" in str(load_tokenizer(tmp_path / "a.pth").loaded)


def test_a_link_into_a_cache_is_known_by_its_own_name(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/0a1b"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, content in (("dvae.pth", state()), ("mel_stats.pth", NORMS)):
        torch.save(content, blobs / f"hash-of-{name[:2]}")
        (snapshot / name).symlink_to(f"../../blobs/hash-of-{name[:2]}")
    loaded = load_tokenizer(snapshot / "dvae.pth")
    assert loaded.mel_spec.norms == tuple(NORMS.tolist())
    assert loaded.loaded == "dvae.pth (mel norms: mel_stats.pth beside it)"
    (tmp_path / "mine.pth").symlink_to(snapshot / "dvae.pth")
    save_file(state(), blobs / "0123")
    (tmp_path / "mine.safetensors").symlink_to("blobs/0123")
    assert load_tokenizer(tmp_path / "mine.safetensors").loaded == "mine.safetensors (mel norms: TorToiSe's, assumed)"


def test_a_folder_is_its_dvae(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "dvae.pth")
    torch.save(NORMS, tmp_path / "mel_stats.pth")
    assert load_tokenizer(tmp_path).digest == load_tokenizer(tmp_path / "dvae.pth").digest
    assert load_tokenizer(tmp_path).mel_spec.norms == tuple(NORMS.tolist())


def test_named_norms_are_the_same_as_those_beside_and_win_over_them(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "dvae.pth")
    torch.save(NORMS, tmp_path / "mel_stats.pth")
    torch.save(NORMS - 1, tmp_path / "others.pth")
    beside, named = load_tokenizer(tmp_path), load_tokenizer(tmp_path, tmp_path / "mel_stats.pth")
    assert beside.digest == named.digest
    assert named.loaded == "dvae.pth (mel norms: mel_stats.pth)"
    assert load_tokenizer(tmp_path, tmp_path / "others.pth").mel_spec.norms == tuple((NORMS - 1).tolist())
    assert load_tokenizer(tmp_path, Path("tortoise")).mel_spec == MelSpec()


@pytest.mark.parametrize("size", [1024, 8194])
def test_xtts_is_never_read_on_guessed_norms(size: int, tmp_path: Path) -> None:
    torch.save(dvae(size).state_dict(), tmp_path / "dvae.pth")
    with pytest.raises(CheckpointError, match="mel norms are not known") as caught:
        load_tokenizer(tmp_path / "dvae.pth")
    assert "mel_norms: mel_stats.pth" in str(caught.value)
    assert load_codebook(tmp_path / "dvae.pth").shape == (size, 8)
    assert load_tokenizer(tmp_path / "dvae.pth", Path("tortoise")).mel_spec == MelSpec()
    save_checkpoint(tmp_path / "ours.safetensors", dvae(size), MelSpec(), {})
    assert load_tokenizer(tmp_path / "ours.safetensors").mel_spec == MelSpec()
    torch.save(NORMS, tmp_path / "mel_stats.pth")
    assert load_tokenizer(tmp_path / "dvae.pth").mel_spec.norms == tuple(NORMS.tolist())


def test_tortoises_codes_have_its_norms_and_it_is_said(tmp_path: Path) -> None:
    torch.save(dvae(8192).state_dict(), tmp_path / "dvae.pth")
    loaded = load_tokenizer(tmp_path / "dvae.pth")
    assert loaded.mel_spec.norms == tortoise_mel_norms()
    assert loaded.loaded == "dvae.pth (mel norms: TorToiSe's, as it has its 8,192 codes)"
