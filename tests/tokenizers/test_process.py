"""A candidate in a process of its own: what it does wrong is named, and one clip costs no other."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from vqbench.errors import CheckpointError, DataError
from vqbench.tokenizers import process
from vqbench.tokenizers.process import Process
from vqbench.tokenizers.protocol import can_decode, codes_of

DOCUMENT = Path(__file__).parents[2] / "docs/tokenizers.md"


def adapter() -> str:
    """The program of the document."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if "sys.stdin" in block)


def start(tmp_path: Path, content: str) -> Process:
    path = tmp_path / "adapter.py"
    path.write_text(content)
    return Process([sys.executable, str(path)])


def speech(*lengths: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.rand(n, generator=draw) - 0.5) for n in lengths]


def test_the_documents_program_gives_speech_back(tmp_path: Path) -> None:
    program = adapter()
    assert len(program.strip().splitlines()) <= 20
    tokenizer = start(tmp_path, program)
    waveforms = speech(1600, 801)
    codes = tokenizer.encode(waveforms)
    assert [[len(row) for row in one] for one in codes] == [[1600], [801]]
    back = tokenizer.decode(codes, [1600, 801])
    for original, copy in zip(waveforms, back, strict=True):
        assert (original - copy).abs().max() <= 1 / 127
    assert tokenizer.bits(codes[0]) == 1600 * 8


def test_its_files_are_part_of_the_digest(tmp_path: Path) -> None:
    before = start(tmp_path, adapter()).digest
    assert start(tmp_path, adapter()).digest == before
    assert start(tmp_path, adapter() + "# another\n").digest != before


def test_where_its_files_lie_is_no_part_of_the_digest(tmp_path: Path) -> None:
    digests = []
    for place, weights in (("here", "1"), ("there", "1"), ("elsewhere", "2")):
        (tmp_path / place / "model").mkdir(parents=True)
        (tmp_path / place / "model/weights.bin").write_text(weights)
        (tmp_path / place / "adapter.py").write_text(adapter())
        command = [sys.executable, str(tmp_path / place / "adapter.py"), str(tmp_path / place / "model")]
        digests.append(Process(command).digest)
    assert digests[0] == digests[1] != digests[2]


def test_one_that_only_encodes_says_so(tmp_path: Path) -> None:
    assert can_decode(start(tmp_path, adapter()))
    assert not can_decode(start(tmp_path, adapter().replace('"vqbench": 1,', '"vqbench": 1, "decodes": False,')))


def test_a_copy_of_another_length_is_no_copy(tmp_path: Path) -> None:
    tokenizer = start(tmp_path, adapter().replace("(np.array(codes) - 128)", "(np.array(codes[:-2000]) - 128)"))
    codes = [one for one in tokenizer.encode(speech(16_000)) if not isinstance(one, DataError)]
    (copy,) = tokenizer.decode(codes, [16_000])
    assert isinstance(copy, DataError) and copy.problem == "the tokenizer gave 14000 samples back of 16000"
    # What an end makes of a started frame is filled up.
    (copy,) = tokenizer.decode(codes, [14_100])
    assert not isinstance(copy, DataError) and copy.shape == (14_100,) and not copy[14_000:].any()


def test_an_answer_that_is_none_ends_the_clip_and_not_the_run(tmp_path: Path) -> None:
    wrong = adapter().replace('print("{}", flush=True)', "print('{\"failed\": [0]}', flush=True)")
    (one,) = start(tmp_path, wrong).encode(speech(100))
    assert isinstance(one, DataError) and '"failed" is no mapping' in one.problem


def test_a_clip_that_kills_it_costs_no_other(tmp_path: Path) -> None:
    deadly = adapter().replace("    request = json.loads(line)\n", KILLED_BY_LENGTH)
    assert deadly != adapter()
    tokenizer = start(tmp_path, deadly)
    codes = tokenizer.encode(speech(400, 666, 500))
    assert [isinstance(one, DataError) for one in codes] == [False, True, False]
    assert "exit code 3; it wrote: I cannot bear it" in codes[1].problem


KILLED_BY_LENGTH = """    request = json.loads(line)
    if any(len(soundfile.read(path)[0]) == 666 for path in request["wav"] if request["do"] == "encode"):
        print("I cannot bear it", file=sys.stderr, flush=True)
        sys.exit(3)
"""


def test_silence_is_not_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "CLIP_S", 0.3)
    silent = adapter().replace("    request = json.loads(line)\n", "    import time; time.sleep(30)\n")
    (one,) = start(tmp_path, silent).encode(speech(400))
    assert isinstance(one, DataError) and "nothing was heard of it for 0.3 s" in one.problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import sys; sys.exit('no model')", "exit code 1; it wrote: no model"),
        ("print('hello')", "it wrote 'hello"),
        ("print('{\"vqbench\": 9}')", "was expected"),
        ('print(\'{"vqbench": 1, "sample_rate_hz": 16000}\')', "the tokenizer says"),
        ('print(\'{"vqbench": 1, "sample_rate_hz": 16000, "streams": [[50]]}\')', "the tokenizer says"),
        ('print(\'{"vqbench": 1, "sample_rate_hz": 16000, "streams": [[50, 1.5]]}\')', "the tokenizer says"),
        ('print(\'{"vqbench": 1, "sample_rate_hz": 16000, "streams": [[50, true]]}\')', "the tokenizer says"),
        ('print(\'{"vqbench": 1, "sample_rate_hz": 16000, "streams": [[1e999, 8]]}\')', "the tokenizer says"),
        ('print("[" * 100000)', "a line of JSON was expected"),
    ],
)
def test_what_does_not_say_what_it_is_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        start(tmp_path, content)


def test_a_program_that_is_not_there_is_refused() -> None:
    with pytest.raises(CheckpointError, match="cannot be started: No such file"):
        Process(["/nowhere/python", "adapter.py"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("[[300] * len(x)]", "wrote codes from 300 to 300, where they go from 0 to 255"),
        ("[list(codes), list(codes)]", "wrote 2 streams of codes, where it has 1"),
        ("[list(codes)[::2]]", "wrote 8000 codes of 1.00 s, where 16000 a second are 16000"),
        ("[[1.7] * len(x)]", "codes that are no whole numbers"),
        ("[[True] * len(x)]", "codes that are no whole numbers"),
        ("[[list(codes)]]", "one after the other"),
        ("'nonsense'", "wrote no codes"),
    ],
)
def test_wrong_codes_are_no_codes(tmp_path: Path, wrong: str, message: str) -> None:
    content = adapter().replace("[codes.tolist()]", wrong.replace("list(codes)", "codes.tolist()"))
    assert content != adapter()
    (one,) = codes_of(start(tmp_path, content), speech(16_000))
    assert isinstance(one, DataError) and message in one.problem
