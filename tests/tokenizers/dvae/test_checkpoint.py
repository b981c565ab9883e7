"""Checkpoints: ours, TorToiSe's, XTTS's; and every broken one is refused by name, without running anything."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vqbench.audio.mel import MelSpec
from vqbench.errors import CheckpointError
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.protocol import encode

DIMENSIONS = Dimensions(codebook_size=40, codebook_dim=8, hidden_dim=12, num_resnet_blocks=1)


@pytest.fixture
def dvae() -> DVAE:
    torch.manual_seed(0)
    return DVAE(DIMENSIONS).eval()


def test_ours_comes_back_whole(dvae: DVAE, tmp_path: Path) -> None:
    spec = MelSpec().with_norms([-2.0] * 80)
    save_checkpoint(tmp_path / "a.safetensors", dvae, spec, {"recipe": "test"})
    loaded = load_tokenizer(tmp_path / "a.safetensors")
    assert loaded.mel_spec == spec
    assert loaded.dvae.dimensions == DIMENSIONS
    assert all(torch.equal(v, loaded.dvae.state_dict()[k]) for k, v in dvae.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_official_file_loads_strictly_with_tortoise_front_end(dvae: DVAE, tmp_path: Path) -> None:
    torch.save(dvae.state_dict(), tmp_path / "dvae.pth")
    loaded = load_tokenizer(tmp_path / "dvae.pth")
    assert loaded.mel_spec == MelSpec()
    mel = torch.randn(80, 90)
    assert torch.equal(encode(loaded, [mel])[0], dvae.encode(mel[None])[0])


def test_xtts_carries_extra_buffers_and_its_own_norms(dvae: DVAE, tmp_path: Path) -> None:
    state = dvae.state_dict()
    state["discrete_loss.accumulator"] = torch.zeros(100, 40)
    state["discrete_loss.accumulator_filled"] = torch.zeros(1)
    state["discrete_loss.accumulator_index"] = torch.zeros(1)
    torch.save(state, tmp_path / "dvae.pth")
    torch.save(torch.full((80,), -3.0), tmp_path / "mel_stats.pth")
    loaded = load_tokenizer(tmp_path / "dvae.pth", tmp_path / "mel_stats.pth")
    assert loaded.mel_spec.norms == (-3.0,) * 80
    assert loaded.codebook_size == 40


def test_the_digest_is_of_content_not_of_files(dvae: DVAE, tmp_path: Path) -> None:
    torch.save(dvae.state_dict(), tmp_path / "a.pth")
    save_checkpoint(tmp_path / "b.safetensors", dvae, MelSpec(), {"from": "elsewhere"})
    a, b = load_tokenizer(tmp_path / "a.pth"), load_tokenizer(tmp_path / "b.safetensors")
    assert a.digest == b.digest
    dvae.codebook.embed[0, 0] += 1e-3
    torch.save(dvae.state_dict(), tmp_path / "c.pth")
    assert load_tokenizer(tmp_path / "c.pth").digest != a.digest


def test_half_precision_is_half_the_file(dvae: DVAE, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "full.safetensors", dvae, MelSpec(), {})
    save_checkpoint(tmp_path / "half.safetensors", dvae, MelSpec(), {}, torch.float16)
    sizes = [sum(t.numel() for t in dvae.state_dict().values()) * bytes_each for bytes_each in (4, 2)]
    for name, size in zip(("full", "half"), sizes, strict=True):
        assert 0 < (tmp_path / f"{name}.safetensors").stat().st_size - size < 9000
    assert next(load_tokenizer(tmp_path / "half.safetensors").dvae.parameters()).dtype == torch.float32


class _WantsToRun:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.marker),)


def _state(dvae: DVAE, **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = dict(dvae.state_dict())
    for key, tensor in changes.items():
        name = key.replace("__", ".")
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    return state


def _header(**changes: object) -> dict[str, str]:
    header = {
        "format": 1,
        "dimensions": dict(vars(DIMENSIONS)),
        "front_end": {**vars(MelSpec())},
        "provenance": {},
        **changes,
    }
    return {"vqbench": json.dumps(header)}


def _compressed(dvae: DVAE, path: Path) -> None:
    torch.save(dvae.state_dict(), path)
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _before_an_archive(dvae: DVAE, path: Path) -> None:
    """To zipfile it is an archive, to torch a pickle."""
    torch.save(dvae.state_dict(), path)
    archive = path.read_bytes()
    torch.save([[] for _ in range(1_000_000)], path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes() + archive)


BROKEN: dict[str, tuple[str, Callable[[DVAE, Path], object], str]] = {
    "missing": ("a.pth", lambda d, p: None, "no such checkpoint"),
    "folder": ("a.pth", lambda d, p: p.mkdir(), "no such checkpoint"),
    "empty torch file": ("a.pth", lambda d, p: p.touch(), "truncated"),
    "empty safetensors": ("a.safetensors", lambda d, p: p.touch(), "truncated"),
    "text": ("a.pth", lambda d, p: p.write_text("hello"), "no torch file"),
    "text as safetensors": ("a.safetensors", lambda d, p: p.write_text("hello world, hello"), "no safetensors"),
    "truncated torch file": (
        "a.pth",
        lambda d, p: (torch.save(d.state_dict(), p), p.write_bytes(p.read_bytes()[:-4000])),
        "truncated",
    ),
    "truncated safetensors": (
        "a.safetensors",
        lambda d, p: (save_checkpoint(p, d, MelSpec(), {}), p.write_bytes(p.read_bytes()[:-400])),
        "truncated",
    ),
    "a pickle that wants to run code": (
        "a.pth",
        lambda d, p: torch.save({"w": _WantsToRun(p.with_name("ran"))}, p),
        "never run",
    ),
    "a list": ("a.pth", lambda d, p: torch.save([1, 2], p), "not a state_dict"),
    "a training state without weights": ("a.pth", lambda d, p: torch.save({"model": {}}, p), "not a state_dict"),
    "another network": ("a.pth", lambda d, p: torch.save({"weight": torch.ones(2)}, p), "no VQVAE checkpoint"),
    "no codebook": ("a.pth", lambda d, p: torch.save(_state(d, codebook__embed=None), p), "codebook.embed"),
    "a missing key": (
        "a.pth",
        lambda d, p: torch.save(_state(d, decoder__0__bias=None), p),
        "missing decoder.0.bias",
    ),
    "a key too many": (
        "a.pth",
        lambda d, p: torch.save(_state(d, decoder__99__bias=torch.ones(1)), p),
        "unexpected decoder.99.bias",
    ),
    "a wrong shape": (
        "a.pth",
        lambda d, p: torch.save(_state(d, decoder__0__bias=torch.ones(3)), p),
        "decoder.0.bias has shape (3,)",
    ),
    "a flat codebook": (
        "a.pth",
        lambda d, p: torch.save(_state(d, codebook__embed=torch.ones(9)), p),
        "(codebook_dim,",
    ),
    "integers": (
        "a.pth",
        lambda d, p: torch.save(_state(d, decoder__0__bias=torch.ones(24, dtype=torch.int64)), p),
        "wanted floats",
    ),
    "eight bits": (
        "a.pth",
        lambda d, p: torch.save(_state(d, decoder__0__bias=torch.ones(24).to(torch.float8_e4m3fn)), p),
        "decoder.0.bias is torch.float8_e4m3fn, wanted floats",
    ),
    "eight bits in safetensors": (
        "a.safetensors",
        lambda d, p: save_file(_state(d, decoder__0__bias=torch.ones(24).to(torch.float8_e4m3fn)), p),
        "decoder.0.bias is torch.float8_e4m3fn, wanted floats",
    ),
    "a sparse tensor": (
        "a.pth",
        lambda d, p: torch.save(_state(d, codebook__embed=d.codebook.embed.to_sparse()), p),
        "codebook.embed is a sparse_coo tensor",
    ),
    "a tensor without content": (
        "a.pth",
        lambda d, p: torch.save(_state(d, codebook__embed=torch.ones(8, 40, device="meta")), p),
        "codebook.embed has no content",
    ),
    "one value shown as a terabyte": (
        "a.pth",
        lambda d, p: torch.save(_state(d, codebook__embed=torch.ones(1, 1).expand(8, 1 << 36)), p),
        "but not so many values",
    ),
    "more objects than any checkpoint has": (
        "a.pth",
        lambda d, p: torch.save({**d.state_dict(), "more": [[] for _ in range(1_000_000)]}, p),
        "more objects than a checkpoint has",
    ),
    "the same in an old file": (
        "a.pth",
        lambda d, p: torch.save([[] for _ in range(1_000_000)], p, _use_new_zipfile_serialization=False),
        "more objects than a checkpoint has",
    ),
    "the same before an archive": (
        "a.pth",
        lambda d, p: _before_an_archive(d, p),
        "more objects than a checkpoint has",
    ),
    "an archive that was compressed": ("a.pth", lambda d, p: _compressed(d, p), "compressed archive"),
    "a Git LFS pointer": (
        "a.pth",
        lambda d, p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        "Git LFS pointer",
    ),
    "TorchScript": ("a.pth", lambda d, p: torch.jit.script(torch.nn.Linear(2, 2)).save(p), "TorchScript archive"),
    "a header of a gigabyte": (
        "a.safetensors",
        lambda d, p: p.write_bytes((1 << 30).to_bytes(8, "little") + b"{" + bytes(100)),
        "no safetensors",
    ),
    "brackets for a header": (
        "a.safetensors",
        lambda d, p: p.write_bytes((100_000).to_bytes(8, "little") + b"[" * 100_000),
        "no safetensors",
    ),
    "brackets within a header": (
        "a.safetensors",
        lambda d, p: p.write_bytes((100_005).to_bytes(8, "little") + b'{"a":' + b"[" * 100_000),
        "no safetensors",
    ),
    "a description of brackets": (
        "a.safetensors",
        lambda d, p: save_file(d.state_dict(), p, {"vqbench": "[" * 100_000}),
        "header",
    ),
    "a rate that no sound has": (
        "a.safetensors",
        lambda d, p: save_file(d.state_dict(), p, _header(front_end={**vars(MelSpec()), "sample_rate_hz": 10**12})),
        "sizes are impossible",
    ),
    "a window of a gigabyte": (
        "a.safetensors",
        lambda d, p: save_file(d.state_dict(), p, _header(front_end={**vars(MelSpec()), "n_fft": 1 << 31})),
        "sizes are impossible",
    ),
    "NaN": (
        "a.pth",
        lambda d, p: torch.save(_state(d, decoder__0__bias=torch.full((24,), torch.nan)), p),
        "decoder.0.bias holds NaN",
    ),
    "another format": (
        "a.safetensors",
        lambda d, p: save_file(d.state_dict(), p, _header(format=99)),
        "format is 99",
    ),
    "sizes that disagree": (
        "a.safetensors",
        lambda d, p: save_file(d.state_dict(), p, _header(dimensions={**vars(DIMENSIONS), "hidden_dim": 13})),
        "disagree",
    ),
    "a header without front end": (
        "a.safetensors",
        lambda d, p: save_file(d.state_dict(), p, _header(front_end={})),
        "header",
    ),
    "a header that is no JSON": (
        "a.safetensors",
        lambda d, p: save_file(d.state_dict(), p, {"vqbench": "{"}),
        "header",
    ),
    "too few norms": (
        "a.safetensors",
        lambda d, p: save_file(d.state_dict(), p, _header(front_end={**vars(MelSpec()), "norms": [-1.0]})),
        "mel norms",
    ),
    "another number of bands": (
        "a.safetensors",
        lambda d, p: save_file(
            d.state_dict(), p, _header(front_end={**vars(MelSpec()), "n_mels": 81, "norms": [-1.0] * 81})
        ),
        "80 bands",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_checkpoints_are_refused_by_name(case: str, dvae: DVAE, tmp_path: Path) -> None:
    name, make, message = BROKEN[case]
    path = tmp_path / name
    make(dvae, path)
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("norms", "message"),
    [
        (None, "no such mel norms"),
        (torch.full((79,), -1.0), "79 values"),
        (torch.zeros(80), "mel norms do not fit"),
        (torch.full((80,), torch.nan), "mel norms do not fit"),
        (torch.ones(8, 10), "not a row"),
        (torch.ones(80).to(torch.float8_e4m3fn), "not a row"),
        (torch.ones(80).to_sparse(), "not a row"),
        (torch.ones(300_000), "cannot be mel norms"),
        ({"a": torch.ones(80)}, "not a row"),
    ],
)
def test_broken_norms_are_refused(norms: object, message: str, dvae: DVAE, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.safetensors", dvae, MelSpec(), {})
    if norms is not None:
        torch.save(norms, tmp_path / "norms.pth")
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(tmp_path / "a.safetensors", tmp_path / "norms.pth")
