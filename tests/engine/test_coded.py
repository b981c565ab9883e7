"""Candidates that are no VQVAE on mels: measured on waveforms, and left out by name where they lack a part."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
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
from vqbench.stats.columns import several

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
    table = next(t for t in outcome.run.tables if (t.candidate, t.group) == ("same", "token_agreement.natural.q1"))
    written = [code for row in several(table.columns["gpt_codes"]).rows() for code in row.tolist()]
    most = Counter(written).most_common(1)[0][1]
    assert agreed["token_agreement.natural.q1.floor"] == most / len(written) < 1, "the most frequent code, always"
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


def test_all_that_cannot_be_opened_is_named_with_its_line(tmp_path: Path) -> None:
    wrong = [
        {"name": "a", "tokenizer": "opus", "options": {"sample_rate": 8000}},
        {"name": "b", "tokenizer": "codec2", "options": {"mode": "700D"}},
        {"name": "c", "command": ["no-such-program"]},
    ]
    with pytest.raises(ManyErrors) as caught:
        measure(tmp_path, wrong)
    lines = (tmp_path / "tiny.yaml").read_text().splitlines()
    for fault, name, key in zip(caught.value.errors, "abc", ("options", "options", "command"), strict=True):
        found = re.match(rf"{tmp_path}/tiny.yaml:(\d+): candidate {name}", str(fault))
        assert found and key in lines[int(found[1]) - 1], str(fault)


def program(folder: Path, name: str, code: str = "") -> dict[str, object]:
    """A candidate in a process of its own: the VQVAE `small`, with `code` run on its codes."""
    (folder / f"{name}.py").write_text(VQVAE.replace("# changed here", code))
    return {"name": name, "command": [sys.executable, f"{name}.py", "small.safetensors"]}


VQVAE = """\
import json
import sys
from pathlib import Path

import soundfile
import torch

from vqbench.audio.mel import MelFrontEnd
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.tokenizers.protocol import encode

vqvae = load_tokenizer(Path(sys.argv[1]))
torch.set_num_threads(1)
stream = [vqvae.token_rate_hz, vqvae.codebook_size]
print(json.dumps({"vqbench": 1, "sample_rate_hz": 22050, "streams": [stream], "decodes": False}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    for wav, name in zip(request["wav"], request["codes"]):
        waveform = torch.from_numpy(soundfile.read(wav, dtype="float32")[0])
        with torch.inference_mode():
            (codes,) = encode(vqvae, [MelFrontEnd()(waveform)])
        # changed here
        Path(name).write_text(json.dumps([codes.tolist()]))
    print("{}", flush=True)
"""


def test_a_program_is_held_against_the_tokens_of_a_vqvae_and_need_not_decode(tmp_path: Path) -> None:
    outcome = measure(
        tmp_path,
        [
            {"name": "small", "checkpoint": "small.safetensors"},
            program(tmp_path, "same"),
            program(tmp_path, "late", "codes = torch.cat([codes[:1], codes[:-1]])"),
            OPUS,
        ],
        metrics=["token_agreement", "codebook", "reconstruction", "throughput"],
        reference="small",
        gate=["token_agreement.natural.raw >= 0.9"],
        throughput={"batch_sizes": [1], "repetitions": 2, "warmup": 0, "segment_s": 0.5},
        min_clips=1,
    )
    same, late, small = (figures(outcome, name) for name in ("same", "late", "small"))
    assert same["token_agreement.natural.raw"] == 1.0 and same["token_agreement.natural.edit_rate"] == 0.0
    assert (late["token_agreement.natural.raw"] or 0) < 0.5
    # One is lost at the end of each of three clips, and one is written twice.
    assert 0 < (late["token_agreement.natural.edit_rate"] or 0) < 0.05
    # Nobody sees into its codebook.
    assert "token_agreement.natural.top5" not in same and "token_agreement.natural.codebook_distance" not in same
    assert same["codebook.entropy_bits"] == small["codebook.entropy_bits"]
    # What needs a way back is not measured; what is left of speed is the way there.
    assert not [name for name in same if name.startswith("reconstruction.")]
    timed = {name for name in same if name.startswith("throughput.")}
    assert timed == {"throughput.encode_rtfx.b1", "throughput.encode_tokens_per_s.b1"}
    bits = figures(outcome, "opus")
    assert bits["throughput.rtfx"] is not None and "throughput.tokens_per_s" not in bits
    lost = next(t for t in outcome.run.tables if (t.candidate, t.group) == ("opus", "token_agreement.natural"))
    assert set(lost.unscored.values()) == {"writes bits and no codes, where small writes one of tokens"}
    assert "same only encodes: what is measured on copies is not measured of it" in outcome.run.provenance["notes"]
    judged = {one.candidate: one.status for one in gate(outcome.run).outcomes}
    assert judged == {"same": "pass", "late": "fail", "opus": "fail"}
    save_run(outcome.run, tmp_path / "run")
    assert load_run(tmp_path / "run") == outcome.run


@needs_codec2
def test_a_rule_on_agreement_does_not_judge_the_reference(tmp_path: Path) -> None:
    rule = "token_agreement.natural.q1.raw >= 1"
    candidates = [CODEC2, {**CODEC2, "name": "same"}]
    outcome = measure(tmp_path, candidates, metrics=["token_agreement"], reference="codec2", gate=[rule])
    assert outcome.run.suite.reference == "codec2"
    assert [one.candidate for one in gate(outcome.run).outcomes] == ["same"]


def test_a_candidate_of_which_nothing_comes_is_unscored_by_name(tmp_path: Path) -> None:
    (tmp_path / "adapter.py").write_text(SILENT)
    outcome = measure(tmp_path, [OPUS, {"name": "mine", "command": [sys.executable, "adapter.py"]}])
    assert all(value is None for value in figures(outcome, "mine").values())
    reasons = {reason for t in outcome.run.tables if t.candidate == "mine" for reason in t.unscored.values()}
    assert reasons == {"the tokenizer says: no"}
    assert figures(outcome, "opus")["reconstruction.mr_stft"] is not None


SILENT = """\
import json, sys
print('{"vqbench": 1, "sample_rate_hz": 16000, "streams": [[50, 8]]}', flush=True)
for line in sys.stdin:
    print(json.dumps({"failed": {str(n): "no" for n in range(len(json.loads(line)["wav"]))}}), flush=True)
"""


@needs_codec2
def test_the_shipped_suite_of_anchors_runs(tmp_path: Path) -> None:
    shipped = load_suite(SHIPPED.parent / "anchors.yaml")
    data = shipped.data.model_copy(update={"speech": shipped.data.speech.model_copy(update={"limit": 2})})
    few = shipped.model_copy(update={"data": data, "metrics": ("bitrate", "reconstruction", "codebook")})
    run = run_suite(few, Cache(tmp_path / "cache"), Silent()).run
    spent = {r.candidate: r.value or 0.0 for r in run.results if r.metric == "bitrate.bits_per_second"}
    assert list(spent) == [one.name for one in shipped.candidates]
    for name, nominal in (("codec2-700c", 700), ("codec2-1300", 1300), ("codec2-3200", 3200)):
        assert spent[name] == pytest.approx(nominal, rel=0.02)
    assert spent["codec2-3200"] < spent["opus-8k"] < 9000 < 27_000 < spent["opus-30k"] < 36_000


@needs_codec2
def test_bits_cannot_be_held_against_codes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="opus writes bits and no codes"):
        measure(tmp_path, [OPUS, CODEC2], metrics=["token_agreement"], reference="opus")
