"""Candidates that are no VQVAE on mels: measured on waveforms, and left out by name where they lack a part."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from vqbench.config.suite import load_suite
from vqbench.engine.cache import Cache
from vqbench.engine.runner import Outcome, run_suite
from vqbench.errors import ConfigError, ManyErrors, VqbenchError
from vqbench.judging.compare import compare_runs
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.progress import Silent
from vqbench.records.store import load_run, save_run

SHIPPED = Path(__file__).parents[2] / "suites/checkpoints"
CODEC2 = {"name": "codec2", "tokenizer": "codec2", "options": {"mode": "700C"}}
OPUS = {"name": "opus", "tokenizer": "opus", "options": {"compression": 1.0}}
needs_codec2 = pytest.mark.skipif(shutil.which("c2enc") is None, reason="the package codec2 is not installed")


def measure(folder: Path, candidates: list[dict[str, object]], **changes: object) -> Outcome:
    (folder / "pyproject.toml").touch()
    if not (folder / "small.safetensors").exists():
        shutil.copy(SHIPPED / "small.safetensors", folder / "small.safetensors")
    content = {
        "name": "tiny",
        "data": {"speech": {"corpus": "tortoise-voices", "split": "test", "limit": 3}},
        "candidates": candidates,
        "metrics": ["bitrate", "reconstruction", "codebook"],
        "interval": {"resamples": 100},
        "device": "cpu",
        **changes,
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content))
    return run_suite(load_suite(folder / "tiny.yaml"), Cache(folder / "cache"), Silent())


def figures(outcome: Outcome, name: str) -> dict[str, float | None]:
    return {result.metric: result.value for result in outcome.run.results if result.candidate == name}


@needs_codec2
def test_what_a_codec_has_is_measured_and_what_it_has_not_is_no_figure(tmp_path: Path) -> None:
    outcome = measure(tmp_path, [{"name": "small", "checkpoint": "small.safetensors"}, CODEC2, OPUS])
    small, codec2, opus = (figures(outcome, name) for name in ("small", "codec2", "opus"))
    everybodys = {"reconstruction.mr_stft", "reconstruction.mcd_db", "reconstruction.mcd_speech_db"}
    for found in (small, codec2, opus):
        assert all((found[name] or 0) > 0 for name in (*everybodys, "bitrate.bits_per_second"))
    assert codec2["bitrate.bits_per_second"] == pytest.approx(700, rel=0.02)
    assert small["bitrate.bits_per_second"] == pytest.approx(9 * 22_050 / 1024, rel=0.02)
    assert {name for name in small if name.startswith("reconstruction.")} > everybodys
    assert {name for name in codec2 if name.startswith("reconstruction.")} == everybodys
    streams = [codec2[f"codebook.q{q}.entropy_bits"] for q in (1, 2, 3, 4)]
    assert all(0 < (bits or 0) <= most for bits, most in zip(streams, (9, 9, 4, 6), strict=True))
    assert not [name for name in small if name.startswith("codebook.q")]
    assert not [name for name in opus if name.startswith("codebook.")]
    # Nothing is lost on the way to a file, and nobody is compared on what one of them lacks.
    save_run(outcome.run, tmp_path / "run")
    again = load_run(tmp_path / "run")
    assert again == outcome.run
    table = compare_runs([Selection("run", again)], ["reconstruction.mel_l1", "reconstruction.mcd_db"])
    told = {(c.candidate, c.metric): c.delta for c in table.comparisons}
    assert any(metric == "reconstruction.mcd_db" and delta is not None for (_, metric), delta in told.items())
    assert all(delta is None for (_, metric), delta in told.items() if metric == "reconstruction.mel_l1")


@needs_codec2
def test_a_rule_on_what_a_candidate_lacks_fails_it_by_name(tmp_path: Path) -> None:
    rules = ["reconstruction.mel_l1 <= 9", {"rule": "bitrate.bits_per_second <= 800", "candidates": ["codec2"]}]
    outcome = measure(tmp_path, [{"name": "small", "checkpoint": "small.safetensors"}, CODEC2], gate=rules, min_clips=1)
    found = {(one.candidate, one.metric): one for one in gate(outcome.run).outcomes}
    lacking = found["codec2", "reconstruction.mel_l1"]
    assert lacking.status == "fail" and "was not measured for codec2" in lacking.reason
    assert found["small", "reconstruction.mel_l1"].status != "fail"


@needs_codec2
def test_codes_are_held_against_a_reference_stream_by_stream(tmp_path: Path) -> None:
    same = {**CODEC2, "name": "same"}
    outcome = measure(
        tmp_path,
        [CODEC2, same, {"name": "other", "tokenizer": "codec2", "options": {"mode": "450"}}],
        metrics=["token_agreement"],
        reference="codec2",
    )
    agreed = figures(outcome, "same")
    assert [agreed[f"token_agreement.natural.q{q}.raw"] for q in (1, 2, 3, 4)] == [1.0] * 4
    assert agreed["token_agreement.natural.q4.edit_rate"] == 0.0
    assert not figures(outcome, "codec2"), "nobody is held against himself"
    lost = next(t for t in outcome.run.tables if (t.candidate, t.group) == ("other", "token_agreement.natural.q1"))
    assert set(lost.unscored.values()) == {"writes 3 streams, where codec2 writes 4"}


def test_a_program_is_a_candidate_and_a_second_run_starts_nothing_anew(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/tokenizers.md").read_text(encoding="utf-8")
    program = next(b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "sys.stdin" in b)
    counting = program.replace("    request = json.loads(line)\n", "    request = json.loads(line)\n" + COUNTING)
    (tmp_path / "adapter.py").write_text(counting)
    candidates = [{"name": "mine", "command": [sys.executable, "adapter.py"]}]
    first = measure(
        tmp_path,
        candidates,
        metrics=["bitrate", "reconstruction", "codebook", "throughput"],
        throughput={"batch_sizes": [1], "repetitions": 2, "warmup": 0, "segment_s": 0.2},
    )
    found = figures(first, "mine")
    assert found["bitrate.bits_per_second"] == pytest.approx(16_000 * 8, rel=0.01)
    assert (found["throughput.rtfx"] or 0) > 0 and "throughput.mel_rtfx.b1" not in found
    assert found["codebook.share_used"] is not None
    before = (tmp_path / "asked.txt").read_text()
    second = measure(tmp_path, candidates)
    assert (tmp_path / "asked.txt").read_text() == before
    assert figures(second, "mine")["reconstruction.mr_stft"] == found["reconstruction.mr_stft"]


COUNTING = """\
    with open(__file__.replace("adapter.py", "asked.txt"), "a") as asked:
        asked.write(request["do"])
"""


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({"name": "a", "tokenizer": "codec3"}, "'codec3' is not a known tokenizer .did you mean 'codec2'"),
        ({"name": "a", "tokenizer": "opus", "checkpoint": "small.safetensors"}, "exactly one of"),
        ({"name": "a", "checkpoint": "small.safetensors", "options": {"mode": 1}}, "options belong to a tokenizer"),
        ({"name": "a", "tokenizer": "opus", "options": {"sample_rate_hz": 1}}, "Opus knows no 1 Hz"),
        ({"name": "a", "command": ["no-such-program"]}, "cannot be started: No such file"),
    ],
)
def test_what_cannot_be_a_candidate_is_refused(tmp_path: Path, candidate: dict[str, object], message: str) -> None:
    with pytest.raises((VqbenchError, ManyErrors), match=message):
        measure(tmp_path, [candidate])


@needs_codec2
def test_bits_cannot_be_held_against_codes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="opus writes bits and no codes"):
        measure(tmp_path, [OPUS, CODEC2], metrics=["token_agreement"], reference="opus")
