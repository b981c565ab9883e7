"""The official checkpoints: loaded strictly, one by one; a folder's faults are all told before anything is loaded."""

from __future__ import annotations

import gc
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from vqbench.errors import CheckpointError, ManyErrors
from vqbench.teachers.tortoise.clvp import CLVPDimensions, build_clvp, score
from vqbench.teachers.tortoise.conditioning import gpt_conditioning, tacotron_conditioning
from vqbench.teachers.tortoise.diffusion import TACOTRON_RANGE, DiffusionDecoder, DiffusionDimensions, build_diffusion
from vqbench.teachers.tortoise.gpt import GPTDimensions, UnifiedVoice
from vqbench.teachers.tortoise.official import OfficialCheckpoints, OfficialSizes
from vqbench.teachers.tortoise.tokens import diffusion_frames
from vqbench.teachers.tortoise.vocoder import UnivNetVocoder, build_univnet
from vqbench.tokenizers.dvae.network import DVAE, Dimensions

SIZES = OfficialSizes(
    gpt=GPTDimensions(n_layers=2, width=32, n_heads=2, n_codes=30, max_text_tokens=20, max_mel_tokens=20),
    clvp=CLVPDimensions(n_layers=1, width=64, n_heads=1, n_codes=30),
    diffusion=DiffusionDimensions(n_layers=1, width=32, n_heads=2, latent_width=32, n_codes=31),
)
NAMES = ("autoregressive.pth", "clvp2.pth", "diffusion_decoder.pth", "vocoder.pth")


def flat_state(model: torch.nn.Module, value: float = 0.5) -> dict[str, torch.Tensor]:
    """Weights that are all the same number, which one number stores."""
    return {key: torch.tensor(value).expand(tensor.shape) for key, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    torch.manual_seed(0)
    gpt = UnifiedVoice(SIZES.gpt).state_dict()
    # As older releases of transformers left them in the published file.
    for layer in range(2):
        gpt[f"gpt.h.{layer}.attn.bias"] = torch.ones(1, 1, 44, 44, dtype=torch.uint8).tril()
        gpt[f"gpt.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(gpt, folder / "autoregressive.pth")
    torch.save(build_clvp(SIZES.clvp).state_dict(), folder / "clvp2.pth")
    torch.save(build_diffusion(SIZES.diffusion).state_dict(), folder / "diffusion_decoder.pth")
    with torch.device("meta"):
        univnet = build_univnet()
    vocoder = {"model_g": flat_state(univnet), "model_d": {"x": torch.ones(1)}, "optim_g": {}, "hp_str": "", "step": 1}
    torch.save(vocoder, folder / "vocoder.pth")
    return folder


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "models"))


def test_a_whole_folder_has_no_faults_and_loads(folder):
    checkpoints = OfficialCheckpoints(folder, SIZES)
    assert checkpoints.faults() == []
    checkpoints.check()
    for name, model in zip(
        NAMES,
        (checkpoints.load_gpt(), checkpoints.load_clvp(), checkpoints.load_diffusion(), checkpoints.load_vocoder()),
        strict=True,
    ):
        stored = torch.load(folder / name, weights_only=True)
        stored = stored.get("model_g", stored)
        assert all(torch.equal(stored[key], tensor) for key, tensor in model.state_dict().items())
        assert not model.training
        assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert checkpoints.load_tokenizer() is None


def test_what_was_loaded_can_be_trained_without_touching_the_file(folder):
    checkpoints = OfficialCheckpoints(folder, SIZES)
    before = (folder / "autoregressive.pth").read_bytes()
    gpt = checkpoints.load_gpt().requires_grad_(True)
    loss = gpt(torch.randn(1, 32), torch.ones(1, 3, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64)).mel.sum()
    loss.backward()
    torch.optim.SGD(gpt.parameters(), 1.0).step()
    assert (folder / "autoregressive.pth").read_bytes() == before
    assert not torch.equal(gpt.mel_head.weight, checkpoints.load_gpt().mel_head.weight)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_weights_stay_in_their_file_until_they_are_let_go(folder):
    path = str(folder / "clvp2.pth")
    clvp = OfficialCheckpoints(folder, SIZES).load_clvp()
    assert path in Path("/proc/self/maps").read_text()
    del clvp
    gc.collect()
    assert path not in Path("/proc/self/maps").read_text()


def test_every_missing_file_is_named_with_where_to_get_it(tmp_path):
    with pytest.raises(ManyErrors) as caught:
        OfficialCheckpoints(tmp_path).check()
    assert [Path(error.where).name for error in caught.value.errors] == list(NAMES)
    assert [error.expected for error in caught.value.errors] == [
        f"about {gigabytes} GB" for gigabytes in ("1.69", "0.98", "1.17", "0.06")
    ]
    assert all("jbetker/tortoise-tts-v2" in error.fix for error in caught.value.errors)


def rewrite(path: Path, change) -> None:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("clvp2.pth", lambda p: p.write_text("version https://git-lfs"), "23 bytes"),
        ("clvp2.pth", lambda p: p.write_bytes(b""), "0 bytes"),
        ("clvp2.pth", lambda p: p.write_bytes(p.read_bytes()[:50_000]), "50,000 bytes is truncated"),
        ("clvp2.pth", lambda p: (p.unlink(), p.mkdir()), "no such checkpoint file"),
        ("clvp2.pth", lambda p: p.write_bytes(pickle.dumps(Evil())), "wants more than tensors"),
        ("clvp2.pth", lambda p: torch.save([1, 2], p), "no state_dict"),
        ("clvp2.pth", lambda p: torch.save({"text_emb.weight": 3}, p), "no state_dict"),
        ("clvp2.pth", lambda p: rewrite(p, lambda s: s.pop("temperature")), "missing temperature"),
        ("clvp2.pth", lambda p: rewrite(p, lambda s: s.update(more=torch.ones(1))), "unexpected more"),
        (
            "clvp2.pth",
            lambda p: rewrite(p, lambda s: s.update({"speech_emb.weight": torch.ones(31, 64)})),
            r"speech_emb.weight has shape \(31, 64\), wanted \(30, 64\)",
        ),
        (
            "clvp2.pth",
            lambda p: rewrite(p, lambda s: s.update(temperature=torch.tensor(1))),
            "temperature is torch.int64, wanted floats",
        ),
        # The masks are known from the GPT alone, and only the masks.
        ("clvp2.pth", lambda p: rewrite(p, lambda s: s.update({"gpt.h.0.attn.bias": torch.ones(1)})), "unexpected gpt"),
        (
            "autoregressive.pth",
            lambda p: rewrite(p, lambda s: s.update({"gpt.h.0.attn.c_bias": torch.ones(1)})),
            "unexpected gpt.h.0.attn.c_bias",
        ),
        ("vocoder.pth", lambda p: rewrite(p, lambda s: s.pop("model_g")), "no state_dict"),
    ],
)
def test_a_broken_file_is_refused_before_anything_is_loaded(folder, monkeypatch, name, damage, says):
    monkeypatch.chdir(folder)
    damage(folder / name)
    with pytest.raises(CheckpointError, match=says) as caught:
        OfficialCheckpoints(folder, SIZES).check()
    assert caught.value.where == str(folder / name)
    assert "download it from" in caught.value.fix
    assert not (folder / "ran").exists()


def test_of_many_faults_in_a_file_the_first_are_named_and_all_counted(folder):
    rewrite(folder / "clvp2.pth", lambda state: state.clear())
    with pytest.raises(CheckpointError, match=r"missing temperature.*; and \d+ more"):
        OfficialCheckpoints(folder, SIZES).load_clvp()


def test_nan_is_found_when_the_weights_are_read(folder):
    rewrite(folder / "clvp2.pth", lambda state: state["temperature"].fill_(float("nan")))
    checkpoints = OfficialCheckpoints(folder, SIZES)
    checkpoints.check()
    with pytest.raises(CheckpointError, match="hold NaN or infinity: temperature"):
        checkpoints.load_clvp()


def test_halved_and_old_files_load_too(folder):
    path = folder / "clvp2.pth"
    exact = OfficialCheckpoints(folder, SIZES).load_clvp().speech_emb.weight.clone()
    rewrite(path, lambda state: state.update({key: tensor.half() for key, tensor in state.items()}))
    halved = OfficialCheckpoints(folder, SIZES).load_clvp().speech_emb.weight
    assert halved.dtype == torch.float32
    torch.testing.assert_close(halved, exact, atol=1e-2, rtol=1e-2)
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    torch.testing.assert_close(OfficialCheckpoints(folder, SIZES).load_clvp().speech_emb.weight, halved)


def test_the_digest_is_of_the_files_that_decide_what_is_spoken(folder):
    checkpoints = OfficialCheckpoints(folder, SIZES)
    digest = checkpoints.digest()
    (folder / "rlg_auto.pth").write_text("something else")
    assert checkpoints.digest() == digest
    rewrite(folder / "clvp2.pth", lambda state: state["temperature"].add_(1))
    assert checkpoints.digest() != digest


def test_the_true_vqvae_is_loaded_where_it_is_there(folder):
    dvae = DVAE(Dimensions(codebook_size=30, codebook_dim=8, hidden_dim=12, num_resnet_blocks=1))
    torch.save(dvae.state_dict(), folder / "dvae.pth")
    tokenizer = OfficialCheckpoints(folder, SIZES).load_tokenizer()
    assert tokenizer is not None
    assert tokenizer.codebook_size == 30


def test_files_of_the_official_sizes_speak(tmp_path):
    """Full size in every shape. One vector of random numbers is all the weights, so that the files are small."""
    numbers = torch.empty(3 * 2048 * 2048).uniform_(-0.05, 0.05, generator=torch.Generator().manual_seed(0))

    def save(name: str, build) -> None:
        with torch.device("meta"):
            model = build()
        state = {key: numbers[: t.numel()].view(t.shape) for key, t in model.state_dict().items()}
        torch.save({"model_g": state} if name == "vocoder.pth" else state, tmp_path / name)

    for name, build in zip(NAMES, (UnifiedVoice, build_clvp, build_diffusion, build_univnet), strict=True):
        save(name, build)
    checkpoints = OfficialCheckpoints(tmp_path)
    checkpoints.check()

    waveform = torch.rand(30_000) - 0.5
    text, codes = torch.arange(1, 7)[None], torch.arange(8)[None]
    with torch.no_grad():
        gpt = checkpoints.load_gpt()
        voice = gpt.conditioning(gpt_conditioning(waveform, 0)[None])
        latents = gpt.latents(voice, text, codes)
        assert (voice.shape, latents.shape) == ((1, 1024), (1, 8, 1024))
        del gpt
        assert score(checkpoints.load_clvp(), list(text), list(codes)).shape == (1,)
        decoder = DiffusionDecoder(checkpoints.load_diffusion(), TACOTRON_RANGE, steps=2)
        conditioning = decoder.conditioning(tacotron_conditioning(waveform)[None])
        assert conditioning.shape == (2048,)
        mel = decoder.render(latents, conditioning[None], [0], diffusion_frames(8))
        assert mel.shape == (1, 100, 34)
        del decoder
        samples = UnivNetVocoder(checkpoints.load_vocoder())(mel[0], 8 * 1024 * 24_000 // 22_050)
    assert samples.shape == (8916,)
    assert samples.isfinite().all()
