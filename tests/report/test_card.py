import html
import math
import re
from dataclasses import replace

import pytest
import yaml
from builders import make_run, replace_table, table_of, without_clips

from vqbench.errors import ConfigError, ResultError
from vqbench.judging.asked import narrow_rules
from vqbench.judging.gate import gate
from vqbench.judging.selection import Contender, Selection
from vqbench.records.run import ClipRecord, Result, Run
from vqbench.report.card.model_card import CLIPS_SHOWN, card_subject, model_card

HOSTILE = [
    "a\n---\n# b",
    "---",
    "a: b",
    "'a' \"b\" \\",
    "<script>alert(1)</script>",
    "{a: b}",
    "- a",
    "&a *a !!python/object:os.system",
    "1e5",
    "0o17",
    "null",
    "yes",
    "2026-11-23",
    "@a | b `c` **d** [e](javascript:f) </details>",
    "\x1b[31m\ud800",
    "名前",
]


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run()


def front(card: str) -> dict:
    """The front matter, cut out the way the Hub's client does."""
    found = re.match(r"---\n(.*?)\n---\n", card, flags=re.DOTALL)
    return yaml.safe_load(found[1])


def body(card: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n", "", card, count=1, flags=re.DOTALL)


def section(card: str, title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card, flags=re.DOTALL | re.MULTILINE)[1]


def rows(text: str) -> dict[str, list[str]]:
    """First cell of every table row, without what stands below it → the row's cells."""
    found = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found]
    return {line[0].partition("<br>")[0]: line for line in cells}


def plain(text: str) -> str:
    """Markdown as it reads."""
    return html.unescape(re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text))


def card_of(run: Run, name: str = "good", **options) -> str:
    return model_card(Contender(name, run, name), **options)


def renamed(run: Run, old: str, new: str) -> Run:
    def called(name: str) -> str:
        return new if name == old else name

    return replace(
        run,
        candidates=tuple(replace(c, name=called(c.name)) for c in run.candidates),
        tables=tuple(replace(t, candidate=called(t.candidate)) for t in run.tables),
        results=tuple(replace(r, candidate=called(r.candidate)) for r in run.results),
    )


def changed(run: Run, metric: str, **fields) -> Run:
    """The run with another figure of `good`."""
    return replace(
        run,
        results=tuple(replace(r, **fields) if (r.candidate, r.metric) == ("good", metric) else r for r in run.results),
    )


def result_of(run: Run, metric: str) -> Result:
    return next(r for r in run.results if (r.candidate, r.metric) == ("good", metric))


class TestModelIndex:
    def test_has_what_the_hub_requires(self, run):
        content = front(card_of(run, license_id="apache-2.0"))
        assert (content["library_name"], content["license"]) == ("vqbench", "apache-2.0")
        assert all(isinstance(tag, str) for tag in content["tags"])
        (model,) = content["model-index"]
        assert model["name"] == "good"
        for entry in model["results"]:
            assert entry["task"]["type"] in {"audio-to-audio", "text-to-speech", "other"}
            assert re.fullmatch(r"(?:[\w-]+/)?[\w.-]+", entry["dataset"]["type"], flags=re.ASCII)
            assert entry["dataset"]["name"]
            assert entry["metrics"]
            for metric in entry["metrics"]:
                assert isinstance(metric["type"], str)
                assert isinstance(metric["value"], float)

    def test_a_licence_is_left_out_unless_given(self, run):
        assert "license" not in front(card_of(run))

    @pytest.mark.parametrize("license_id", ["Apache 2.0", "MIT", "", "mit\nname: x"])
    def test_a_licence_that_the_hub_would_refuse_is_refused(self, run, license_id):
        with pytest.raises(ConfigError, match="cannot be a licence") as caught:
            card_of(run, license_id=license_id)
        assert "apache-2.0" in caught.value.expected

    def test_a_metric_has_value_interval_and_n(self, run):
        (entry,) = front(card_of(run))["model-index"][0]["results"]
        metrics = {metric["name"]: metric for metric in entry["metrics"]}
        wer, result = metrics["speech.wer"], result_of(run, "speech.wer")
        assert wer["type"] == "wer"
        assert wer["value"] == pytest.approx(result.value, rel=1e-3)
        assert wer["args"]["ci_low"] == pytest.approx(result.ci_low, rel=1e-3)
        assert wer["args"]["ci_high"] == pytest.approx(result.ci_high, rel=1e-3)
        assert (wer["args"]["n"], wer["args"]["n_speakers"], wer["args"]["higher_is_better"]) == (24, 8, False)
        assert metrics["reconstruction.mcd_db"]["type"] == "reconstruction.mcd_db"
        assert metrics["reconstruction.mcd_db"]["args"]["unit"] == "dB"

    def test_holds_headline_metrics_and_those_the_hub_knows_but_no_speed(self, run):
        specs = tuple(replace(spec, headline=spec.headline and spec.name != "speech.wer") for spec in run.metrics)
        (entry,) = front(card_of(replace(run, metrics=specs)))["model-index"][0]["results"]
        names = {metric["name"] for metric in entry["metrics"]}
        assert "speech.wer" in names
        assert names - {"speech.wer"} == {spec.name for spec in specs if spec.headline and spec.resampled == "clip"}

    def test_what_has_no_good_end_is_no_result(self, run):
        specs = tuple(
            replace(spec, higher_is_better=None) if spec.name == "speech.wer" else spec for spec in run.metrics
        )
        assert "speech.wer" not in str(front(card_of(replace(run, metrics=specs))))

    def test_floor_and_ceiling_stand_with_the_figure(self, run):
        limits = {"floor": "reconstruction.mcd_db", "ceiling": "codebook.entropy"}
        specs = tuple(replace(spec, **limits) if spec.name == "speech.wer" else spec for spec in run.metrics)
        card = card_of(replace(run, metrics=specs))
        (entry,) = front(card)["model-index"][0]["results"]
        args = next(metric["args"] for metric in entry["metrics"] if metric["type"] == "wer")
        floor, ceiling = (result_of(run, name).value for name in limits.values())
        assert (args["floor"], args["ceiling"]) == pytest.approx((floor, ceiling), rel=1e-3)
        assert f"{floor:.3f}<br>{ceiling:.3f}" in rows(section(card, "Figures"))["speech.wer"]

    def test_clip_sets_are_data_sets_of_their_own_tasks(self, run):
        sets = {"speech.wer": "downstream", "codebook.entropy": "pairs", "speech.speaker_similarity": "my set"}
        specs = tuple(replace(spec, headline=True, clip_set=sets.get(spec.name, "speech")) for spec in run.metrics)
        clips = (*run.clips, ClipRecord("said", "0", 1.0, "hello", clip_set="downstream"))
        results = front(card_of(replace(run, metrics=specs, clips=clips)))["model-index"][0]["results"]
        tasks = {entry["dataset"]["config"]: entry["task"]["type"] for entry in results}
        assert tasks == {
            "speech": "audio-to-audio",
            "downstream": "text-to-speech",
            "pairs": "other",
            "my set": "other",
        }
        # The Hub's client takes entries of one task, type and config for one.
        assert len({(e["task"]["type"], e["dataset"]["type"], e["dataset"]["config"]) for e in results}) == len(results)
        counts = {entry["dataset"]["config"]: entry["dataset"]["args"]["n_clips"] for entry in results}
        assert (counts["speech"], counts["downstream"]) == (24, 1)
        for entry in results:
            assert entry["dataset"]["args"]["suite"] == "synthetic"
            assert entry["dataset"]["args"]["digest"] == run.suite.digest

    @pytest.mark.parametrize("value", [None, math.nan, math.inf])
    def test_what_is_no_number_is_left_out_and_named(self, run, value):
        reason = "the judge | was <b>ill</b>" if value is None else None
        card = card_of(changed(run, "speech.wer", value=value, ci_low=None, ci_high=None, reason=reason))
        (entry,) = front(card)["model-index"][0]["results"]
        assert "speech.wer" not in {metric["name"] for metric in entry["metrics"]}
        why = reason or f"came out as {value}"
        assert f"- speech.wer: {why}" in plain(section(card, "What has no figure"))
        assert rows(section(card, "Figures"))["speech.wer"][1] == "— \\[1\\]"
        assert why in plain(section(card, "Figures"))

    def test_what_was_not_measured_is_named(self, run):
        kept = tuple(r for r in run.results if (r.candidate, r.metric) != ("good", "codebook.entropy"))
        card = card_of(replace(run, results=kept))
        assert "- codebook.entropy: not measured" in section(card, "What has no figure")

    def test_a_figure_without_interval_has_none(self, run):
        card = card_of(changed(run, "speech.wer", ci_low=None, ci_high=None, reason="one speaker"))
        (entry,) = front(card)["model-index"][0]["results"]
        args = next(metric["args"] for metric in entry["metrics"] if metric["type"] == "wer")
        assert not {"ci_low", "ci_high", "confidence"} & set(args)
        figure = f"{result_of(run, 'speech.wer').value:.3f}"
        assert rows(section(card, "Figures"))["speech.wer"][1] == f"{figure} \\[1\\]"
        assert "[1] one speaker" in plain(section(card, "Figures"))

    def test_without_any_figure_there_is_no_index(self, run):
        card = card_of(replace(run, results=tuple(r for r in run.results if r.candidate != "good")))
        assert "model-index" not in front(card)
        assert "# good" in card


class TestHostileNames:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_name_stays_a_name(self, run, name):
        hostile = renamed(run, "good", name)
        suite = replace(run.suite, name=name, digest=name)
        specs = tuple(replace(spec, description=name, unit=name) for spec in run.metrics)
        provenance = {name: {name: name}, "machine": name, "command": ["vqbench", name], "started": name}
        card = card_of(replace(hostile, suite=suite, metrics=specs, provenance=provenance), name)
        content = front(card)
        assert set(content) == {"tags", "library_name", "model-index"}
        (model,) = content["model-index"]
        assert isinstance(model["name"], str)
        assert model["name"].split() == [re.sub("[\x1b\ud800]", "\ufffd", part) for part in name.split()]
        (entry,) = model["results"]
        assert set(entry) == {"task", "dataset", "metrics"}
        assert re.fullmatch(r"[\w.-]+", entry["dataset"]["type"], flags=re.ASCII)
        card.encode()

        text = re.sub(r"```sh\n.*?\n```", "", body(card))  # code stands as it is
        assert text.count("\n# ") == 1
        assert "\n---" not in text
        assert not re.search(r"<(?!br>|/?details>|/?summary>)", text)
        assert text.count("</details>") == text.count("<details>") == 1
        assert not re.search(r"(?<!\\)[`\[]", text)

    def test_what_yaml_1_2_takes_for_a_number_is_quoted(self, run):
        assert "- name: '1e5'" in card_of(renamed(run, "good", "1e5"), "1e5")

    def test_code_cannot_be_left(self, run):
        command = ["vqbench", "run", "```\n<script>", "a b.yaml"]
        code = section(card_of(replace(run, provenance={"command": command})), "How it was measured")
        fence = re.search(r"^(`+)sh\n(.*)\n\1$", code, flags=re.MULTILINE)
        assert len(fence[1]) == 4
        assert fence[2] == "vqbench run '``` <script>' 'a b.yaml'"


class TestBody:
    def test_says_what_the_model_is(self, run):
        text = body(card_of(run))
        record = run.candidates[0]
        assert text.lstrip().startswith("# good\n")
        for fact in (record.digest, "1,000,000", "codebook size: 256", "21.53 Hz", record.front_end):
            assert fact in text

    def test_figures_have_interval_n_unit_and_direction(self, run):
        table = rows(section(card_of(run), "Figures"))
        result = result_of(run, "reconstruction.mcd_db")
        metric, figure, n, limits, about = table["reconstruction.mcd_db"]
        assert metric.endswith("<br>dB ↓")
        assert figure == f"{result.value:.2f}<br>{result.ci_low:.2f}–{result.ci_high:.2f}"
        assert n == "24 clips<br>8"
        assert limits == ""
        assert about.startswith("mel-cepstral distortion")
        assert table["throughput.encode.b8.audio_s_per_s"][2] == "8 repetitions"
        assert "codebook.dead" not in table

    def test_stands_beside_the_others_and_the_references(self, run):
        beside = section(card_of(run, "fair"), "Beside the others of the run")
        assert {"good", "fair", "untrained", "original", "mel_round_trip"} <= set(rows(beside))

    def test_a_run_of_one_has_nothing_beside_it(self):
        alone = make_run(quality={"good": 1.0}, references=())
        assert "Beside" not in card_of(alone)

    def test_says_how_it_was_measured(self, run):
        known = {"vqbench": "9.9", "started": "2026-11-23", "packages": {"numpy": "2.0"}, "command": ["vqbench", "run"]}
        how = section(card_of(replace(run, provenance={**run.provenance, **known})), "How it was measured")
        for fact in (
            *("synthetic", run.suite.digest, "seed 0", "24 clips of 8 speakers", "400 resamples", "cpu: test"),
            *("9.9", "2026-11-23", "packages.numpy | 2.0", "```sh\nvqbench run\n```"),
        ):
            assert fact in how

    def test_a_run_that_says_nothing_of_itself_has_a_card(self, run):
        how = section(card_of(replace(run, provenance={})), "How it was measured")
        assert "None" not in how
        assert "details" not in how

    def test_unscored_clips_are_counted_and_a_few_named(self, run):
        speech = table_of(run, "good", "speech")
        lost = without_clips(speech, dict.fromkeys(speech.row_ids[:8], "too | short"))
        part = plain(section(card_of(replace_table(run, lost)), "What has no figure"))
        assert part.startswith("\n- 8 clips not scored in speech: clip000 (too | short), clip001")
        assert part.count("too | short") == CLIPS_SHOWN
        assert "and 3 more" in part

    def test_other_candidates_clips_are_not_its_own(self, run):
        speech = table_of(run, "fair", "speech")
        lost = replace_table(run, without_clips(speech, {"clip000": "too short"}))
        assert "every clip was scored" in section(card_of(lost), "What has no figure")

    def test_the_gate_is_shown_with_each_rule(self):
        rules = ["speech.wer <= 0.9", "speech.wer <= baseline + 0.02"]
        ruled = make_run(gate=rules)
        report = gate(narrow_rules(ruled, ["good"]), Selection("main", ruled))
        shown = plain(section(card_of(ruled, gate=report), "Gate"))
        assert "gate: pass (0 failed, 0 inconclusive, of 2, against the baseline main)" in shown
        assert all(rule in shown for rule in rules)

    def test_rules_that_cannot_be_judged_are_named_and_no_pass(self):
        shown = plain(section(card_of(make_run(gate=["speech.wer <= baseline + 0.02"])), "Gate"))
        assert "Not judged" in shown
        assert "speech.wer <= baseline + 0.02" in shown
        assert "pass" not in shown

    def test_a_suite_without_rules_says_so(self, run):
        assert "no rules" in section(card_of(run), "Gate")

    def test_says_what_the_figures_do_not_say(self, run):
        limits = section(card_of(run), "What the figures do not say")
        assert "one training" in limits
        assert "Not measured here: token agreement, downstream speech." in limits
        assert "has not agreed" in section(card_of(run), "Responsible use")

    def test_seeds_of_the_same_recipe_are_pointed_at(self):
        seeds = make_run(families={"both": ["good", "fair"]})
        assert "of 2 in the run" in section(card_of(seeds), "What the figures do not say")
        assert "### over seeds" in card_of(seeds)


class TestSubject:
    def test_the_named_one(self, run):
        assert card_subject(Selection("quick", run, "fair")).name == "fair"

    def test_the_only_candidate_of_a_run(self):
        alone = make_run(quality={"good": 1.0})
        assert card_subject(Selection("alone", alone)).name == "good"

    @pytest.mark.parametrize(
        ("quality", "asked", "problem"),
        [
            ({"good": 1.0, "fair": 2.0}, None, "which candidate"),
            ({"good": 1.0, "fair": 2.0}, "original", "is a reference"),
            ({}, None, "only references"),
        ],
    )
    def test_others_are_refused_by_name(self, quality, asked, problem):
        with pytest.raises(ResultError, match=problem) as caught:
            card_subject(Selection("quick", make_run(quality=quality), asked))
        assert all(name in caught.value.expected for name in quality)
