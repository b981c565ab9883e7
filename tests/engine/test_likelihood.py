"""How likely a teacher's GPT finds what candidates write: by a loop over single tokens, and as a run tells it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hearable_pairs import true_vqvae
from small_trainings import write_chirps
from tiny_teacher import make_teacher

from vqbench.audio.io import load_waveform
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.suite import Suite, load_suite
from vqbench.data.manifest import Clip, read_manifest, write_manifest
from vqbench.data.recordings import load_clip
from vqbench.engine.cache import Cache
from vqbench.engine.likelihood import Asking, make_askings
from vqbench.engine.rehearsal import rehearse
from vqbench.engine.runner import Outcome, run_suite
from vqbench.errors import DataError, ManyErrors, VqbenchError
from vqbench.judging.gate import gate
from vqbench.judging.plausibility import check_plausibility
from vqbench.metrics.likelihood import likelihood_cells, unigram_sums
from vqbench.progress import Silent
from vqbench.records.run import Table
from vqbench.records.store import load_run, save_run
from vqbench.stats.columns import several
from vqbench.teachers.protocol import Foretold
from vqbench.teachers.tortoise.conditioning import SAMPLE_RATE_HZ
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer, save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer

N = 6
TEXTS = ["one two", "three four five", "six", "seven eight", "nine ten eleven twelve", "thirteen"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six chirps by two speakers, who say different things, and three VQVAEs: of 64, 64 and 128 codes."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    clips = read_manifest(write_chirps(folder, n=N + 1))[1:]
    speech = [
        replace(clip, text=text, speaker="ab"[n % 2]) for n, (clip, text) in enumerate(zip(clips, TEXTS, strict=True))
    ]
    write_manifest(folder / "speech.jsonl", speech)
    save_checkpoint(folder / "one.safetensors", true_vqvae(), MelSpec(), {})
    for name, size in (("two", 64), ("large", 128)):
        torch.manual_seed(size)
        model = DVAE(Dimensions(codebook_size=size, codebook_dim=8, hidden_dim=8, num_resnet_blocks=1))
        save_checkpoint(folder / f"{name}.safetensors", model, MelSpec(), {})
    return folder


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = replace(make_teacher(), tokenizer=DVAETokenizer(true_vqvae(), MelSpec()))
    for module in ("bench", "question", "assignment"):
        monkeypatch.setattr(f"vqbench.engine.{module}.open_teacher", lambda *_: teacher)


def suite_of(folder: Path, *names: str, **changes: Any) -> Suite:
    content: dict[str, Any] = {
        "name": "ask",
        "teacher": "pocket",
        "data": {"speech": {"manifest": "speech.jsonl"}},
        "candidates": [{"name": name, "checkpoint": f"{name}.safetensors"} for name in names],
        "metrics": ["likelihood"],
        "interval": {"resamples": 100},
        "min_clips": 2,
        **changes,
    }
    (folder / "suite.yaml").write_text(json.dumps(content))
    return load_suite(folder / "suite.yaml")


def measure(folder: Path, cache: Path, *names: str, **changes: Any) -> Outcome:
    return run_suite(suite_of(folder, *names, **changes), Cache(cache), Silent())


def table_of(outcome: Outcome, name: str) -> Table:
    return next(one for one in outcome.run.tables if (one.candidate, one.group) == (name, "likelihood"))


def figures(outcome: Outcome, name: str) -> dict[str, float | None]:
    return {one.metric: one.value for one in outcome.run.results if one.candidate == name}


def test_each_figure_is_what_a_loop_over_single_tokens_says(project: Path, tmp_path: Path) -> None:
    data = {"speech": {"manifest": "speech.jsonl"}, "pairs": {"n": 4, "voices": {"manifest": "speech.jsonl"}}}
    outcome = measure(project, tmp_path, "two", data=data, metrics=["token_agreement", "likelihood"])
    clips, teacher = read_manifest(project / "speech.jsonl"), make_teacher()
    askings = make_askings(clips, seed=0)
    tokenizer, truth = load_tokenizer(project / "two.safetensors"), DVAETokenizer(true_vqvae(), MelSpec())
    front_end, table = MelFrontEnd(MelSpec()), table_of(outcome, "two")
    sums = dict.fromkeys(("tokens", "nats", "first", "text", "voice", "true", "true_tokens"), 0.0)
    for clip, written in zip(clips, several(table.columns["codes"]).rows(), strict=True):
        asking = askings[clip.id]
        assert isinstance(asking, Asking)
        mel = front_end(load_waveform(clip.path, MelSpec().sample_rate_hz))
        (codes,) = tokenizer.quantize(tokenizer.latents([mel]))
        assert codes.tolist() == written.tolist()
        (true,) = truth.quantize(truth.latents([mel]))
        assert asking.wrong_text is not None and asking.wrong_voice is not None
        nats, first = _by_loop(teacher, asking.clip.text or "", asking.voice, codes)
        by_text, _ = _by_loop(teacher, asking.wrong_text, asking.voice, codes)
        by_voice, _ = _by_loop(teacher, asking.clip.text or "", asking.wrong_voice, codes)
        of_true, _ = _by_loop(teacher, asking.clip.text or "", asking.voice, true)
        for name, value in (
            *(("tokens", len(codes)), ("nats", nats), ("first", first), ("text", by_text - nats)),
            *(("voice", by_voice - nats), ("true", of_true), ("true_tokens", len(true))),
        ):
            sums[name] += value
    found = figures(outcome, "two")
    n = sums["tokens"]
    assert found["likelihood.nats"] == pytest.approx(sums["nats"] / n, abs=1e-4)
    assert found["likelihood.foretold"] == sums["first"] / n
    assert found["likelihood.text_gain"] == pytest.approx(sums["text"] / n, abs=1e-4)
    assert found["likelihood.voice_gain"] == pytest.approx(sums["voice"] / n, abs=1e-4)
    ceiling, chance = sums["true"] / sums["true_tokens"], math.log(64)
    assert found["likelihood.ceiling"] == pytest.approx(ceiling, abs=1e-4)
    assert found["likelihood.uniform"] == pytest.approx(chance)
    unigram = found["likelihood.unigram"]
    assert unigram is not None and abs(unigram - chance) > 0.01, "what the GPT wrote is no even spread"
    thirds = [found[f"likelihood.nats_{part}"] for part in ("first", "middle", "last")]
    assert min(map(float, thirds)) <= sums["nats"] / n <= max(map(float, thirds))  # type: ignore[arg-type]


def _by_loop(teacher: Any, text: str, voice: tuple[Clip, ...], codes: torch.Tensor) -> tuple[float, int]:
    """Each token alone, shown what came before and nothing else."""
    (heard,) = teacher.voices({"x": [load_clip(one, SAMPLE_RATE_HZ) for one in voice]})
    nats, first = 0.0, 0
    with teacher.gpt.loaded() as gpt, torch.no_grad():
        encoded = teacher.encode(text)
        for at, token in enumerate(codes.tolist()):
            before = codes[:at]
            logits = gpt(heard.gpt[None], encoded[None], before[None], torch.tensor([len(encoded)])).mel[0, at]
            nats -= float(logits.double().log_softmax(0)[token])
            first += int(logits.argmax()) == token
    return nats, first


def test_the_true_tokenizer_stands_at_its_ceiling_and_nothing_is_asked_twice(project: Path, tmp_path: Path) -> None:
    first = measure(project, tmp_path, "one", "two")
    assert figures(first, "one")["likelihood.nats"] == figures(first, "one")["likelihood.ceiling"]
    assert figures(first, "one")["likelihood.ceiling"] == figures(first, "two")["likelihood.ceiling"]
    rows = sorted(path.stat().st_mtime_ns for path in tmp_path.glob("rows-likelihood/*/*"))
    # The candidate `one` is the true tokenizer by another name.
    assert len(rows) == 2 * N
    again = measure(project, tmp_path, "one", "two")
    assert again.run.results == first.run.results
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.glob("rows-likelihood/*/*")) == rows
    save_run(first.run, tmp_path / "run")
    assert load_run(tmp_path / "run").results == first.run.results


def test_codes_that_the_gpt_does_not_have_are_named_and_pass_nothing(project: Path, tmp_path: Path) -> None:
    outcome = measure(project, tmp_path, "two", "large", gate=["likelihood.nats <= 99"])
    lost = table_of(outcome, "large").unscored
    assert lost and all("expected [0, 64)" in reason or "codes" in reason for reason in lost.values())
    judged = {one.candidate: one.status for one in gate(outcome.run).outcomes}
    assert judged["two"] == "pass" and judged["large"] != "pass"


def test_what_cannot_be_asked_says_why() -> None:
    def clip(name: str, text: str | None, speaker: str | None) -> Clip:
        return Clip(id=name, path=Path(f"{name}.wav"), text=text, speaker=speaker, sha256=name * 8, duration_s=1.0)

    clips = [clip("a", "yes", "x"), clip("b", None, "x"), clip("c", "no", None), clip("d", "no", "y")]
    found = make_askings(clips, seed=0)
    reasons = {name: str(one) for name, one in found.items() if isinstance(one, DataError)}
    assert "no transcript" in reasons["b"] and "names no speaker" in reasons["c"]
    assert "only recording of y" in reasons["d"] and "a" not in reasons


def test_a_recording_is_never_its_own_voice_nor_its_text_the_wrong_one(project: Path) -> None:
    clips = read_manifest(project / "speech.jsonl")
    found = make_askings(clips, seed=3)
    assert found == make_askings(clips, seed=3)
    for clip in clips:
        one = found[clip.id]
        assert isinstance(one, Asking) and one.wrong_voice is not None
        assert clip not in one.voice and {other.speaker for other in one.voice} == {clip.speaker}
        assert {other.speaker for other in one.wrong_voice} != {clip.speaker}
        assert one.wrong_text != clip.text
    wrong = [[one.wrong_text for one in make_askings(clips, seed).values()] for seed in range(8)]  # type: ignore[union-attr]
    assert len({tuple(texts) for texts in wrong}) > 1, "another seed draws others"


def test_sums_of_a_recording_by_hand() -> None:
    told = Foretold(torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([True, False, True, True]))
    other = Foretold(torch.tensor([2.0, 2.0, 8.0, 0.0]), torch.tensor([False] * 4))
    cells = likelihood_cells(torch.tensor([5, 6, 7]), told, other, None, n_codes=8)
    # The last is the stop, which no candidate writes.
    assert (cells["nats"], cells["tokens"], cells["foretold"]) == (7.0, 3.0, 2.0)
    assert (cells["text_gain"], cells["text_tokens"]) == (5.0, 3.0)
    assert (cells["voice_gain"], cells["voice_tokens"]) == (0.0, 0.0)
    assert cells["gain"] == pytest.approx(3 * math.log(8) - 7)
    assert [cells[f"{part}_nats"] for part in ("first", "middle", "last")] == [1.0, 2.0, 4.0]
    # Codes 0 to 3 were written 3, 1, 0 and 0 times, and 1/2 is added to each.
    written = [torch.tensor([0, 0, 1]), torch.tensor([0])]
    assert unigram_sums([[0, 3], []], written, 4) == pytest.approx([-math.log(3.5 / 6) - math.log(0.5 / 6), 0.0])


def test_a_gpt_that_knows_nobodys_tokens_is_out_of_its_depth(project: Path, tmp_path: Path) -> None:
    outcome = measure(project, tmp_path, "one", "two")
    found = {one.check: one for one in check_plausibility(outcome.run)}
    best = figures(outcome, "one")["likelihood.ceiling"]
    assert best is not None and best > math.log(64), "random weights know nothing"
    assert "even the true tokenizer's tokens cost it" in found["gpt_out_of_depth"].message
    known = replace(
        outcome.run,
        results=tuple(
            replace(one, value=0.5, ci_low=0.4, ci_high=0.6) if one.metric == "likelihood.ceiling" else one
            for one in outcome.run.results
        ),
    )
    assert "gpt_out_of_depth" not in {one.check for one in check_plausibility(known)}


def test_without_a_teacher_it_is_refused(project: Path) -> None:
    with pytest.raises((ManyErrors, VqbenchError), match="likelihood needs a teacher"):
        suite_of(project, "one", teacher=None)


def test_a_dry_run_counts_it(project: Path) -> None:
    stages = {stage.name: stage for stage in rehearse(suite_of(project, "one", "two"), Silent()).stages}
    # Two candidates, and the true tokenizer, which is one of them by another name.
    assert stages["likelihood of tokens"].units == 2 * N
    assert stages["likelihood of tokens"].seconds is not None
