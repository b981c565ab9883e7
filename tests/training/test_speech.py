"""The training speech: rows of different length in one tensor, and the batches that are drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vqbench.training.speech import Batches, RaggedTensor, Speech, load_speech, save_speech, tokenizer_of

PHASES = 4
CPU = torch.device("cpu")
N_MELS = 3
HELD_OUT = 99.0


def speech(n_frames: tuple[int, ...] = (9, 40, 12, 33, 21, 16, 28, 11), n_validation: int = 2) -> Speech:
    """Two speakers in turn; frame t of utterance i is i + t / 1000, all held-out frames are 99."""
    n_training = len(n_frames) - n_validation
    mels = [
        (torch.arange(n) / 1000 + i if i < n_training else torch.full((n,), HELD_OUT)).repeat(N_MELS, 1).half()
        for i, n in enumerate(n_frames)
    ]
    codes = tuple(
        RaggedTensor.of(
            [torch.arange(-(-(n - phase) // 4), dtype=torch.int16) + 10 * i for i, n in enumerate(n_frames)]
        )
        for phase in range(PHASES)
    )
    texts = RaggedTensor.of([torch.arange(1, 3 + i, dtype=torch.int16) for i in range(len(n_frames))])
    return Speech(RaggedTensor.of(mels), codes, texts, torch.arange(len(n_frames)) % 2, n_validation)


def test_ragged_gives_back_its_rows() -> None:
    rows = [torch.randn(2, n) for n in (3, 1, 5)]
    ragged = RaggedTensor.of(rows)
    assert len(ragged) == 3
    assert [ragged[i].shape[-1] for i in range(3)] == [3, 1, 5]
    assert all(torch.equal(ragged[i], rows[i]) for i in range(3))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = speech()
    assert tokenizer_of(tmp_path / "speech.safetensors") is None
    save_speech(tmp_path / "speech.safetensors", saved, "0123")
    assert tokenizer_of(tmp_path / "speech.safetensors") == "0123"
    loaded = load_speech(tmp_path / "speech.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["speech.safetensors"]
    assert (loaded.n_training, loaded.n_validation) == (6, 2)
    assert torch.equal(loaded.speakers, saved.speakers)
    pairs = [(loaded.mels, saved.mels), (loaded.texts, saved.texts), *zip(loaded.codes, saved.codes, strict=True)]
    for ours, theirs in pairs:
        assert ours.flat.dtype == theirs.flat.dtype
        assert all(torch.equal(ours[i], theirs[i]) for i in range(8))


def test_batches_are_padded_to_their_longest_row() -> None:
    batches = Batches(speech(), 4, CPU, conditioning_frames=8)
    codes, lengths = batches.codes([0, 1, 2], phase=1, fill=77)
    assert codes.dtype == torch.int64
    assert lengths.tolist() == [2, 10, 3]
    assert codes.shape == (3, 10)
    assert codes[0].tolist() == [0, 1] + [77] * 8
    assert codes[1].tolist() == list(range(10, 20))
    texts, lengths = batches.texts([0, 2])
    assert texts.tolist() == [[1, 2, 0, 0], [1, 2, 3, 4]]
    assert lengths.tolist() == [2, 4]


def test_the_same_generator_draws_the_same_batch() -> None:
    batches = Batches(speech(), 4, CPU, conditioning_frames=8)

    def draw(seed: int) -> list[object]:
        generator = torch.Generator().manual_seed(seed)
        rows, phase = batches.draw(generator)
        crops, which = batches.conditioning(rows, generator)
        return [rows, phase, crops.tolist(), which.tolist()]

    assert draw(1) == draw(1)
    assert len({str(draw(seed)) for seed in range(20)}) > 10


def test_a_batch_holds_distinct_training_utterances_and_all_phases_come() -> None:
    batches = Batches(speech(), 4, CPU, conditioning_frames=8)
    drawn = [batches.draw(torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert all(len(set(rows)) == 4 and max(rows) < 6 for rows, _ in drawn)
    assert {row for rows, _ in drawn for row in rows} == set(range(6))
    assert {phase for _, phase in drawn} == set(range(PHASES))
    assert batches.validation() == [6, 7]


def test_utterances_of_a_batch_are_of_like_length() -> None:
    many = speech(tuple(range(40, 840)), n_validation=0)
    batches = Batches(many, 2, CPU, conditioning_frames=8)
    for seed in range(20):
        rows, _ = batches.draw(torch.Generator().manual_seed(seed))
        lengths = [many.mels[row].shape[-1] for row in rows]
        assert max(lengths) - min(lengths) < 32  # of 800


@pytest.mark.parametrize("frames", [4, 8, 64])
def test_conditioning_is_of_the_rows_own_speakers_and_never_held_out(frames: int) -> None:
    batches = Batches(speech(), 4, CPU, conditioning_frames=frames)
    for seed in range(50):
        rows = [6, 7, 0, 2]  # the first two are held out themselves: their speakers' training recordings stand for them
        crops, which = batches.conditioning(rows, torch.Generator().manual_seed(seed))
        assert crops.shape == (2, N_MELS, frames)
        assert crops.dtype == torch.float32
        assert which.tolist() == [0, 1, 0, 0]
        assert not (crops == HELD_OUT).any()
        for speaker, crop in enumerate(crops):
            recording = int(crop[0, 0])
            assert recording % 2 == speaker
            frame = ((crop[0] - recording) * 1000).round()
            length = batches.speech.mels[recording].shape[-1]
            # In their order, and from the start again where the recording is too short.
            steps = frame.diff()
            assert ((steps.abs() <= 4) | (frame[1:] == 0)).all()  # half precision blurs a frame number a little
            assert frame.max() < length + 4
