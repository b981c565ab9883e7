"""What becomes of good recordings, and what is said of bad ones."""

import hashlib
import io
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from vqbench.audio.decoding import MENDED_BYTES, read_header
from vqbench.audio.io import (
    decode_waveform,
    encode_opus,
    file_digest,
    header_duration_s,
    load_waveform,
    resample,
    save_waveform,
)
from vqbench.data.corpora import corpus_clips
from vqbench.errors import DataError

RATE_HZ = 22_050
TONE_HZ = 440.0


def tone(rate_hz: int, duration_s: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(int(rate_hz * duration_s)) / rate_hz)


def encoded(samples: np.ndarray, rate_hz: int, kind: str, subtype: str, **options) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate_hz, format=kind, subtype=subtype, **options)
    return stream.getvalue()


GOOD = [
    (8_000, 1, "WAV", "PCM_16", 1e-3),
    (11_025, 1, "WAV", "PCM_U8", 2e-2),
    (16_000, 2, "FLAC", "PCM_16", 1e-3),
    (22_050, 1, "WAV", "PCM_24", 1e-5),
    (22_050, 2, "WAV", "FLOAT", 1e-5),
    (24_000, 1, "WAV", "DOUBLE", 1e-3),
    (32_000, 1, "AIFF", "PCM_16", 1e-3),
    (44_100, 2, "FLAC", "PCM_24", 1e-3),
    (44_100, 1, "OGG", "VORBIS", 3e-2),
    (44_100, 2, "MP3", "MPEG_LAYER_III", 3e-2),
    (48_000, 1, "OGG", "OPUS", 3e-2),
    (48_000, 6, "WAV", "PCM_32", 1e-3),
    (48_000, 1, "W64", "PCM_16", 1e-3),
    (96_000, 1, "RF64", "PCM_16", 1e-3),
]


@pytest.mark.parametrize(("rate_hz", "channels", "kind", "subtype", "tolerance"), GOOD)
def test_any_format_rate_and_channels_give_the_same_tone(tmp_path, rate_hz, channels, kind, subtype, tolerance):
    path = tmp_path / "clip"
    # Channels of different loudness: only their mean is the tone.
    gains = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)
    path.write_bytes(encoded(tone(rate_hz)[:, None] * gains, rate_hz, kind, subtype))
    waveform = load_waveform(path, RATE_HZ)
    assert waveform.dtype == torch.float32
    assert waveform.ndim == 1
    # The codecs' packets may add some samples at the end.
    assert abs(len(waveform) - RATE_HZ // 2) <= (1_152 if kind == "MP3" else 1)
    expected = tone(RATE_HZ)
    middle = slice(2_000, 9_000)
    np.testing.assert_allclose(waveform.numpy()[middle], expected[middle], rtol=0, atol=tolerance)


def test_every_human_clip_of_tortoise_loads_whole():
    for clip in corpus_clips("tortoise-voices"):
        waveform = load_waveform(clip.path, RATE_HZ)
        assert len(waveform) / RATE_HZ == pytest.approx(clip.duration_s, abs=1e-3), clip.id
        assert 0.05 < waveform.abs().max() <= 1, clip.id
        assert header_duration_s(clip.path) == pytest.approx(len(waveform) / RATE_HZ), clip.id


def test_a_name_means_nothing(tmp_path):
    path = tmp_path / "señal \udcff.raw"
    path.write_bytes(encoded(tone(RATE_HZ), RATE_HZ, "FLAC", "PCM_16"))
    assert len(load_waveform(path, RATE_HZ)) == RATE_HZ // 2


def test_silence_and_a_single_sample_are_recordings(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(encoded(np.zeros(1_000), RATE_HZ, "WAV", "PCM_16"))
    assert load_waveform(path, RATE_HZ).tolist() == [0.0] * 1_000
    for rate_hz in (8_000, RATE_HZ, 48_000, 192_000):
        path.write_bytes(encoded(np.array([0.5]), rate_hz, "WAV", "PCM_16"))
        waveform = load_waveform(path, RATE_HZ)
        assert len(waveform) >= 1
        assert waveform.isfinite().all()


def test_overdriven_samples_are_clipped_as_tortoise_does(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(encoded(np.array([0.5, 1.2, -1.9, 2.0]), RATE_HZ, "WAV", "FLOAT"))
    assert load_waveform(path, RATE_HZ).tolist() == [0.5, 1.0, -1.0, 1.0]
    loud = np.sign(tone(44_100))  # resampling a square wave overshoots
    path.write_bytes(encoded(loud, 44_100, "WAV", "FLOAT"))
    assert load_waveform(path, RATE_HZ).abs().max() == 1


def with_data_size(size: int) -> bytes:
    """A WAV as programs write it to a pipe, whose header cannot know the size."""
    wav = bytearray(encoded(tone(RATE_HZ), RATE_HZ, "WAV", "PCM_16"))
    at = wav.index(b"data") + 4
    wav[at : at + 4] = struct.pack("<I", size)
    return bytes(wav)


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F000, 0x8000_0000])
def test_a_stream_of_unknown_size_is_not_cut_off(tmp_path, size):
    path = tmp_path / "clip.wav"
    path.write_bytes(with_data_size(size))
    assert len(load_waveform(path, RATE_HZ)) == RATE_HZ // 2


def with_tag(content: bytes, size: int) -> bytes:
    """An ID3 tag of so many bytes before a recording."""
    sizes = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00\x00" + sizes + bytes(size) + content


@pytest.mark.parametrize("size", [0, 30, 1_000, 300_000])
@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
def test_an_id3_tag_before_a_recording_is_skipped_and_noted(tmp_path, kind, size):
    path = tmp_path / "clip.wav"
    content = encoded(tone(RATE_HZ), RATE_HZ, kind, "PCM_16")
    path.write_bytes(content)
    bare = load_waveform(path, RATE_HZ)
    assert read_header(path).notes == ()
    path.write_bytes(with_tag(content, size))
    assert (load_waveform(path, RATE_HZ) == bare).all()
    assert read_header(path).notes == ("an ID3 tag before the recording is skipped",)
    path.write_bytes(with_tag(content, size)[:-2_000])
    with pytest.raises(DataError, match="cut off"):
        load_waveform(path, RATE_HZ)


@pytest.mark.parametrize("surplus", [1, 8, 44, MENDED_BYTES])
def test_a_header_that_promises_a_few_bytes_more_is_noted(tmp_path, surplus):
    path = tmp_path / "clip.wav"
    n_bytes = len(tone(RATE_HZ)) * 2
    path.write_bytes(with_data_size(n_bytes + surplus))
    assert len(load_waveform(path, RATE_HZ)) == RATE_HZ // 2
    assert read_header(path).notes == ("the header promises up to 64 bytes more than the file holds",)
    path.write_bytes(with_data_size(n_bytes + MENDED_BYTES + 1))
    with pytest.raises(DataError, match=f"promises {n_bytes + 65} bytes of sound, the file holds {n_bytes}"):
        load_waveform(path, RATE_HZ)


def by_ffmpeg(path: Path, kind: str, codec: str, rate_hz: int, channels: int = 1) -> None:
    """Half a second of the tone as FFmpeg encodes it; a second channel is silent."""
    samples = np.stack([tone(rate_hz), np.zeros(rate_hz // 2)][:channels]).astype(np.float32)
    with av.open(str(path), "w", format=kind) as container:
        layout = "stereo" if channels == 2 else "mono"
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        converter = av.AudioResampler(stream.format.name, layout, rate_hz, stream.frame_size or None)
        for part in [*converter.resample(frame), *converter.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


FOREIGN = {
    "m4a": ("ipod", "aac", 22_050, 1),
    "mp4, two channels": ("mp4", "aac", 44_100, 2),
    "webm": ("webm", "libopus", 48_000, 1),
    "AAC": ("adts", "aac", 22_050, 1),
}


@pytest.mark.parametrize(("kind", "codec", "rate_hz", "channels"), FOREIGN.values(), ids=FOREIGN)
def test_what_libsndfile_cannot_read_is_read_by_pyav(tmp_path, kind, codec, rate_hz, channels):
    path = tmp_path / "clip.wav"
    by_ffmpeg(path, kind, codec, rate_hz, channels)
    waveform = load_waveform(path, RATE_HZ)
    assert waveform.dtype == torch.float32 and waveform.ndim == 1
    assert header_duration_s(path) == pytest.approx(len(waveform) / RATE_HZ, abs=0.01)
    assert 0.49 <= len(waveform) / RATE_HZ < 0.61  # AAC by itself does not say how much of it is the encoder's padding
    if kind != "adts":
        assert len(waveform) == pytest.approx(RATE_HZ // 2, abs=RATE_HZ // 50)
        # The silent channel halves the mean.
        expected = tone(RATE_HZ) / channels
        np.testing.assert_allclose(waveform.numpy()[2_000:9_000], expected[2_000:9_000], rtol=0, atol=0.02)
    else:
        assert 0.45 < waveform[3_000:9_000].abs().max() < 0.55
    (note,) = read_header(path).notes
    assert note == f"decoded by PyAV {av.__version__}"
    part = load_waveform(path, RATE_HZ, 0.1, 0.2)
    assert len(part) == pytest.approx(0.2 * RATE_HZ, abs=1)
    if rate_hz == RATE_HZ:
        assert (part == waveform[2_205 : 2_205 + len(part)]).all()


@pytest.mark.parametrize(("kind", "codec", "rate_hz", "channels"), FOREIGN.values(), ids=FOREIGN)
def test_what_pyav_reads_and_is_cut_off_or_garbage_says_so(tmp_path, kind, codec, rate_hz, channels):
    path = tmp_path / "clip"
    by_ffmpeg(path, kind, codec, rate_hz, channels)
    content = path.read_bytes()
    for broken in (content[:40], content[: len(content) // 2], content[:16] + bytes(500)):
        path.write_bytes(broken)
        try:
            short = load_waveform(path, RATE_HZ)
        except DataError as error:
            assert error.where == str(path)
        else:
            # Of AAC by itself every part is a whole one.
            assert kind == "adts" and len(short) < 0.4 * RATE_HZ


def test_no_playlist_is_followed(tmp_path):
    by_ffmpeg(tmp_path / "secret.m4a", "ipod", "aac", 22_050)
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/secret.m4a\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.m4a\n",
    ):
        (tmp_path / "list.m4a").write_text(text)
        with pytest.raises(DataError, match="not audio that can be read"):
            load_waveform(tmp_path / "list.m4a", RATE_HZ)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_segment_is_that_part_of_the_recording_bit_for_bit(tmp_path, kind):
    path = tmp_path / "clip"
    path.write_bytes(encoded(np.random.default_rng(0).uniform(-1, 1, 5 * RATE_HZ), RATE_HZ, kind, "PCM_16"))
    whole = load_waveform(path, RATE_HZ)
    for start_s, duration_s in ((0.0, 1.0), (1.5, 2.0), (4.9999, None), (3.0, 99.0)):
        start = round(start_s * RATE_HZ)
        end = None if duration_s is None else start + round(duration_s * RATE_HZ)
        assert (load_waveform(path, RATE_HZ, start_s, duration_s) == whole[start:end]).all()
    with pytest.raises(DataError, match=r"the segment begins at 5 s of 5 s"):
        load_waveform(path, RATE_HZ, 5.0, 1.0)


@pytest.mark.parametrize(("kind", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_a_segment_of_a_lossy_recording_is_where_it_should_be(tmp_path, kind, subtype):
    path = tmp_path / "clip"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * 24_000)
    path.write_bytes(encoded(noise, 24_000, kind, subtype))
    whole, part = load_waveform(path, 24_000), load_waveform(path, 24_000, 2.0, 1.0)
    assert len(part) == 24_000
    assert (part - whole[48_000:72_000]).abs().max() < 2e-3


def cut(content: bytes, share: float = 0.6) -> bytes:
    return content[: int(len(content) * share)]


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(range(256)) * 4 + content[middle + 1_024 :]


def speech(kind: str, subtype: str, **options) -> bytes:
    clip = next(clip for clip in corpus_clips("tortoise-voices") if clip.id == "lj/1")
    return encoded(load_waveform(clip.path, RATE_HZ)[:88_200].numpy(), RATE_HZ, kind, subtype, **options)


def without_length_header(mp3: bytes) -> bytes:
    return mp3[mp3.index(mp3[:2], mp3.index(b"Xing")) :]


def with_value(value: float) -> bytes:
    samples = tone(RATE_HZ)
    samples[1_234] = value
    samples[5_000] = value
    return encoded(samples, RATE_HZ, "WAV", "FLOAT")


def with_rate(rate_hz: int) -> bytes:
    wav = bytearray(encoded(tone(RATE_HZ), RATE_HZ, "WAV", "PCM_16"))
    wav[24:28] = struct.pack("<I", rate_hz)
    return bytes(wav)


def with_unknown_length() -> bytes:
    """A FLAC as programs write it to a pipe: 36 bits for the number of samples, all 0."""
    flac = bytearray(speech("FLAC", "PCM_16"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    return bytes(flac)


BROKEN = {
    "no bytes": (lambda: b"", "empty (0 bytes)"),
    "no samples, WAV": (lambda: encoded(np.zeros(0), RATE_HZ, "WAV", "PCM_16"), "holds no samples"),
    "no samples, Ogg": (lambda: encoded(np.zeros(0), RATE_HZ, "OGG", "VORBIS"), "holds no samples"),
    "text": (lambda: b"not audio at all\n" * 50, "not audio that can be read"),
    "zeros": (lambda: bytes(5_000), "not audio that can be read"),
    "a page": (lambda: b"<!DOCTYPE html><html><body>404</body></html>", "not audio that can be read"),
    "WAV header only": (lambda: speech("WAV", "PCM_16")[:20], "not audio that can be read"),
    "WAV cut": (lambda: cut(speech("WAV", "PCM_16")), "promises 176400 bytes of sound, the file holds 105822"),
    "float WAV cut": (lambda: cut(speech("WAV", "FLOAT")), "promises 352800 bytes of sound"),
    "AIFF cut": (lambda: cut(speech("AIFF", "PCM_16")), "bytes of sound, the file holds"),
    "AU cut": (lambda: cut(speech("AU", "PCM_16")), "bytes of sound, the file holds"),
    "W64 cut": (lambda: cut(speech("W64", "PCM_16")), "bytes of sound, the file holds"),
    "RF64 cut": (lambda: cut(speech("RF64", "PCM_16")), "bytes of sound, the file holds"),
    "FLAC cut": (lambda: cut(speech("FLAC", "PCM_16")), "promises 88200 samples, "),
    "FLAC damaged": (lambda: damaged(speech("FLAC", "PCM_16")), "promises 88200 samples, "),
    "FLAC without length": (with_unknown_length, "does not say how long"),
    "MP3 cut": (lambda: cut(speech("MP3", "MPEG_LAYER_III")), "promises 88200 samples, "),
    "MP3 without length": (
        lambda: without_length_header(speech("MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE")),
        "no length header",
    ),
    "Ogg cut": (lambda: cut(speech("OGG", "VORBIS")), "breaks off after"),
    "NaN": (lambda: with_value(np.nan), "sample 1234 is nan"),
    "infinity": (lambda: with_value(np.inf), "sample 1234 is inf"),
    "minus infinity": (lambda: with_value(-np.inf), "sample 1234 is -inf"),
    "integers as floats": (lambda: encoded(tone(RATE_HZ) * 32768, RATE_HZ, "WAV", "FLOAT"), "the samples reach 163"),
    "1 Hz": (lambda: with_rate(1), "a rate of 1 Hz"),
    "2 GHz": (lambda: with_rate(2_000_000_000), "a rate of 2000000000 Hz"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_recordings_say_why(tmp_path, content, message):
    path = tmp_path / "clip.wav"
    path.write_bytes(content())
    with pytest.raises(DataError) as caught:
        load_waveform(path, RATE_HZ)
    assert message in caught.value.problem
    assert caught.value.where == str(path)


def test_the_channel_of_a_nan_is_named(tmp_path):
    samples = np.zeros((100, 3))
    samples[7, 2] = np.nan
    path = tmp_path / "clip.wav"
    path.write_bytes(encoded(samples, RATE_HZ, "WAV", "FLOAT"))
    with pytest.raises(DataError, match="sample 7 of channel 2 is nan"):
        load_waveform(path, RATE_HZ)


@pytest.mark.parametrize("read", [lambda path: load_waveform(path, RATE_HZ), file_digest, header_duration_s])
def test_what_is_no_file_is_refused_without_hanging(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "clip.wav").touch()
    cases = {
        tmp_path: "this is a folder",
        tmp_path / "pipe": "not a regular file",
        tmp_path / "clop.wav": "no such file (did you mean 'clip.wav'?)",
        tmp_path / "clip.wav" / "x": "no such file",
        Path("/dev/zero"): "not a regular file",
        tmp_path / ("x" * 300): "too long",
        tmp_path / "a\0b": "",
    }
    for path, message in cases.items():
        with pytest.raises(DataError) as caught:
            read(path)
        assert message in caught.value.problem


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".FLAC"])
def test_16_bit_audio_survives_bit_for_bit(tmp_path, suffix):
    pcm = np.random.default_rng(0).integers(-32768, 32768, 5_000, dtype=np.int16)
    pcm[:2] = -32768, 32767
    source, copy = tmp_path / "source.wav", tmp_path / "new" / f"copy{suffix}"
    soundfile.write(source, pcm, RATE_HZ, subtype="PCM_16")
    save_waveform(copy, load_waveform(source, RATE_HZ), RATE_HZ)
    read, rate_hz = soundfile.read(copy, dtype="int16")
    assert rate_hz == RATE_HZ
    assert (read == pcm).all()
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


@pytest.mark.parametrize(
    ("name", "waveform", "message"),
    [
        ("clip.mp3", torch.zeros(10), "cannot write .mp3"),
        ("clip", torch.zeros(10), "cannot write no suffix"),
        ("clip.wav", torch.zeros(0), "no samples"),
        ("clip.wav", torch.tensor([0.0, 0.0, torch.nan]), "sample 2 is nan"),
        ("clip.flac", torch.tensor([0.0, torch.inf]), "sample 1 is inf"),
    ],
)
def test_what_no_file_can_hold_leaves_the_old_one(tmp_path, name, waveform, message):
    path = tmp_path / name
    path.write_bytes(b"old")
    with pytest.raises(DataError, match=message):
        save_waveform(path, waveform, RATE_HZ)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_refuses_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        save_waveform(tmp_path / "file" / "clip.wav", torch.zeros(10), RATE_HZ)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        save_waveform(tmp_path / "folder.wav", torch.zeros(10), RATE_HZ)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.wav"]


def test_samples_beyond_one_are_clipped_in_files(tmp_path):
    save_waveform(tmp_path / "clip.wav", torch.tensor([1.5, -1.5]), RATE_HZ)
    assert soundfile.read(tmp_path / "clip.wav", dtype="int16")[0].tolist() == [32767, -32768]


def test_opus_keeps_the_sound_and_gives_the_same_bytes_again():
    waveform = torch.from_numpy(tone(RATE_HZ, 1.5)).float()
    content = encode_opus(waveform, RATE_HZ, "a tone")
    # libsndfile numbers its streams at random.
    assert encode_opus(waveform, RATE_HZ, "a tone") == content
    assert content != encode_opus(waveform * 0.9, RATE_HZ, "a tone")
    # Every page's checksum is right, or its reader would leave it out.
    heard = decode_waveform(content, "a tone")
    wanted = resample(waveform, RATE_HZ, 24_000)
    assert abs(len(heard) - len(wanted)) <= 1
    inner = slice(2_400, 33_600)  # the tone sets in and breaks off, which no codec does sharply
    assert float((heard[inner] - wanted[inner]).norm() / wanted[inner].norm()) < 0.03
    assert len(content) * 8 / 1.5 < 80_000


@pytest.mark.parametrize("n_samples", [1, 100, 24_000 * 3])
def test_opus_of_any_length(n_samples):
    noise = 0.1 * torch.randn(n_samples, generator=torch.Generator().manual_seed(n_samples))
    assert len(decode_waveform(encode_opus(noise, 24_000, "noise"), "noise")) == n_samples


@pytest.mark.parametrize(("waveform", "message"), [([], "no samples"), ([0.0, float("nan")], "sample 1 is nan")])
def test_what_opus_cannot_hold(waveform, message):
    with pytest.raises(DataError, match=message):
        encode_opus(torch.tensor(waveform), RATE_HZ, "nothing")


@pytest.mark.parametrize(("from_hz", "to_hz"), [(48_000, 22_050), (22_050, 24_000), (20_727.0, 22_050)])
def test_resampling_keeps_a_tone_in_place(from_hz, to_hz):
    waveform = torch.from_numpy(np.sin(2 * np.pi * TONE_HZ * np.arange(20_000) / from_hz)).float()
    resampled = resample(waveform, from_hz, to_hz)
    assert len(resampled) == round(20_000 * to_hz / from_hz)
    expected = np.sin(2 * np.pi * TONE_HZ * np.arange(len(resampled)) / to_hz)
    np.testing.assert_allclose(resampled[2_000:-2_000].numpy(), expected[2_000:-2_000], rtol=0, atol=1e-4)


def test_resampling_leaves_nothing_of_what_the_new_rate_cannot_hold():
    waveform = torch.from_numpy(np.sin(2 * np.pi * 15_000 * np.arange(20_000) / 48_000)).float()
    assert resample(waveform, 48_000, RATE_HZ)[2_000:-2_000].abs().max() < 1e-5


def test_equal_rates_change_nothing():
    waveform = torch.randn(100)
    assert resample(waveform, RATE_HZ, RATE_HZ) is waveform


def test_digest_is_the_files_sha256(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
