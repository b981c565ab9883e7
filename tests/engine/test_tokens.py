"""Tokens of recordings in parquet files: the candidate's own, or those found with a GPT's help; nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import torch
from interrupting import Interrupting
from small_trainings import write_chirps
from tiny_teacher import make_teacher

from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.data.reading import read_clips
from vqbench.data.recordings import load_clip
from vqbench.engine.tokens import Helper, write_tokens
from vqbench.errors import DataError
from vqbench.progress import Silent
from vqbench.teachers.tortoise.decoding import Joining
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.tokenizers.protocol import encode


@pytest.fixture(scope="module")
def tokenizer() -> DVAETokenizer:
    torch.manual_seed(0)
    sizes = Dimensions(hidden_dim=8, codebook_size=64, codebook_dim=8, num_resnet_blocks=1)
    return DVAETokenizer(DVAE(sizes), MelSpec())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_chirps(tmp_path / "corpus", 7)


def rows(folder: Path) -> dict[str, list[object]]:
    return pyarrow.dataset.dataset(folder, format="parquet").to_table().to_pydict()


def test_the_encoders_own_tokens_are_written(corpus: Path, tokenizer: DVAETokenizer, tmp_path: Path) -> None:
    clips = read_clips(corpus)
    written = write_tokens(clips, tokenizer, tmp_path / "out", Silent())
    table = rows(tmp_path / "out")
    assert (written.n, written.faults) == (7, {})
    assert table["id"] == [clip.id for clip in clips] and table["text"] == [clip.text for clip in clips]
    for clip, codes in zip(clips, table["codes"], strict=True):
        (own,) = encode(tokenizer, [MelFrontEnd()(load_clip(clip, 22_050))])
        assert codes == own.tolist()


def test_with_a_gpt_other_tokens_are_found_and_without_weight_the_same(
    corpus: Path, tokenizer: DVAETokenizer, tmp_path: Path
) -> None:
    clips, teacher = read_clips(corpus), make_teacher()
    for name, weight in (("alone", None), ("mute", 0.0), ("helped", 1.0)):
        helper = None if weight is None else Helper(teacher, Joining(weight, 0.05, 2))
        write_tokens(clips, tokenizer, tmp_path / name, Silent(), helper)
    alone, mute, helped = (rows(tmp_path / name)["codes"] for name in ("alone", "mute", "helped"))
    assert mute == alone
    assert helped != alone and [len(codes) for codes in helped] == [len(codes) for codes in alone]


def test_what_cannot_be_read_keeps_its_row_with_the_reason(
    corpus: Path, tokenizer: DVAETokenizer, tmp_path: Path
) -> None:
    clips = read_clips(corpus)
    (corpus.parent / "3.wav").write_bytes(b"RIFF")
    written = write_tokens(clips, tokenizer, tmp_path / "out", Silent())
    table = rows(tmp_path / "out")
    assert written.n == 6 and list(written.faults) == ["clip-3"]
    assert table["codes"][3] is None and table["fault"][3] == written.faults["clip-3"]
    assert [fault is None for fault in table["fault"]] == [n != 3 for n in range(7)]


def test_an_interrupted_pass_goes_on_and_ends_the_same(
    corpus: Path, tokenizer: DVAETokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqbench.engine.tokens.PER_FILE", 2)
    clips = read_clips(corpus)
    write_tokens(clips, tokenizer, tmp_path / "whole", Silent())
    with pytest.raises(KeyboardInterrupt):
        write_tokens(clips, tokenizer, tmp_path / "broken", Interrupting("writing tokens", 5))
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "broken").iterdir()}
    assert len(kept) == 2
    write_tokens(clips, tokenizer, tmp_path / "broken", Silent())
    after = {path.name: path for path in (tmp_path / "broken").iterdir()}
    assert all(after[name].stat().st_mtime_ns == time for name, time in kept.items())
    for name, path in after.items():
        assert path.read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_damaged_file_is_made_anew_and_another_candidates_are_left_alone(
    corpus: Path, tokenizer: DVAETokenizer, tmp_path: Path
) -> None:
    clips, folder = read_clips(corpus), tmp_path / "out"
    write_tokens(clips, tokenizer, folder, Silent())
    file = folder / "tokens-00000.parquet"
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 1
    file.write_bytes(damaged)
    write_tokens(clips, tokenizer, folder, Silent())
    assert file.read_bytes() == whole
    torch.manual_seed(9)
    other = DVAETokenizer(DVAE(tokenizer.dvae.dimensions), MelSpec())
    with pytest.raises(DataError, match="tokens of another candidate"):
        write_tokens(clips, other, folder, Silent())
    assert file.read_bytes() == whole
    assert b"vqbench.tokens" in (pq.read_schema(file).metadata or {})
