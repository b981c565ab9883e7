"""Codec2 and Opus as tokenizers: what they write is theirs, and speech comes back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vqbench.data.corpora import corpus_clips
from vqbench.data.recordings import load_clip
from vqbench.errors import ConfigError, DataError
from vqbench.judges.asr.recognizer import load_recognizer
from vqbench.tokenizers.codec2 import MODES, Codec2
from vqbench.tokenizers.mels import MelCodec
from vqbench.tokenizers.opus import Opus
from vqbench.tokenizers.protocol import Codes, Stream, Tokenizer

CPU = torch.device("cpu")
needs_codec2 = pytest.mark.skipif(shutil.which("c2enc") is None, reason="the package codec2 is not installed")


def speech(rate_hz: int) -> Tensor:
    return load_clip(corpus_clips("pocket", "test")[0], rate_hz)


def whole(found: list[Codes | DataError] | list[Tensor | DataError]):  # type: ignore[no-untyped-def]
    (one,) = found
    assert not isinstance(one, DataError), one
    return one


@needs_codec2
@pytest.mark.parametrize("mode", list(MODES))
def test_each_mode_writes_its_bits_a_second_and_gives_as_many_samples_back(mode: str) -> None:
    tokenizer, waveform = Codec2(mode), speech(8000)
    assert isinstance(tokenizer, Tokenizer)
    codes = whole(tokenizer.encode([waveform]))
    n_frames = -(-len(waveform) // MODES[mode].frame_samples)
    assert tokenizer.bits(codes) == n_frames * MODES[mode].bits
    nominal = int(mode.removesuffix("C"))
    assert tokenizer.bits(codes) / len(waveform) * 8000 == pytest.approx(nominal, rel=0.02)
    back = whole(tokenizer.decode([codes], [len(waveform)]))
    assert back.shape == waveform.shape and 0.1 < float(back.abs().max()) <= 1


@needs_codec2
def test_the_fields_of_700c_are_what_its_own_program_packs() -> None:
    tokenizer, waveform = Codec2("700C"), speech(8000)
    assert tokenizer.streams == tuple(Stream(25.0, size) for size in (512, 512, 16, 64))
    codes = whole(tokenizer.encode([waveform]))
    n_frames = len(codes[0])
    samples = np.zeros(320 * n_frames, np.int16)
    samples[: len(waveform)] = (waveform.clamp(-1, 1) * 32767).round().numpy()
    packed = subprocess.run(
        ["c2enc", "700C", "-", "-"], input=samples.tobytes(), capture_output=True, check=True
    ).stdout
    bits = np.unpackbits(np.frombuffer(packed, np.uint8).reshape(n_frames, 4), axis=1)
    told = ["".join(map(str, row[:28])) for row in bits]
    ours = [
        "".join(f"{int(row[t]):0{width}b}" for row, width in zip(codes, (9, 9, 4, 6), strict=True))
        for t in range(n_frames)
    ]
    assert ours == told


@needs_codec2
def test_its_third_stream_is_the_energy_and_its_fourth_the_pitch() -> None:
    tokenizer, waveform = Codec2("700C"), speech(8000)
    envelope, fine, energy, pitch = whole(tokenizer.encode([waveform]))
    length = [len(waveform)]
    as_it_is = whole(tokenizer.decode([(envelope, fine, energy, pitch)], length))
    quieter = whole(tokenizer.decode([(envelope, fine, (energy - 4).clamp_min(0), pitch)], length))
    assert quieter.square().mean() < 0.3 * as_it_is.square().mean()
    voiced = pitch > 0
    assert 0.2 < voiced.float().mean() < 0.95
    assert energy[voiced].float().mean() > energy[~voiced].float().mean()


@needs_codec2
def test_clips_do_not_depend_on_each_other() -> None:
    tokenizer, waveform = Codec2("1300"), speech(8000)
    together = tokenizer.encode([waveform, waveform[:4000], waveform])
    alone = whole(tokenizer.encode([waveform]))
    assert torch.equal(together[0][0], alone[0]) and torch.equal(together[2][0], alone[0])


def test_more_bits_are_nearer_and_are_counted_as_they_were_written() -> None:
    waveform, errors, bits = speech(16_000), [], []
    for compression in (1.0, 0.9, 0.5):
        tokenizer = Opus(compression, 16_000)
        codes = whole(tokenizer.encode([waveform]))
        assert tokenizer.bits(codes) == 8 * len(codes[0]) and bytes(codes[0][:4].tolist()) == b"OggS"
        back = whole(tokenizer.decode([codes], [len(waveform)]))
        errors.append(float((back - waveform).square().mean()))
        bits.append(tokenizer.bits(codes))
    assert errors == sorted(errors, reverse=True) and bits == sorted(bits)
    assert Opus(1.0, 16_000).streams == ()


@needs_codec2
def test_what_people_understand_an_asr_understands(tmp_path: Path) -> None:
    clip = corpus_clips("pocket", "test")[0]
    recognizer = load_recognizer("faster-whisper", "tiny.en", 5, "clip", "cpu")
    tokenizer = Codec2("3200")
    waveform = load_clip(clip, 8000)
    back = whole(tokenizer.decode([whole(tokenizer.encode([waveform]))], [len(waveform)]))
    (heard,) = recognizer.transcribe([back], 8000)
    said, known = (clip.text or "").lower().rstrip(".").split(), heard.lower()
    assert sum(word in known for word in said) >= 0.6 * len(said), heard


def test_a_vqvae_and_a_vocoder_are_a_tokenizer() -> None:
    from vqbench.audio.griffin_lim import GriffinLim
    from vqbench.audio.mel import MelFrontEnd, MelSpec
    from vqbench.teachers.pocket.assets import load_true_tokenizer
    from vqbench.tokenizers.protocol import encode

    vqvae, waveform = load_true_tokenizer(CPU), speech(22_050)
    codec = MelCodec(vqvae, GriffinLim(MelSpec(), 4))
    assert isinstance(codec, Tokenizer) and codec.streams == (Stream(vqvae.token_rate_hz, 1024),)
    (codes,) = whole(codec.encode([waveform]))
    assert torch.equal(codes, encode(vqvae, [MelFrontEnd()(waveform)])[0])
    assert whole(codec.decode([(codes,)], [len(waveform)])).shape == waveform.shape
    assert codec.bits((codes,)) == 10 * len(codes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Codec2.open({"mode": "700D"}, CPU), "no mode '700D' .did you mean '700C'"),
        (lambda: Codec2.open({"mod": "700C"}, CPU), "no option 'mod' .did you mean 'mode'"),
        (lambda: Opus.open({"sample_rate_hz": 22_050}, CPU), "Opus knows no 22050 Hz"),
        (lambda: Opus.open({"compression": 2.0}, CPU), "compression is 2"),
        (lambda: Opus.open({"compression": "high"}, CPU), "compression is 'high'"),
        (lambda: Opus.open({"sample_rate_hz": True}, CPU), "sample_rate_hz is True"),
    ],
)
def test_wrong_options_are_named(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        make()


@needs_codec2
def test_without_the_program_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="c2enc is not on the PATH") as caught:
        Codec2("1300")
    assert caught.value.fix == "apt-get install codec2"
