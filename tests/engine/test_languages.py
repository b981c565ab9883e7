"""A run in several languages: each clip is heard in its own, and what figures do not say is said beneath."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vqbench.audio.mel import MelSpec
from vqbench.cli import console
from vqbench.config.suite import load_suite
from vqbench.data.corpora import corpus_clips
from vqbench.engine.cache import Cache
from vqbench.engine.runner import Outcome, run_suite
from vqbench.errors import ConfigError, ManyErrors, VqbenchError
from vqbench.judging.languages import ASSUMED
from vqbench.judging.plausibility import check_plausibility
from vqbench.languages import LANGUAGES
from vqbench.progress import Silent
from vqbench.records.run import Result
from vqbench.records.store import load_run, save_run
from vqbench.report.tables.terminal import run_tables
from vqbench.report.tables.transcripts import transcripts_markdown
from vqbench.tokenizers.dvae.checkpoint import save_checkpoint
from vqbench.tokenizers.dvae.network import DVAE, Dimensions

SAID = {
    "de": ("Guten Tag, schöne Welt!", "guten tag schone Welt"),
    "zh": ("你好，世界！", "你好，市界"),
    "hi": ("आज मौसम अच्छा है", "nothing of the kind"),
    "en": ("no no no no he said", "No, no, no, no, he said."),
}
"""Language → what is said, and what is heard of it: one word of four wrong, one character of four, all, none."""


class Polyglot:
    """Hears in each language the same, and notes what it is told."""

    def __init__(self, known: Sequence[str] = tuple(LANGUAGES)) -> None:
        self.identity: dict[str, Any] = {"asr": "told", "model": "told"}
        self.languages = frozenset(known)
        self.told: list[str] = []

    def transcribe(
        self, waveforms: Sequence[Any], sample_rate_hz: int, languages: Sequence[str] | None = None
    ) -> list[str]:
        assert languages is not None and len(languages) == len(waveforms)
        self.told += languages
        return [SAID[code][1] for code in languages]


@pytest.fixture
def asr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Polyglot]:
    polyglot = Polyglot()
    monkeypatch.setattr("vqbench.engine.groups.load_recognizer", lambda **_: polyglot)
    yield polyglot


Measure = Callable[..., Outcome]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Runs a suite over clips of these languages; `None` names none."""
    clip = min(corpus_clips("tortoise-voices"), key=lambda clip: clip.duration_s)
    torch.manual_seed(0)
    dvae = DVAE(Dimensions(codebook_size=16, codebook_dim=8, hidden_dim=16))
    (tmp_path / "pyproject.toml").touch()
    save_checkpoint(tmp_path / "small.safetensors", dvae, MelSpec(), {})

    def run(codes: Sequence[str | None], source: dict[str, str] | None = None, **changes: object) -> Outcome:
        lines = []
        for i, code in enumerate(codes):
            # What is said does not matter here: the recogniser is told what to hear. Each file is another.
            name = f"{i}{clip.path.suffix}"
            shutil.copy(clip.path, tmp_path / name)
            line = {"id": f"c{i}", "path": name, "text": SAID[code or (source or {}).get("language", "en")][0]}
            lines.append(line | ({"language": code} if code else {}))
        (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        content = {
            "name": "tiny",
            "data": {"speech": {"manifest": "clips.jsonl", **(source or {})}},
            "candidates": [{"name": "small", "checkpoint": "small.safetensors"}],
            "references": ["original"],
            "metrics": ["speech"],
            "interval": {"resamples": 100},
            "device": "cpu",
            **changes,
        }
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
        return run_suite(load_suite(tmp_path / "tiny.yaml"), Cache(tmp_path / "cache"), Silent())

    return run


def figure(outcome: Outcome, metric: str) -> Result:
    return next(r for r in outcome.run.results if (r.candidate, r.metric) == ("original", metric))


def printed(outcome: Outcome) -> str:
    return " ".join(console.plain(*run_tables(outcome.run, headline=True)).split())


def headlines(outcome: Outcome) -> set[str]:
    return {spec.name for spec in outcome.run.metrics if spec.headline}


def test_each_clip_is_heard_in_its_language(asr: Polyglot, measure: Measure, tmp_path: Path) -> None:
    outcome = measure(["de", "zh", "en", None, "de"], {"language": "de"})
    # The same recording with the same text is heard once, whatever it is called: for the original and for the copy.
    assert sorted(asr.told) == [*2 * ["de"], *2 * ["en"], *2 * ["zh"]]
    assert [clip.language for clip in outcome.run.clips] == ["de", "zh", "en", "de", "de"]
    # Words of German and English alone: one of four wrong, three times, and none of six.
    assert figure(outcome, "speech.wer").value == pytest.approx(3 / (3 * 4 + 6))
    assert headlines(outcome) == {"speech.wer", "speech.cer", "speech.speaker_similarity"}
    told = printed(outcome)
    assert "over 3 languages, German (de) 3, English (en) 1, Chinese (zh) 1" in told
    assert "speech.wer: without Chinese (zh) 1, written without spaces" in told
    assert "assumed" not in told
    assert ASSUMED not in outcome.run.provenance
    save_run(outcome.run, tmp_path / "run")
    assert load_run(tmp_path / "run") == outcome.run


def test_of_languages_without_spaces_characters_are_the_headline(asr: Polyglot, measure: Measure) -> None:
    outcome = measure(["zh", "zh"])
    assert figure(outcome, "speech.cer").value == pytest.approx(1 / 4)
    assert figure(outcome, "speech.wer").value is None
    assert headlines(outcome) == {"speech.cer", "speech.speaker_similarity"}
    lines = transcripts_markdown(outcome.run, outcome.transcripts).splitlines()
    assert "| original | 1 wrong | 你 好 ~~世~~ **市** 界 |" in lines


def test_another_language_is_another_question(asr: Polyglot, measure: Measure) -> None:
    measure(["de"])
    asked = len(asr.told)
    measure(["de"])
    assert len(asr.told) == asked
    changed = measure([None], {"language": "hi"})
    assert asr.told[asked:] == ["hi", "hi"]
    assert figure(changed, "speech.wer").value == 1


def test_where_nobody_names_a_language_english_is_assumed_and_said(asr: Polyglot, measure: Measure) -> None:
    outcome = measure([None, "en", None])
    assert set(asr.told) == {"en"}
    assert outcome.run.provenance[ASSUMED] == {"speech": 2}
    assert "speech.wer: 2 of 3 name no language; English is assumed" in printed(outcome)
    assert figure(outcome, "speech.wer").value == 0  # and what is repeated in the sentence is no error


def test_what_the_asr_does_not_understand_is_said_language_by_language(asr: Polyglot, measure: Measure) -> None:
    outcome = measure(["de", "de", "de", "hi"])
    value = figure(outcome, "speech.wer").value
    assert value is not None and value < 0.5
    (finding,) = [one for one in check_plausibility(outcome.run) if one.check == "not_understood"]
    assert finding.level == "warn"
    assert "recordings in Hindi (hi): speech.wer of the originals is 1.000 (n = 1)" in finding.message
    assert "does not understand recordings in Hindi (hi)" in printed(outcome)
    silent = measure(["de", "de", "de", "hi"], plausibility={"not_understood": "off"})
    assert "does not understand" not in printed(silent)


def test_an_asr_that_does_not_know_a_language_is_refused_before_it_listens(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    english = Polyglot(["en"])
    monkeypatch.setattr("vqbench.engine.groups.load_recognizer", lambda **_: english)
    with pytest.raises(ConfigError, match=r"knows English only, and there are clips in German \(de\), Hindi \(hi\)"):
        measure(["en", "hi", "de"])
    assert english.told == []


@pytest.mark.parametrize(("code", "near"), [("german", "de"), ("vie", "vi")])
def test_unknown_codes_are_refused_with_near_ones(measure: Measure, code: str, near: str) -> None:
    with pytest.raises(VqbenchError) as caught:
        measure(["en"], {"language": code})
    assert f"did you mean '{near}'?" in str(caught.value)
    with pytest.raises((VqbenchError, ManyErrors)) as caught:
        SAID[code] = SAID["en"]
        try:
            measure([code])
        finally:
            del SAID[code]
    assert f"did you mean '{near}'?" in str(caught.value)
