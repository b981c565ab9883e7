"""The diffusion decoder renders batches as upstream renders each row, and trains on upstream's loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.errors import ConfigError
from vqbench.teachers.tortoise.diffusion import (
    TACOTRON_RANGE,
    DiffusionDecoder,
    DiffusionDimensions,
    MelRange,
    build_diffusion,
    noise_schedule,
    training_loss,
)
from vqbench.teachers.tortoise.upstream import upstream_module

SMALL = DiffusionDimensions(n_layers=2, width=32, n_heads=4, n_mels=12, latent_width=24, n_codes=50)
UNIT = MelRange((-1.0,), (1.0,))
N_FRAMES = 17


def small_model(**regularisation):
    torch.manual_seed(0)
    model = build_diffusion(SMALL, **regularisation)
    for parameter in model.parameters():
        # The attentions' last layers start at zero, where no mistake before them would be seen.
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture(scope="module")
def model():
    return small_model().eval()


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, 5, 24, generator=generator), torch.randn(3, 64, generator=generator)


def upstream_render(model, latents, conditioning, seed, steps, k, temperature, predicted="noise", sampler="ancestral"):
    """Upstream's way for one row: `do_spectrogram_diffusion`, but for its fixed sizes."""
    upstream = upstream_module("utils.diffusion")
    schedule = upstream.SpacedDiffusion(
        use_timesteps=upstream.space_timesteps(4000, [steps]),
        model_mean_type="epsilon" if predicted == "noise" else "start_x",
        model_var_type="learned_range",
        loss_type="mse",
        betas=upstream.get_named_beta_schedule("linear", 4000),
        conditioning_free=k > 0,
        conditioning_free_k=k,
    )
    with torch.no_grad():
        embeddings = model.timestep_independent(latents[None], conditioning[None], N_FRAMES, False)
        torch.manual_seed(seed)
        loop = schedule.p_sample_loop if sampler == "ancestral" else schedule.ddim_sample_loop
        return loop(
            model,
            (1, SMALL.n_mels, N_FRAMES),
            noise=torch.randn(1, SMALL.n_mels, N_FRAMES) * temperature,
            model_kwargs={"precomputed_aligned_embeddings": embeddings},
        )[0]


@pytest.mark.parametrize(("steps", "k", "temperature"), [(5, 2.0, 1.0), (5, 0.0, 1.0), (2, 1.0, 0.5)])
def test_every_row_of_a_batch_is_upstreams(model, rows, steps, k, temperature):
    latents, conditioning = rows
    decoder = DiffusionDecoder(model, UNIT, steps=steps, cond_free_k=k, temperature=temperature)
    mels = decoder.render(latents, conditioning, [11, 12, 13], N_FRAMES)
    for row, seed in enumerate([11, 12, 13]):
        expected = upstream_render(model, latents[row], conditioning[row], seed, steps, k, temperature)
        # Early steps divide by how little of the signal is left, and rounding with it.
        torch.testing.assert_close(mels[row], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("predicted", "sampler"), [("mel", "ancestral"), ("noise", "ddim"), ("mel", "ddim")])
def test_other_ways_of_rendering_are_upstreams_too(model, rows, predicted, sampler):
    latents, conditioning = rows
    decoder = DiffusionDecoder(model, UNIT, steps=4, cond_free_k=0.0, predicted=predicted, sampler=sampler)
    mels = decoder.render(latents, conditioning, [11, 12, 13], N_FRAMES)
    for row, seed in enumerate([11, 12, 13]):
        expected = upstream_render(model, latents[row], conditioning[row], seed, 4, 0.0, 1.0, predicted, sampler)
        torch.testing.assert_close(mels[row], expected, atol=1e-3, rtol=0)
    usual = DiffusionDecoder(model, UNIT, steps=4, cond_free_k=0.0).render(
        latents, conditioning, [11, 12, 13], N_FRAMES
    )
    assert (mels - usual).abs().max() > 0.01


def test_a_row_depends_on_its_seed_and_not_on_its_neighbours(model, rows):
    latents, conditioning = rows
    decoder = DiffusionDecoder(model, UNIT, steps=4)
    together = decoder.render(latents, conditioning, [1, 2, 3], N_FRAMES)
    torch.testing.assert_close(
        decoder.render(latents[1:2], conditioning[1:2], [2], N_FRAMES)[0], together[1], atol=1e-3, rtol=0
    )
    other_seed = decoder.render(latents[1:2], conditioning[1:2], [3], N_FRAMES)[0]
    assert (other_seed - together[1]).abs().mean() > 0.1


@pytest.mark.parametrize("steps", [-1, 0, 1, 4001])
def test_impossible_steps_are_refused(steps):
    with pytest.raises(ConfigError, match=f"cannot take {steps} steps"):
        noise_schedule(steps)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_rendering_leaves_torchs_own_randomness_alone(model, rows, sampler):
    before = torch.get_rng_state()
    DiffusionDecoder(model, UNIT, steps=2, sampler=sampler).render(*rows, [1, 2, 3], N_FRAMES)
    assert torch.equal(torch.get_rng_state(), before)


def test_rendered_mels_are_in_the_range_of_those_it_was_trained_on(model, rows):
    range_ = MelRange(tuple(range(12)), tuple(range(20, 32)))
    unit = DiffusionDecoder(model, UNIT, steps=3).render(*rows, [1, 2, 3], N_FRAMES)
    mels = DiffusionDecoder(model, range_, steps=3).render(*rows, [1, 2, 3], N_FRAMES)
    torch.testing.assert_close(mels, (unit + 1) * 10 + torch.arange(12.0)[:, None], atol=1e-4, rtol=0)


def test_a_voice_is_upstreams_mean_over_its_clips(model):
    mels = torch.randn(3, 12, 30, generator=torch.Generator().manual_seed(0))
    voice = DiffusionDecoder(model, UNIT).conditioning(mels)
    with torch.no_grad():
        torch.testing.assert_close(voice, model.get_conditioning(mels[None])[0])
    assert voice.shape == (64,)


def test_the_front_ends_silence_is_minus_one_and_speech_fits():
    range_ = MelRange.of_spec(MelSpec())
    silence = range_.to_unit(MelFrontEnd()(torch.zeros(3000)))
    torch.testing.assert_close(silence, torch.full_like(silence, -1.0), atol=1e-5, rtol=0)
    # A voice at full scale: a pulse train of 120 Hz, louder than any speech.
    pulses = torch.zeros(22_050)
    pulses[::184] = 1.0
    loud = range_.to_unit(MelFrontEnd()(pulses))
    assert -1 < loud.min() < loud.max() < 1
    mel = torch.randn(80, 9)
    torch.testing.assert_close(range_.from_unit(range_.to_unit(mel)), mel, atol=1e-5, rtol=0)


def test_the_official_range_is_upstreams():
    audio = upstream_module("utils.audio")
    mel = torch.linspace(-11.5, 2.3, 200).view(100, 2)
    torch.testing.assert_close(TACOTRON_RANGE.to_unit(mel), audio.normalize_tacotron_mel(mel))
    torch.testing.assert_close(TACOTRON_RANGE.from_unit(mel / 12), audio.denormalize_tacotron_mel(mel / 12))


def test_the_loss_is_of_noise_variance_and_the_mel_head(model, rows):
    latents, _ = rows
    mel = torch.rand(3, 12, N_FRAMES, generator=torch.Generator().manual_seed(5)) * 2 - 1
    voice = torch.randn(3, 2, 12, 20, generator=torch.Generator().manual_seed(6))
    schedule = noise_schedule()
    with torch.no_grad():
        loss = training_loss(
            model, schedule, mel, latents, model.get_conditioning(voice), torch.Generator().manual_seed(7)
        )
        # By hand, from the same draws.
        generator = torch.Generator().manual_seed(7)
        steps = torch.randint(0, 4000, (3,), generator=generator)
        noise = torch.randn(mel.shape, generator=generator)
        kept = torch.cumprod(1 - torch.linspace(0.000025, 0.005, 4000, dtype=torch.float64), 0)[steps, None, None]
        noisy = (kept.sqrt() * mel + (1 - kept).sqrt() * noise).float()
        out, head = model(noisy, steps, latents, model.get_conditioning(voice), return_code_pred=True)
    torch.testing.assert_close(loss.told, F.mse_loss(out[:, :12], noise), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss.mel, F.mse_loss(head, mel), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss.total, loss.told + loss.variance + loss.mel)
    assert loss.variance.isfinite()


@pytest.mark.parametrize("given", ["latents", "codes"])
def test_training_lowers_the_loss(rows, given):
    model = small_model(unconditioned=0.1, dropout=0.1, layer_drop=0.1)
    torch.manual_seed(0)  # of what dropout leaves out
    aligned = rows[0] if given == "latents" else torch.arange(15).view(3, 5)
    mel = (torch.arange(12.0)[:, None] / 6 - 1).expand(3, 12, N_FRAMES)
    optimiser, generator = torch.optim.Adam(model.parameters(), 2e-3), torch.Generator().manual_seed(0)
    schedule, losses = noise_schedule(), []
    for _ in range(40):
        loss = training_loss(model, schedule, mel, aligned, model.get_conditioning(mel), generator)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(loss.total.item())
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])


def test_the_default_sizes_are_those_that_upstream_loads_the_official_file_into():
    with torch.device("meta"):
        upstream = upstream_module("models.diffusion_decoder").DiffusionTts(
            model_channels=1024,
            num_layers=10,
            in_channels=100,
            out_channels=200,
            in_latent_channels=1024,
            in_tokens=8193,
            num_heads=16,
        )
        ours = build_diffusion()
    assert {key: t.shape for key, t in ours.state_dict().items()} == {
        key: t.shape for key, t in upstream.state_dict().items()
    }


def test_training_under_autocast_is_training_in_half_precision() -> None:
    model, schedule = build_diffusion(SMALL), noise_schedule()
    mel, latents = torch.randn(2, SMALL.n_mels, 16).tanh(), torch.randn(2, 4, SMALL.latent_width)

    def loss() -> torch.Tensor:
        draws = torch.Generator().manual_seed(1)
        return training_loss(model, schedule, mel, latents, model.get_conditioning(mel), draws).total

    seen: set[torch.dtype] = set()
    model.layers[1].attn.qkv.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    full = loss()
    assert seen == {torch.float32}
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        half = loss()
    assert seen == {torch.bfloat16}
    torch.testing.assert_close(half, full, rtol=0.05, atol=0)
    half.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
