import csv
import io
import json
import shlex
import shutil

import pytest
from typer.testing import CliRunner

from vqbench.cli import app

METRICS = "-m speech.wer -m codebook.entropy -m reconstruction.mcd_db"


@pytest.fixture
def vqbench(workplace, tmp_path, monkeypatch):
    """Runs a command line in a copy of the workplace."""
    shutil.copytree(workplace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return lambda line: CliRunner().invoke(app, shlex.split(line))


def answers(done):
    return {(one["metric"], one["candidate"]): one for one in json.loads(done.stdout)["sample_sizes"]}


def test_the_table_says_what_is_visible_and_what_is_needed(vqbench):
    done = vqbench(f"compare runs/quick --power --difference 0.02 {METRICS}")
    assert done.exit_code == 0, done.output
    assert "clips needed to see a difference from good" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    found = answers(vqbench(f"compare runs/quick --power --difference 0.02 {METRICS} -f json"))
    for size in found.values():
        for number in (size["needed_for_delta"], size["needed_for_difference"]):
            assert number is None or f" {number:,} " in done.stdout
    said = " ".join(done.stdout.split())
    assert "[1] depends on how much is encoded" in said
    assert "rough, as the spread is known from these alone: ±53 % from 8 speakers" in said
    assert "keep a gate rule with that margin in 80 % of runs" in said


def test_without_a_difference_there_is_no_column_for_it(vqbench):
    said = vqbench("compare runs/quick --power -m speech.wer").stdout
    assert "for 0.02" not in said
    assert "gate rule" not in said


def test_json_holds_the_comparison_and_the_answer(vqbench):
    done = vqbench(f"compare runs/quick --power --difference 2% {METRICS} -f json")
    document = json.loads(done.stdout)
    assert (document["difference"], document["power"], document["most"]) == ("2%", 0.8, 1_000_000)
    compared = json.loads(vqbench(f"compare runs/quick {METRICS} -f json").stdout)["comparisons"]
    for comparison, size in zip(compared, document["sample_sizes"], strict=True):
        assert {**comparison, **size} == {**size, "verdict": comparison["verdict"]}
    wer = answers(done)["speech.wer", "fair"]
    assert (wer["unit"], wer["difference"], wer["unanswered"]) == ("speaker", 0.02, None)
    assert answers(done)["reconstruction.mcd_db", "fair"]["difference"] is None


def test_csv_has_the_same_rows(vqbench):
    line = f"compare runs/quick --power --difference 0.05*baseline {METRICS}"
    rows = list(csv.DictReader(io.StringIO(vqbench(f"{line} -f csv").stdout)))
    sizes = json.loads(vqbench(f"{line} -f json").stdout)["sample_sizes"]
    assert [row["needed_for_delta"] for row in rows] == [
        "" if size["needed_for_delta"] is None else str(size["needed_for_delta"]) for size in sizes
    ]
    assert list(rows[0]) == list(sizes[0])


def test_markdown_is_one_table(vqbench):
    done = vqbench(f"compare runs/quick --power --difference 0.05*baseline {METRICS} -f markdown")
    assert done.stdout.startswith("### clips needed to see a difference from good\n")
    assert (
        "| clips<br>speakers | visible<br>from | needed<br>to see it | needed<br>for 0.05\\*baseline |" in done.stdout
    )
    assert len([line for line in done.stdout.splitlines() if line.startswith("| ")]) == 2 + 3 * 2


def test_several_references_are_told_apart(vqbench):
    said = vqbench("compare runs/quick runs/worse --power -m speech.speaker_similarity").stdout
    assert said.startswith("clips needed  ")
    assert {"quick:good", "worse:good", "worse:fair"} <= set(said.split())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("compare runs/quick --difference 0.02", "--difference belongs to --power"),
        ("compare runs/quick --power --difference 0.02x", "'0.02x' is no size of difference"),
        ("compare runs/quick --power --difference 0", "'0' is no size of difference"),
        ("compare runs/quick --power -m throughput.encode.latency_p90", "none of these metrics"),
        ("compare runs/quick --power -m speech.were", "no run has the metric 'speech.were'"),
    ],
)
def test_what_cannot_be_asked_is_an_error(vqbench, line, problem):
    done = vqbench(line)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert problem in done.stderr
