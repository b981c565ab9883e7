"""Tokens without a GPT: the candidates' are held against those of one of them, or of a checkpoint, on recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vqbench.audio.io import load_waveform, save_waveform
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.suite import load_suite, select
from vqbench.data.corpora import corpus_clips
from vqbench.data.manifest import Clip, verify, write_manifest
from vqbench.engine import rehearsal
from vqbench.engine.cache import Cache
from vqbench.engine.rehearsal import rehearse
from vqbench.engine.runner import Outcome, run_suite
from vqbench.errors import VqbenchError
from vqbench.judging.asked import add_rules, narrow_rules
from vqbench.judging.compare import compare_runs
from vqbench.judging.evidence import Evidence
from vqbench.judging.gate import gate
from vqbench.judging.selection import Selection
from vqbench.progress import Silent
from vqbench.records.check import check_run
from vqbench.records.run import Run, Table
from vqbench.records.store import load_run, save_run
from vqbench.report.page.document import run_page
from vqbench.report.tables.markdown import run_markdown
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions

N_CLIPS = 12
SIZE = 16
"""Of the codebook: so few that each code is heard in many clips, as relabelling needs."""

RULE = "token_agreement.natural.raw >= 0.9"


def dvae(seed: int = 0, **changes: int) -> DVAE:
    torch.manual_seed(seed)
    sizes = {"codebook_size": SIZE, "codebook_dim": 8, "hidden_dim": 8, "num_resnet_blocks": 1, **changes}
    made = DVAE(Dimensions(**sizes))
    with torch.no_grad():
        rows = made.encoder(torch.randn(1, 80, 64 * sizes["codebook_size"]) * 2)[0].t()
        made.codebook.set_codes(rows[:: len(rows) // sizes["codebook_size"]][: sizes["codebook_size"]], 1.0)
    return made


def permuted(made: DVAE) -> DVAE:
    """The same VQVAE with every code under another name."""
    other = dvae()
    other.load_state_dict(made.state_dict())
    with torch.no_grad():
        other.codebook.set_codes(made.codebook.embed.t()[torch.arange(SIZE).roll(5)], 1.0)
    return other


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    clips = []
    for number, clip in enumerate(corpus_clips("tortoise-voices", "test", 4)):
        waveform = load_waveform(clip.path, 22_050)
        for part in range(N_CLIPS // 4):
            path = folder / f"{number}-{part}.flac"
            save_waveform(path, waveform[part * 22_050 :][:20_000], 22_050)
            clips.append(verify(Clip(path.stem, path, "", 0.0, text=f"Piece {path.stem}.", speaker=f"s{number}")))
    write_manifest(folder / "clips.jsonl", clips)
    write_manifest(folder / "others.jsonl", clips[:5])
    made = dvae()
    for name, one in {
        "official": made,
        "copy": made,
        "permuted": permuted(made),
        "fewer": dvae(1, codebook_size=8),
        "slow": dvae(2, num_layers=3),
    }.items():
        save_checkpoint(folder / f"{name}.safetensors", one, MelSpec(), {})
    return folder


@pytest.fixture
def write(project: Path, tmp_path: Path) -> Callable[..., Path]:
    """A suite about candidates of the project."""

    def written(*names: str, **changes: object) -> Path:
        content = {
            "name": "tuned",
            "data": {"speech": {"manifest": "clips.jsonl"}},
            "candidates": [{"name": name, "checkpoint": f"{name}.safetensors"} for name in names],
            "reference": "official",
            "metrics": ["token_agreement", "codebook"],
            "interval": {"resamples": 200},
            "exhibits": {"drawn": 1, "worst": 1},
            "device": "cpu",
            **changes,
        }
        path = project / f"{tmp_path.name}.yaml"
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return path

    return written


def outcome(path: Path, cache: Path) -> Outcome:
    return run_suite(load_suite(path), Cache(cache), Silent())


def figure(run: Run, candidate: str, name: str) -> float | None:
    metric = f"token_agreement.natural.{name}"
    return next((r.value for r in run.results if (r.candidate, r.metric) == (candidate, metric)), None)


def tables(run: Run) -> dict[str, Table]:
    return {table.candidate: table for table in run.tables if table.group == "token_agreement.natural"}


@pytest.fixture
def tuned(write: Callable[..., Path], tmp_path: Path) -> Outcome:
    return outcome(write("official", "copy", "permuted", gate=[RULE]), tmp_path / "cache")


def test_other_names_for_the_same_codes_are_no_agreement_and_the_gate_stops_them(tuned: Outcome) -> None:
    run = tuned.run
    check_run(run)
    assert (figure(run, "copy", "raw"), figure(run, "copy", "edit_rate")) == (1.0, 0.0)
    chance = figure(run, "permuted", "floor")
    raw, relabelled = figure(run, "permuted", "raw"), figure(run, "permuted", "relabelled")
    assert raw is not None and chance is not None and relabelled is not None
    assert raw == 0.0 < chance  # a permutation without a fixed code
    assert relabelled > 0.99
    assert figure(run, "permuted", "mutual_information_share") == pytest.approx(1.0, abs=1e-6)
    # All else is blind to it.
    usage = {r.candidate: r.value for r in run.results if r.metric == "codebook.entropy_bits"}
    assert usage["official"] == usage["permuted"]
    report = gate(run)
    assert {o.candidate: o.status for o in report.outcomes} == {"copy": "pass", "permuted": "fail"}
    assert report.status == "fail"
    assert not [finding for finding in report.findings if finding.check == "agreement_not_asked"]


def test_figures_are_those_of_counting_by_hand(tuned: Outcome, project: Path) -> None:
    from rapidfuzz.distance import Levenshtein

    theirs, ours = dvae(), permuted(dvae())
    table = tables(tuned.run)["permuted"]
    # The clips are those of data.speech, under their own names.
    assert table.row_ids == tuple(clip.id for clip in tuned.run.clips)
    for row, clip_id in enumerate(table.row_ids):
        mel = MelFrontEnd(MelSpec())(load_waveform(project / f"{clip_id}.flac", 22_050))
        with torch.inference_mode():
            wanted, heard = (made.eval().encode(mel[None])[0].tolist() for made in (theirs, ours))
        assert table.columns["tokens"][row] == len(wanted)
        assert table.columns["matches"][row] == sum(a == b for a, b in zip(wanted, heard, strict=True))
        assert table.columns["edits"][row] == Levenshtein.distance(wanted, heard)


def test_without_a_reference_the_gate_says_what_was_not_asked(write: Callable[..., Path], tmp_path: Path) -> None:
    rules = ["codebook.dead <= 100%"]
    path = write("official", "permuted", reference=None, metrics=["codebook"], gate=rules)
    report = gate(outcome(path, tmp_path / "cache").run)
    assert report.status == "pass"
    (finding,) = [finding for finding in report.findings if finding.check == "agreement_not_asked"]
    assert finding.level == "warn"
    assert "official, permuted have 16 codes each" in finding.message
    assert "`reference: official`" in finding.message


def test_the_reference_is_not_held_against_itself(tuned: Outcome, tmp_path: Path) -> None:
    run = tuned.run
    assert set(tables(run)) == {"copy", "permuted"}
    assert figure(run, "official", "raw") is None
    # A rule from the command line judges the others, too, and one about it alone is none.
    added = add_rules(run, ["token_agreement.natural.edit_rate <= 0.1"])
    assert {(o.candidate, o.status) for o in gate(added).outcomes if "edit" in o.rule} == {
        ("copy", "pass"),
        ("permuted", "fail"),
    }
    with pytest.raises(VqbenchError, match="there is no rule to gate on"):
        gate(narrow_rules(run, ["official"]))
    save_run(run, tmp_path / "run")
    assert load_run(tmp_path / "run") == run
    assert run.suite.reference == "official"


def test_tables_and_page_say_whose_tokens_are_meant(tuned: Outcome, tmp_path: Path) -> None:
    text = run_markdown(tuned.run)
    assert "agreement with the tokens of official" in text
    assert "the reference: the others are held against its tokens" in text
    evidence = Evidence("run", tuned.run, replace(tuned.exhibits, exhibits=()), tuned.transcripts, tmp_path)
    html = run_page(evidence, gate(tuned.run)).html
    assert "agreement with the tokens of official" in html
    assert "official's code" in html and "the GPT" not in html.partition("<script")[0]
    assert {one.candidate for one in tuned.exhibits.relabellings} == {"copy", "permuted"}
    shown = [clip for exhibit in tuned.exhibits.exhibits for clip in exhibit.shown]
    assert shown and {clip.codes_by for clip in shown} == {"official"}


def test_a_checkpoint_is_a_reference_and_everybody_is_judged(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("copy", "permuted", reference="official.safetensors", gate=[RULE])
    run = outcome(path, tmp_path / "cache").run
    assert run.suite.reference == "the file official.safetensors"
    assert {o.candidate: o.status for o in gate(run).outcomes} == {"copy": "pass", "permuted": "fail"}


def test_recordings_of_their_own_are_taken_where_there_are_any(write: Callable[..., Path], tmp_path: Path) -> None:
    data = {"speech": {"manifest": "clips.jsonl"}, "natural": {"manifest": "others.jsonl"}}
    run = outcome(write("official", "permuted", data=data), tmp_path / "cache").run
    check_run(run)
    ids = tables(run)["permuted"].row_ids
    assert len(ids) == 5 and all(clip_id.startswith("natural/") for clip_id in ids)
    assert {clip.clip_set for clip in run.clips} == {"speech", "natural"}


def test_another_codebook_or_token_rate_than_the_references_is_said(write: Callable[..., Path], tmp_path: Path) -> None:
    run = outcome(write("official", "fewer", "slow", gate=[RULE], min_clips=2), tmp_path / "cache").run
    found = tables(run)
    assert found["fewer"].constants["codebook_size"] == SIZE
    assert not found["slow"].row_ids
    assert set(found["slow"].unscored.values()) == {
        "writes 10.77 tokens a second, where official writes 21.53",
    }
    report = gate(run)
    assert {o.candidate: o.status for o in report.outcomes} == {"fewer": "fail", "slow": "fail"}
    messages = [f.message for f in report.findings if f.check == "codebook_size"]
    assert messages == ["its codebook has 8 codes, official writes 16"]


def test_a_recording_that_cannot_be_read_is_named(
    write: Callable[..., Path], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [json.loads(line) for line in (project / "clips.jsonl").read_text().splitlines()]
    lost = tmp_path.name
    (project / f"{lost}.flac").write_bytes((project / clips[0]["path"]).read_bytes())
    (project / f"{lost}.jsonl").write_text(
        "".join(json.dumps({**clip, "path": f"{lost}.flac"} if n == 0 else clip) + "\n" for n, clip in enumerate(clips))
    )
    suite = load_suite(write("official", "permuted", data={"speech": {"manifest": f"{lost}.jsonl"}}))
    from vqbench.engine import writing

    whole = writing.load_clip

    def cut(clip: Clip, rate_hz: int) -> Any:
        from vqbench.errors import DataError

        if clip.path.stem == lost:
            raise DataError("the file ends early")
        return whole(clip, rate_hz)

    monkeypatch.setattr(writing, "load_clip", cut)
    run = run_suite(suite, Cache(tmp_path / "cache"), Silent()).run
    table = tables(run)["permuted"]
    assert dict(table.unscored) == {clips[0]["id"]: "the file ends early"}
    assert len(table.row_ids) == N_CLIPS - 1


def test_a_reference_is_kept_when_only_others_are_asked_for(write: Callable[..., Path], tmp_path: Path) -> None:
    suite = select(load_suite(write("official", "copy", "permuted", gate=[RULE])), ["permuted"])
    run = run_suite(suite, Cache(tmp_path / "cache"), Silent()).run
    assert [c.name for c in run.candidates if c.role == "candidate"] == ["permuted"]
    assert figure(run, "permuted", "raw") == 0.0
    assert [(o.candidate, o.status) for o in gate(run).outcomes] == [("permuted", "fail")]


def test_runs_against_other_references_do_not_compare(write: Callable[..., Path], tmp_path: Path) -> None:
    runs = []
    for reference in ("official", "fewer"):
        run = outcome(write("official", "fewer", "permuted", reference=reference), tmp_path / "cache").run
        runs.append(Selection(reference, run, "permuted"))
    (found,) = compare_runs(runs, ["token_agreement.natural.raw"]).comparisons
    assert found.delta is None
    assert found.reason is not None and "reference is" in found.reason


def test_a_dry_run_counts_what_the_reference_takes(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "CLIPS", 4)
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    estimate = rehearse(load_suite(write("official", "copy", "permuted", "slow")), Silent())
    units = {stage.name: stage.units for stage in estimate.stages}
    assert units["tokenising recordings"] == N_CLIPS
    # The copy is the reference by a second name, but is held against it like any other; the slow one cannot be.
    assert units["hearing tokens"] == 2 * N_CLIPS
    assert all(stage.seconds is not None for stage in estimate.stages)


@pytest.mark.parametrize(
    ("names", "changes", "said"),
    [
        (("official", "copy"), {"reference": "oficial"}, "is no candidate (did you mean 'official'?)"),
        (("official", "copy"), {"reference": ["official"]}, "expected a candidate's name or a path, got a list"),
        (("official", "copy"), {"metrics": ["codebook"]}, "nobody is held against it"),
        (("official",), {}, "'official' is the only candidate: nobody is held against it"),
        (("official", "copy"), {"gate": [{"rule": RULE, "candidates": ["official"]}]}, "is the reference: that it"),
        (("official", "copy"), {"data": {"speech": {"manifest": "clips.jsonl"}, "pairs": {"n": 4}}}, "writes pairs"),
        (("official", "copy"), {"reference": None}, "token agreement needs a teacher"),
    ],
)
def test_what_a_reference_cannot_be_is_told(
    names: tuple[str, ...], changes: dict[str, object], said: str, write: Callable[..., Path]
) -> None:
    with pytest.raises(VqbenchError) as raised:
        load_suite(write(*names, **changes))
    assert said in "\n".join(map(str, getattr(raised.value, "errors", [raised.value])))


def test_seeds_are_no_reference_but_one_of_them_is(write: Callable[..., Path], project: Path) -> None:
    model = "model: {hidden_dim: 8, codebook_size: 16, codebook_dim: 8, num_resnet_blocks: 1}\n"
    (project / "brief.yaml").write_text(f"name: brief\n{model}")
    candidates = [{"name": "brief", "recipe": "brief.yaml", "seeds": [1, 2]}]
    with pytest.raises(VqbenchError, match="several seeds"):
        load_suite(write(candidates=candidates, reference="brief"))
    suite = load_suite(write(candidates=candidates, reference="brief-s1", gate=[RULE, "codebook.dead <= 1"]))
    assert [entry.candidates for entry in suite.gate] == [("brief-s2",), ()]


@pytest.mark.parametrize("codes", [1024, 8192])
def test_codebooks_of_xtts_and_of_tortoise_are_held_side_by_side(
    codes: int, write: Callable[..., Path], project: Path, tmp_path: Path
) -> None:
    made = dvae(3, codebook_size=codes)
    save_checkpoint(project / f"large-{codes}.safetensors", made, MelSpec(), {})
    candidates = [{"name": name, "checkpoint": f"large-{codes}.safetensors"} for name in ("official", "copy")]
    run = outcome(write(candidates=candidates, exhibits={"drawn": 0, "worst": 0}), tmp_path / "cache").run
    assert figure(run, "copy", "raw") == 1.0
    assert tables(run)["copy"].constants["codebook_size"] == codes
    assert len(np.unique(tables(run)["copy"].columns["codes"].values)) > 16  # type: ignore[union-attr]
