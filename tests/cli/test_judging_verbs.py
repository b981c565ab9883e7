import csv
import io
import json
import shlex
import shutil
import xml.etree.ElementTree as ET
from importlib.metadata import version

import pytest
from builders import edit_result, make_run
from typer.testing import CliRunner
from workflow_commands import commands

from vqbench.cli import app
from vqbench.records.store import load_run, save_run


@pytest.fixture
def vqbench(workplace, tmp_path, monkeypatch):
    """Runs a command line in a copy of the workplace."""
    shutil.copytree(workplace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def gate_status(done) -> dict[tuple[str, str], str]:
    return {(o["rule"], o["candidate"]): o["status"] for o in json.loads(done.stdout)["outcomes"]}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("gate runs/quick --baseline main", 0),
        ("gate runs/quick --baseline baselines/main.json", 0),
        ("gate runs/quick/result.json --baseline runs/quick", 0),
        ("gate runs/quick --baseline main --rule 'speech.wer <= 0.1'", 1),
        ("gate runs/quick --baseline main --rule 'speech.wer <= 0.1' --candidate good", 0),
        ("gate runs/worse --baseline main", 1),
        ("gate runs/small --baseline small", 3),
        ("gate runs/quick --baseline small", 3),
        ("gate runs/open --rule 'speech.wer <= 0.9'", 0),
        ("gate runs/open", 2),
        ("gate runs/quick", 2),
        ("gate runs/quick --baseline mian", 2),
        ("gate runs/quick --baseline main --candidate nobody", 2),
        ("gate runs/quick --baseline main --candidate original", 2),
        ("gate runs/quick --baseline main --rule 'speech.wer < 1'", 2),
        ("gate runs/quick --baseline main --rule 'speech.were <= 1'", 2),
        ("gate runs/nowhere", 2),
        ("gate", 2),
        ("compare runs/quick", 0),
        ("compare runs/quick main runs/worse:good", 0),
        ("compare runs/quick --metric speech.were", 2),
        ("compare runs/quick --metric speech.wer --all", 2),
        ("compare runs/quick:nobody", 2),
        ("compare runs/quick --format yaml", 2),
        ("report runs/quick", 0),
        ("report runs/quick -o runs", 2),
        ("baseline list", 0),
        ("baseline show main", 0),
        ("baseline show mian", 2),
        ("baseline save runs/quick main", 2),
        ("baseline save runs/quick main --replace", 0),
        ("baseline save runs/quick ../main", 2),
        ("schema suite", 0),
        ("schema recipe", 0),
        ("schema sweet", 2),
        ("gaet runs/quick", 2),
        ("--version", 0),
    ],
)
def test_exit_codes(vqbench, line, code):
    done = vqbench(*shlex.split(line))
    assert done.exit_code == code, done.output
    if code == 2:
        assert done.stdout == ""
        assert "error" in done.stderr.lower()
        assert "Traceback" not in done.stderr


def test_an_error_says_what_where_and_what_to_do(vqbench):
    done = vqbench("baseline", "show", "mian")
    assert done.stderr.startswith("error: no baseline, run or file is called 'mian' (did you mean 'main'?)")
    assert "fix: vqbench baseline save RUN NAME" in done.stderr


def test_an_error_that_quotes_a_file_speaks_neither_to_the_terminal_nor_to_a_ci(vqbench, tmp_path):
    file = tmp_path / "runs/quick/result.json"
    rule = "speech.wer \x1b[31m\u202e\n::error::pwn ##[error]pwn\n  fix: rm -r ."
    edit_result(file, lambda written: written["suite"]["gate"][0].update(rule=rule))
    done = vqbench("gate", "runs/quick", "--annotations", "github")
    assert done.exit_code == 2
    assert "speech.wer" in done.stderr
    assert not set("\x1b\u202e") & set(done.stderr)
    assert commands(done.stderr) == []
    assert not [line for line in done.stderr.splitlines() if line.startswith("  fix: rm")]


def test_a_mark_under_a_rule_points_at_its_place(vqbench):
    done = vqbench("gate", "runs/quick", "--rule", "speech.wer < 0.1")
    assert done.stderr.splitlines()[1:3] == ["    speech.wer < 0.1", "               ^ expected <= or >="]


def test_a_run_of_references_alone_is_inconclusive(vqbench, tmp_path):
    save_run(make_run(quality={}, gate=("speech.wer <= 0.9",)), tmp_path / "runs/references")
    done = vqbench("gate", "runs/references")
    assert (done.exit_code, done.exception.__class__) == (3, SystemExit), done.exception
    assert " ".join(done.stdout.split()).startswith("gate: inconclusive (0 failed, 0 inconclusive, of 0)")
    assert vqbench("report", "runs/references").exit_code == 0


def test_all_faults_of_the_rules_are_told_at_once(vqbench):
    done = vqbench("gate", "runs/open", "--rule", "speech.were <= 1", "--rule", "speech.wer <= baseline")
    assert (done.exit_code, done.stderr.count("error: ")) == (2, 2)


def test_a_bug_keeps_its_traceback(vqbench, monkeypatch):
    monkeypatch.setattr("vqbench.records.store.load_run", lambda path: 1 / 0)
    assert isinstance(vqbench("report", "runs/quick").exception, ZeroDivisionError)


def test_an_interrupt_says_that_the_command_resumes(vqbench, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("vqbench.records.store.load_run", interrupted)
    done = vqbench("report", "runs/quick")
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr == "interrupted: what is finished is kept, the same command resumes\n"


def test_version(vqbench):
    assert vqbench("--version").stdout == f"vqbench {version('vqbench')}\n"


@pytest.mark.parametrize(
    "verb",
    [
        *("run", "compare", "gate", "report", "card", "history", "train", "data synthesize", "doctor", "schema"),
        *("baseline", "baseline save", "baseline list", "baseline show"),
    ],
)
def test_every_verb_has_help_with_an_example(vqbench, verb):
    done = vqbench(*verb.split(), "--help")
    assert done.exit_code == 0
    assert f"Example: vqbench {verb}" in " ".join(done.stdout.split())
    assert vqbench(*verb.split(), "-h").stdout == done.stdout


class TestGate:
    def test_writes_junit_and_markdown_beside_its_answer(self, vqbench, tmp_path):
        done = vqbench("gate", "runs/worse", "--baseline", "main", "--junit", "ci/gate.xml", "--markdown", "ci/gate.md")
        assert done.exit_code == 1
        assert "speech.speaker_similarity >= baseline - 0.02" in " ".join(done.stdout.split())
        assert done.stderr.splitlines() == ["wrote ci/gate.xml", "wrote ci/gate.md"]
        assert ET.parse(tmp_path / "ci/gate.xml").getroot().get("failures") == "3"
        assert (tmp_path / "ci/gate.md").read_text().startswith("### gate: fail (3 failed")
        assert sorted(path.name for path in (tmp_path / "ci").iterdir()) == ["gate.md", "gate.xml"]

    def test_a_worse_run_fails_by_rule_figure_and_interval(self, vqbench):
        done = vqbench("gate", "runs/worse", "--baseline", "main", "--json")
        failed = [o for o in json.loads(done.stdout)["outcomes"] if o["status"] == "fail"]
        assert {o["candidate"] for o in failed} == {"good", "fair", "untrained"}
        for outcome in failed:
            assert outcome["rule"] == "speech.speaker_similarity >= baseline - 0.02"
            assert outcome["value"] < outcome["limit"]
            assert outcome["ci_low"] <= outcome["ci_high"] < 0

    def test_a_rule_is_added_to_those_of_the_suite(self, vqbench):
        added = "codebook.perplexity >= 1"
        statuses = gate_status(vqbench("gate", "runs/quick", "--baseline", "main", "--rule", added, "--json"))
        assert {rule for rule, _ in statuses} == {
            "speech.wer <= 0.9", "speech.speaker_similarity >= baseline - 0.02", added
        }  # fmt: skip

    def test_a_rule_replaces_the_suites_on_the_same_metric_and_side(self, vqbench):
        rules = ("--rule", "speech.wer <= 0.1", "--rule", "speech.wer >= 0")
        statuses = gate_status(vqbench("gate", "runs/quick", "--baseline", "main", *rules, "--json"))
        assert {rule for rule, _ in statuses if "wer" in rule} == {"speech.wer <= 0.1", "speech.wer >= 0"}
        assert statuses["speech.wer <= 0.1", "untrained"] == "fail"

    def test_one_candidate_is_judged_alone(self, vqbench):
        done = vqbench("gate", "runs/quick", "--baseline", "main", "--candidate", "good", "--json")
        assert {candidate for _, candidate in gate_status(done)} == {"good"}

    def test_quiet_leaves_the_answer(self, vqbench):
        done = vqbench("gate", "runs/quick", "--baseline", "main", "--junit", "gate.xml", "--quiet")
        assert done.stderr == ""
        assert done.stdout.startswith("gate: pass")

    def test_annotations_stand_behind_the_table_and_the_table_is_no_command(self, vqbench):
        done = vqbench("gate", "runs/worse", "--baseline", "main", "--annotations", "github")
        assert done.exit_code == 1
        assert [command.name for command in commands(done.stdout)] == ["error"] * 3
        first, *table, last = done.stdout[: done.stdout.index("::error")].splitlines()
        assert first == f"::stop-commands::{last.strip(':')}"
        assert table[0].startswith("gate: fail (3 failed")

    def test_annotations_and_json_would_mix_on_stdout(self, vqbench):
        done = vqbench("gate", "runs/quick", "--baseline", "main", "--annotations", "github", "--json")
        assert (done.exit_code, done.stdout) == (2, "")

    def test_an_output_that_cannot_be_written_is_bad_input(self, vqbench, tmp_path):
        done = vqbench("gate", "runs/quick", "--baseline", "main", "--junit", "runs/quick/result.json/x.xml")
        assert done.exit_code == 2
        load_run(tmp_path / "runs/quick")


class TestCompare:
    def test_shows_headline_metrics_unless_asked_otherwise(self, vqbench):
        compared = {
            arguments: {row["metric"] for row in csv.DictReader(io.StringIO(vqbench("compare", *arguments).stdout))}
            for arguments in (
                ("runs/quick", "--format", "csv"),
                ("runs/quick", "--format", "csv", "--all"),
                ("runs/quick", "--format", "csv", "-m", "speech.wer", "-m", "codebook.dead"),
            )
        }
        headline, everything, named = compared.values()
        assert "speech.wer" in headline
        assert "codebook.dead" not in headline
        assert headline < everything
        assert named == {"speech.wer", "codebook.dead"}

    def test_the_first_is_the_reference(self, vqbench):
        done = vqbench("compare", "main", "runs/worse", "--format", "json", "--metric", "speech.speaker_similarity")
        compared = json.loads(done.stdout)["comparisons"]
        assert (compared[0]["reference"], compared[0]["candidate"]) == ("main:good", "worse:good")
        assert all(c["delta"] == pytest.approx(-0.1) for c in compared)

    def test_one_candidate_of_a_run_is_named_behind_a_colon(self, vqbench):
        done = vqbench("compare", "runs/quick:fair", "runs/quick:good", "--format", "json", "--metric", "speech.wer")
        (compared,) = json.loads(done.stdout)["comparisons"]
        assert compared["reference"].endswith(":fair")
        assert compared["candidate"].endswith(":good")

    def test_a_path_may_hold_a_colon(self, vqbench, tmp_path):
        (tmp_path / "runs/quick").rename(tmp_path / "runs/at 12:30")
        assert vqbench("compare", "runs/at 12:30").exit_code == 0
        assert vqbench("compare", "runs/at 12:30:fair").exit_code == 0

    @pytest.mark.parametrize(("written_as", "start"), [("table", "headline"), ("markdown", "### "), ("json", "{")])
    def test_formats(self, vqbench, written_as, start):
        assert vqbench("compare", "runs/quick", "--format", written_as).stdout.startswith(
            start.replace("headline", "fig")
        )


class TestReport:
    @pytest.mark.parametrize(
        ("name", "start"),
        [
            ("r.html", "<!doctype html>"),
            ("r.md", "# synthetic"),
            ("r.csv", "candidate,"),
            ("r.json", "{"),
            ("r", "recon"),
        ],
    )
    def test_the_suffix_says_the_format(self, vqbench, tmp_path, name, start):
        done = vqbench("report", "runs/quick", "-o", f"new/{name}")
        assert done.stdout == ""
        assert f"wrote new/{name}" in done.stderr
        assert (tmp_path / "new" / name).read_text().startswith(start)

    def test_the_format_may_be_named(self, vqbench, tmp_path):
        vqbench("report", "runs/quick", "-o", "r.txt", "--format", "markdown")
        assert (tmp_path / "r.txt").read_text().startswith("# synthetic")
        assert vqbench("report", "runs/quick", "--format", "html").stdout.startswith("<!doctype html>")

    def test_shows_the_verdict_against_a_baseline(self, vqbench):
        assert "gate: fail (3 failed" in vqbench("report", "runs/worse", "--baseline", "main").stdout
        without = vqbench("report", "runs/worse")
        assert "gate:" not in without.stdout
        assert "not gated" in without.stderr

    def test_a_report_is_replaced_whole(self, vqbench, tmp_path):
        (tmp_path / "r.csv").write_text("old")
        vqbench("report", "runs/quick", "-o", "r.csv")
        assert (tmp_path / "r.csv").read_text().startswith("candidate,")
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    def test_no_line_is_wider_than_100_columns(self, vqbench):
        assert max(map(len, vqbench("report", "runs/quick").stdout.splitlines())) <= 100

    def test_several_runs_make_a_page_of_what_differs(self, vqbench, tmp_path):
        assert vqbench("report", "runs/quick", "runs/worse", "-o", "page.html").exit_code == 0
        page = (tmp_path / "page.html").read_text()
        assert "<h1>worse against quick</h1>" in page
        assert "Differences</h2>" in page

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["runs/quick", "runs/worse"], "several runs make a page"),
            (["runs/quick", "runs/worse", "-o", "r.md"], "several runs make a page"),
            (["runs/quick", "runs/worse", "-o", "r.html", "--baseline", "main"], "not gated"),
            (["runs/quick", "-o", "r.md", "--assets", "sounds"], "--assets belongs to a page"),
            (["runs/quick", "-f", "html", "--assets", "sounds"], "--assets belongs to a page"),
            (["runs/quick", "-o", "r.html", "--assets", "./r.html"], "--assets names the page itself"),
            (["runs/quick", "-o", "r.html", "--assets", "baselines/main.json"], "baselines/main.json"),
            (["runs/quikc", "-o", "r.html"], "runs/quikc"),
        ],
    )
    def test_what_does_not_go_together_is_said(self, vqbench, tmp_path, arguments, problem):
        done = vqbench("report", *arguments)
        assert done.exit_code == 2
        assert problem in done.stderr
        assert not list(tmp_path.glob("r.*"))

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("exhibits.json", "{", "no JSON"),
            ("exhibits.json", '{"schema": 7}', "another version"),
            ("exhibits.json", '{"schema": 1, "exhibits": [{"why": [], "shown": 3}]}', "exhibits[0].shown"),
            ("transcripts.jsonl", "[]", "transcripts.jsonl:1"),
            (
                "transcripts.jsonl",
                '{"candidate": "nobody", "clip": "clip000", "reference": "a", "hypothesis": "b"}',
                "another run",
            ),
        ],
    )
    def test_what_is_damaged_beside_a_run_is_named_and_nothing_is_written(
        self, vqbench, tmp_path, name, content, problem
    ):
        (tmp_path / "runs/quick" / name).write_text(content)
        done = vqbench("report", "runs/quick", "-o", "page.html")
        assert done.exit_code == 2
        assert problem in done.stderr
        assert not (tmp_path / "page.html").exists()
        # Tables need but the figures.
        assert vqbench("report", "runs/quick").exit_code == 0


class TestBaseline:
    def test_a_saved_run_can_be_listed_and_shown(self, vqbench):
        assert vqbench("baseline", "save", "runs/worse", "next").stdout == "baselines/next.json\n"
        assert vqbench("baseline", "list").stdout.split() == ["main", "next", "small"]
        assert vqbench("baseline", "show", "next").stdout.startswith("headline figures")
        assert json.loads(vqbench("baseline", "show", "next", "--json").stdout)["suite"]["name"] == "synthetic"

    def test_no_baselines_is_a_note_not_an_answer(self, vqbench, tmp_path):
        shutil.rmtree(tmp_path / "baselines")
        done = vqbench("baseline", "list")
        assert (done.exit_code, done.stdout) == (0, "")
        assert "no baselines" in done.stderr

    def test_a_file_that_somebody_named_speaks_to_no_terminal(self, vqbench, tmp_path):
        shutil.copy(tmp_path / "baselines/main.json", tmp_path / "baselines/\x1b[31mred\nand two.json")
        assert vqbench("baseline", "list").stdout.splitlines()[0] == "\ufffd[31mred and two"
        assert "\x1b" not in vqbench("baseline", "show", "\x1b[31mredd").stderr

    def test_replacing_takes_the_new_run(self, vqbench, tmp_path):
        vqbench("baseline", "save", "runs/worse", "main", "--replace")
        assert load_run(tmp_path / "baselines/main.json") == load_run(tmp_path / "runs/worse")


@pytest.mark.parametrize("kind", ["suite", "recipe"])
def test_a_schema_describes_an_object(vqbench, kind):
    schema = json.loads(vqbench("schema", kind).stdout)
    assert schema["type"] == "object"
    assert "name" in schema["properties"]
