"""What a GPT is trained on, read and tokenised once: mels, codes, text tokens, speakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from vqbench.audio.mel import MelFrontEnd
from vqbench.data.manifest import Clip
from vqbench.data.recordings import load_clip
from vqbench.files import write_whole
from vqbench.progress import Progress
from vqbench.tokenizers.protocol import MelTokenizer, encode

_AT_ONCE = 64

_TOKENIZER = "vqbench.tokenizer"


@dataclass(frozen=True)
class RaggedTensor:
    """Rows of different length, end to end: row i is `flat[..., starts[i] : starts[i + 1]]`."""

    flat: Tensor
    starts: Tensor

    @classmethod
    def of(cls, rows: Sequence[Tensor]) -> RaggedTensor:
        """Joins rows along their last dimension."""
        starts = torch.tensor([0, *(row.shape[-1] for row in rows)]).cumsum(0)
        return cls(torch.cat(list(rows), dim=-1), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> Tensor:
        return self.flat[..., int(self.starts[index]) : int(self.starts[index + 1])]


@dataclass(frozen=True)
class Speech:
    """Utterances, the last `n_validation` of them held out.

    Attributes:
        mels: (n_mels, T) float16 each.
        codes: for each phase, (L,) int16 each, of the mel without its first `phase` frames.
        texts: (T,) int16 each, as `TextEncoder` gives them.
        speakers: (n,) int64, numbered.
    """

    mels: RaggedTensor
    codes: tuple[RaggedTensor, ...]
    texts: RaggedTensor
    speakers: Tensor
    n_validation: int

    @property
    def n_training(self) -> int:
        """Utterances to train on, the first ones."""
        return len(self.mels) - self.n_validation


def read_speech(
    clips: Sequence[Clip],
    tokenizer: MelTokenizer,
    encode_text: Callable[[str], Tensor],
    n_validation: int,
    progress: Progress,
    phases: int = 1,
) -> Speech:
    """Reads all clips and tokenises them.

    Args:
        clips: with text and speaker; the last `n_validation` are held out.
        tokenizer: writes the codes.
        encode_text: a text → (T,) int64.
        n_validation: how many are held out.
        progress: shows how far it is.
        phases: with 4, each utterance is tokenised as it is and without its first one, two and three mel frames: the
            same speech falls otherwise into tokens, and a small corpus stands for four.

    Raises:
        DataError: a clip cannot be read, or its text not be encoded.
    """
    front_end = MelFrontEnd(tokenizer.mel_spec)
    mels: list[Tensor] = []
    codes: tuple[list[Tensor], ...] = tuple([] for _ in range(phases))
    with progress.task("reading and tokenising speech", len(clips)) as advance, torch.inference_mode():
        for start in range(0, len(clips), _AT_ONCE):
            chunk = clips[start : start + _AT_ONCE]
            fresh = [front_end(load_clip(clip, tokenizer.mel_spec.sample_rate_hz)) for clip in chunk]
            for phase, rows in enumerate(codes):
                rows += [row.cpu().short() for row in encode(tokenizer, [mel[:, phase:] for mel in fresh])]
            mels += [mel.half() for mel in fresh]
            advance(len(chunk))
    names = sorted({clip.speaker or "" for clip in clips})
    return Speech(
        RaggedTensor.of(mels),
        tuple(RaggedTensor.of(rows) for rows in codes),
        RaggedTensor.of([encode_text(clip.text or "").short() for clip in clips]),
        torch.tensor([names.index(clip.speaker or "") for clip in clips]),
        n_validation,
    )


def save_speech(path: Path, speech: Speech, tokenizer: str) -> None:
    """Writes it as one safetensors file that names the digest of its tokens' VQVAE."""
    rows = {"mels": speech.mels, "texts": speech.texts, **{f"codes{i}": rows for i, rows in enumerate(speech.codes)}}
    tensors = {f"{name}.flat": ragged.flat.contiguous() for name, ragged in rows.items()}
    tensors |= {f"{name}.starts": ragged.starts for name, ragged in rows.items()}
    tensors |= {"speakers": speech.speakers, "n_validation": torch.tensor(speech.n_validation)}
    write_whole(path, save(tensors, metadata={_TOKENIZER: tokenizer}))


def tokenizer_of(path: Path) -> str | None:
    """The digest of the VQVAE in whose tokens this speech is; None where there is no such file."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get(_TOKENIZER)
    except (OSError, SafetensorError):
        return None


def load_speech(path: Path) -> Speech:
    """Reads what `save_speech` wrote."""
    tensors = load_file(path)

    def ragged(name: str) -> RaggedTensor:
        return RaggedTensor(tensors[f"{name}.flat"], tensors[f"{name}.starts"])

    return Speech(
        ragged("mels"),
        tuple(ragged(f"codes{i}") for i in range(sum(name.startswith("codes") for name in tensors) // 2)),
        ragged("texts"),
        tensors["speakers"],
        int(tensors["n_validation"]),
    )


def draw_like_length(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Draws a batch of `n` utterances that are sorted by length: places, (size,) int64, not far apart."""
    window = min(n, 16 * size)
    first = int(torch.randint(n - window + 1, (1,), generator=generator))
    return first + torch.randperm(window, generator=generator)[:size]


class Batches:
    """Draws batches of utterances of like length, with some training recording of each one's speaker beside it."""

    def __init__(self, speech: Speech, size: int, device: torch.device, conditioning_frames: int) -> None:
        self.speech, self.size, self.device = speech, size, device
        self.conditioning_frames = conditioning_frames
        lengths = speech.mels.starts.diff()
        self._by_length = lengths[: speech.n_training].argsort(stable=True)
        self._of_speaker = {
            name: rows[rows < speech.n_training] if (rows < speech.n_training).any() else rows
            for name in sorted(set(speech.speakers.tolist()))
            for rows in [(speech.speakers == name).nonzero().flatten()]
        }

    def draw(self, generator: torch.Generator) -> tuple[list[int], int]:
        """Training utterances, each equally likely but for the shortest and longest, and the phase of their codes."""
        rows = self._by_length[draw_like_length(len(self._by_length), self.size, generator)]
        return rows.tolist(), int(torch.randint(len(self.speech.codes), (1,), generator=generator))

    def validation(self) -> list[int]:
        """The held-out utterances."""
        return list(range(self.speech.n_training, len(self.speech.mels)))

    def texts(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(B, T) int64 filled with zeros, and (B,) their lengths."""
        return self._padded([self.speech.texts[row] for row in rows], 0)

    def codes(self, rows: Sequence[int], phase: int, fill: int) -> tuple[Tensor, Tensor]:
        """(B, L) int64 filled with `fill`, and (B,) their lengths."""
        return self._padded([self.speech.codes[phase][row] for row in rows], fill)

    def conditioning(self, rows: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crops of recordings of the speakers of these rows, one a speaker, which is less to encode than one a row.

        Returns:
            (S, n_mels, conditioning_frames) float32, and for each row which of them is its speaker's, (B,) int64.
        """
        n = self.conditioning_frames
        speakers = [int(self.speech.speakers[row]) for row in rows]
        present = sorted(set(speakers))
        crops = []
        for speaker in present:
            others = self._of_speaker[speaker]
            mel = self.speech.mels[int(others[torch.randint(len(others), (1,), generator=generator)])]
            start = int(torch.randint(max(1, mel.shape[-1] - n + 1), (1,), generator=generator))
            crop = mel[:, start : start + n]
            # A recording shorter than the crop is heard again from its start.
            crops.append(crop.repeat(1, -(-n // crop.shape[-1]))[:, :n].float())
        which = torch.tensor([present.index(speaker) for speaker in speakers], device=self.device)
        return torch.stack(crops).to(self.device), which

    def _padded(self, rows: Sequence[Tensor], fill: int) -> tuple[Tensor, Tensor]:
        padded = torch.nn.utils.rnn.pad_sequence([row.long() for row in rows], batch_first=True, padding_value=fill)
        return padded.to(self.device), torch.tensor([len(row) for row in rows], device=self.device)
