import json
import math
from dataclasses import replace

import numpy as np
import pytest
from builders import edit_result, make_run, replace_table, summarised, table_of, without_clips

from vqbench.errors import ResultError, VqbenchError
from vqbench.records.check import check_run
from vqbench.records.packing import pack
from vqbench.records.run import GateRule, Table
from vqbench.records.store import find_baseline, list_baselines, load_run, save_baseline, save_run
from vqbench.stats.columns import columns_of

RUN = make_run(
    gate=["speech.wer <= baseline + 0.02", GateRule("codebook.dead <= 5%", ("good",))], n_clips=12, allow_unscored=1
)


@pytest.fixture
def saved(tmp_path):
    return save_run(RUN, tmp_path / "run")


def test_what_is_saved_is_loaded(saved):
    assert load_run(saved) == load_run(saved.parent) == RUN


def test_everything_that_a_run_can_hold_survives(tmp_path):
    run = replace_table(RUN, without_clips(table_of(RUN, "good", "speech"), {"clip003": 'silent “ü” \n "\udcff"'}))
    odd = replace(run.clips[0], text="\u2028 naïve\t日本", speaker="")
    run = summarised(replace(run, clips=(odd, *run.clips[1:]), provenance={"packages": {"torch": None}, "cores": 2}))
    assert load_run(save_run(run, tmp_path)) == run


def test_whole_numbers_are_numbers(saved):
    plain = json.loads(saved.read_text())
    plain["clips"][0]["duration_s"] = 2
    saved.write_text(json.dumps(plain))
    assert load_run(saved) == RUN
    assert type(load_run(saved).clips[0].duration_s) is float


def test_each_record_has_a_line_of_its_own(saved):
    lines = saved.read_text().splitlines()
    assert sum(line.startswith('{"candidate"') for line in lines) == len(RUN.tables) + len(RUN.results)


def test_saving_again_replaces_the_file_and_leaves_nothing_else(saved):
    save_run(replace(RUN, provenance={}), saved.parent)
    assert load_run(saved).provenance == {}
    assert [file.name for file in saved.parent.iterdir()] == ["result.json"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_run_with_a_number_that_is_not_finite_is_never_written(saved, bad):
    before = saved.read_bytes()
    table = table_of(RUN, "good", "speech")
    cells = (bad, *table.columns["similarity"][1:])
    broken = replace(table, columns={**table.columns, "similarity": np.array(cells)})
    tables = tuple(broken if old is table else old for old in RUN.tables)
    for run in (replace(RUN, tables=tables), replace(RUN, provenance={"seconds": bad})):
        with pytest.raises(VqbenchError):
            save_run(run, saved.parent)
        assert saved.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError):
        save_run(RUN, tmp_path / "file" / "run")


def edited(change):
    """A way to break a saved file: a change of its JSON."""

    def broken(text):
        plain = json.loads(text)
        change(plain)
        return json.dumps(plain)

    return broken


def put(*path, value):
    def change(plain):
        *way, last = path
        for key in way:
            plain = plain[key]
        plain[last] = value

    return edited(change)


def drop(*path):
    def change(plain):
        *way, last = path
        for key in way:
            plain = plain[key]
        del plain[last]

    return edited(change)


TABLE = next(i for i, table in enumerate(RUN.tables) if (table.candidate, table.group) == ("good", "speech"))
CODES = next(i for i, table in enumerate(RUN.tables) if (table.candidate, table.group) == ("fair", "codebook"))
IDS = [clip.id for clip in RUN.clips]
METRIC = next(i for i, spec in enumerate(RUN.metrics) if spec.name == "speech.wer")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda text: "", "is empty"),
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: text.replace('"tables"', "'tables'"), "is not JSON"),
        (lambda text: "<html></html>", "result.json:1:1: is not JSON"),
        (lambda text: "[1, 2]", "no result of vqbench"),
        (lambda text: '{"accuracy": 3}', "no result of vqbench"),
        (lambda text: "[" * 100_000, "nested too deeply"),
        (lambda text: '{"schema": ' + "1" * 5000 + "}", "too long a number"),
        (lambda text: text.replace('"duration_s": 2.0', '"duration_s": NaN', 1), "holds the literal NaN"),
        (lambda text: text.replace('"duration_s": 2.0', '"duration_s": -Infinity', 1), "the literal -Infinity"),
        (lambda text: text.replace('"duration_s": 2.0', '"duration_s": 1e999', 1), "holds 1e999"),
        (lambda text: text.replace('"duration_s": 2.0', '"duration_s": 1' + "0" * 400, 1), "clips[0].duration_s"),
        (lambda text: text.replace('"seed"', '"seed": 0, "seed"', 1), "names the key 'seed' twice"),
        (put("interval", "confidence", value=0.0), "interval.confidence: is 0.0"),
        (put("interval", "confidence", value=2.0), "interval.confidence: is 2.0"),
        (put("interval", "resamples", value=0), "interval.resamples: is 0"),
        (put("interval", "seed", value=-1), "interval.seed: is -1"),
        (put("suite", "min_clips", value=-5), "suite.min_clips: is -5"),
        (put("suite", "allow_unscored", value=-1), "suite.allow_unscored: is -1"),
        (put("metrics", 0, "decimals", value=-1), "decimals: is -1"),
        (put("schema", value=4), "was written in schema 4, this vqbench reads 1 to 3"),
        (drop("checksum"), "has no checksum"),
        (put("checksum", value=3), "has no checksum"),
        (put("checksum", value="0" * 64), "was changed after it was written"),
        (put("provenance", "cores", value=99), "was changed after it was written"),
        (put("results", 0, "value", value=0.021), "contradict"),
        (put("results", 0, "n", value=-1), "has n = -1"),
        (put("results", 0, "n", value=3), "says n = 3, and there are 12 rows"),
        (put("results", 0, "ci_low", value=None), "has half an interval"),
        (put("results", 0, "ci_low", value=1e9), "has the interval 1e+09 to"),
        (lambda text: "[" * 4_000_001, "more than 4,000,000 lists and objects"),
        (put("schema", value=99), "update vqbench"),
        (put("schema", value=0), "run the suite again"),
        (put("schema", value="1"), "no result of vqbench"),
        (put("schema", value=True), "no result of vqbench"),
        (drop("schema"), "no result of vqbench"),
        (drop("clips"), "top level: the key 'clips' is missing"),
        (drop("suite", "name"), "suite: the key 'name' is missing"),
        (drop("tables", TABLE, "columns"), f"tables[{TABLE}]: the key 'columns' is missing"),
        (put("verdict", value=1), "unknown key 'verdict'"),
        (put("clips", 0, "speeker", value="a"), "clips[0]: unknown key 'speeker' (did you mean 'speaker'?)"),
        (put("clips", value={}), "clips: holds {}"),
        (put("clips", 0, value="clip"), "clips[0]: holds 'clip'"),
        (put("clips", 0, "duration_s", value="2"), "clips[0].duration_s: holds '2'"),
        (put("clips", 0, "duration_s", value=True), "clips[0].duration_s: holds True"),
        (put("clips", 0, "text", value=None), "clips[0].text: holds None"),
        (put("suite", "seed", value=1.5), "suite.seed: holds 1.5"),
        (put("candidates", 0, "role", value="judge"), "candidates[0].role: holds 'judge'"),
        (put("candidates", 0, "codebook_size", value=[1]), "candidates[0].codebook_size"),
        (put("metrics", 0, "columns", value="l1_sum"), "metrics[0].columns"),
        (put("metrics", 0, "higher_is_better", value="yes"), "metrics[0].higher_is_better"),
        (put("tables", TABLE, "columns", "errors", value="number"), f"tables[{TABLE}].columns.errors: holds 'number'"),
        (put("tables", TABLE, "columns", "error", value="numbers"), f"the column '{TABLE}.error' is missing"),
        (drop("tables", TABLE, "columns", "errors"), f"no table has the column '{TABLE}.errors'"),
        (drop("statistics", f"{TABLE}.errors"), f"the column '{TABLE}.errors' is missing"),
        (drop("statistics"), "statistics: holds None"),
        (put("statistics", value=[]), "statistics: holds []"),
        (put("tables", TABLE, "unscored", value={"clip000": 3}), f"tables[{TABLE}].unscored.clip000: holds 3"),
        (put("results", 0, "value", value="0.1"), "results[0].value"),
        (put("metrics", METRIC, "reduction", value="median"), "unknown reduction 'median'"),
        (put("metrics", METRIC, "columns", value=["errors"]), "names 1 columns"),
        (put("metrics", METRIC, "columns", value=["errors", "word"]), "did you mean 'words'"),
        (put("tables", TABLE, "row_ids", value=[*IDS[:-1], "clip000"]), "named more than once: clip000"),
        (put("tables", TABLE, "row_ids", value=[*IDS, "clip999"]), "unknown clips: clip999"),
        (put("tables", TABLE, "row_ids", value=IDS[:-1]), "says nothing of some clips, neither a row"),
        (
            edited(lambda plain: plain["tables"][TABLE].update(row_ids=IDS, unscored={"clip000": "silent"})),
            "both scored and unscored: clip000",
        ),
        (put("tables", TABLE, "candidate", value="goood"), "unknown candidate 'goood' (did you mean 'good'?)"),
        (put("tables", TABLE, "group", value="speach"), "unknown group 'speach'"),
        (put("clips", 1, "id", value="clip000"), "named more than once: clip000"),
        (put("candidates", 1, "name", value="good"), "named more than once: good"),
        (put("results", 0, "metric", value="speech.werr"), "unknown metric 'speech.werr'"),
        (put("tables", CODES, "constants", value={}), "the constant codebook_size is missing"),
        (
            edited(lambda plain: plain["tables"].append({**plain["tables"][0], "columns": {}})),
            "named more than once: good / recon",
        ),
    ],
)
def test_a_broken_file_is_one_clear_error(saved, break_it, message):
    text = saved.read_text()
    broken = break_it(text)
    assert broken != text
    saved.write_text(broken)
    with pytest.raises(ResultError) as caught:
        load_run(saved)
    assert message in str(caught.value)
    assert str(saved) in str(caught.value)


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_bytes(b"\x80\xff")]
)
def test_what_is_no_readable_file_is_one_clear_error(tmp_path, make):
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(ResultError) as caught:
        load_run(path)
    assert str(path) in str(caught.value)


def packed(column):
    return pack(columns_of({"": column})[""])


ERRORS = pack(table_of(RUN, "good", "speech").columns["errors"])
OF_CODES = pack(table_of(RUN, "fair", "codebook").columns["codes"])


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        (TABLE, "errors", None, "column errors: holds no array"),
        (TABLE, "errors", [1, 2], "column errors: holds no array"),
        (TABLE, "errors", {**ERRORS, "size": "12"}, "column errors: holds no array"),
        (TABLE, "errors", {**ERRORS, "data": 12}, "column errors: is damaged"),
        (TABLE, "errors", {**ERRORS, "type": "object"}, "column errors: is of the type 'object'"),
        (TABLE, "errors", {**ERRORS, "data": "ü"}, "column errors: is damaged"),
        (TABLE, "errors", {"type": "uint8", "zlib": "AAAA"}, "column errors: is damaged"),
        (TABLE, "errors", {"type": "uint8", "zlib": packed([1.0] * 999)["zlib"]}, "column errors: holds more values"),
        (TABLE, "errors", {**ERRORS, "data": ERRORS["data"][:-8]}, "good / speech, column errors: holds 6 values"),
        (TABLE, "errors", packed([1.0] * 11), "good / speech, column errors: holds 11 values"),
        (TABLE, "errors", packed([1.0] * 13), "good / speech, column errors: holds more values"),
        (TABLE, "similarity", packed([math.nan] * 12), "column similarity: holds NaN"),
        (TABLE, "similarity", packed([1e308] * 12), "row clip000 holds 1e+308"),
        (TABLE, "words", packed([-5.0] * 12), "column words: row clip000 holds -5.0"),
        (CODES, "codes", {**OF_CODES, "lengths": packed([1e8] * 12)}, "says that it holds 1,200,000,000 values"),
        (CODES, "codes", packed([(1,)] * 11 + [(256,)]), "row clip011 holds codes from 256 to 256"),
        (CODES, "codes", packed([(1,)] * 11 + [(2, -1)]), "row clip011 holds codes from -1 to 2"),
        (CODES, "codes", packed([(1.5,)] * 12), "column codes: is of the type 'float64'"),
        (CODES, "codes", packed([(1,)] * 11), "column codes, lengths: holds 11 values"),
        (CODES, "codes", packed([1.0] * 12), "column codes: holds no column"),
        (CODES, "codes", {**OF_CODES, "lengths": packed([-1.0] * 12)}, "a row of a negative length"),
        (CODES, "codes", {**OF_CODES, "lengths": packed([(1,)] * 12)["lengths"]}, "column codes: holds more values"),
    ],
)
def test_a_broken_column_is_one_clear_error_when_it_is_looked_at(saved, table, column, value, message):
    edit_result(saved, lambda plain: plain["statistics"].update({f"{table}.{column}": value}))
    run = load_run(saved)
    with pytest.raises(ResultError) as caught:
        check_run(run)
    assert message in str(caught.value)


def test_who_wants_only_the_figures_decodes_no_statistics(saved):
    edit_result(saved, lambda plain: plain.update(statistics=dict.fromkeys(plain["statistics"], "damaged")))
    assert load_run(saved).results == RUN.results


def test_a_file_that_is_replaced_under_a_reader_is_no_mixture(saved):
    run = load_run(saved)
    save_run(replace(RUN, provenance={"other": 1}), saved.parent)
    with pytest.raises(ResultError, match="was changed while it was being read"):
        check_run(run)


def test_a_result_may_be_written_another_way(saved):
    saved.write_text(json.dumps(json.loads(saved.read_text()), indent=4))
    assert load_run(saved) == RUN


def test_the_same_run_is_the_same_file(saved, tmp_path):
    assert save_run(load_run(saved), tmp_path / "again").read_bytes() == saved.read_bytes()


def test_baselines_are_found_by_name_and_by_path(tmp_path, saved):
    folder = tmp_path / "baselines"
    assert list_baselines(folder) == []
    file = save_baseline(RUN, "quick", folder)
    save_baseline(RUN, "big-2.json", folder)
    assert list_baselines(folder) == ["big-2", "quick"]
    assert find_baseline("quick", folder) == find_baseline(str(file), folder) == file
    assert load_run(find_baseline("quick", folder)) == RUN
    assert find_baseline(str(saved.parent), folder) == saved.parent


def test_an_unknown_baseline_is_answered_with_near_names(tmp_path):
    save_baseline(RUN, "quick", tmp_path)
    with pytest.raises(ResultError, match="did you mean 'quick'"):
        find_baseline("quik", tmp_path)
    with pytest.raises(ResultError, match="there is none yet"):
        find_baseline("quick", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../quick", "a/b", "/quick", "a\\b", ".hidden", "nul\0", "red\x1b[31m", "two\nlines"]
)
def test_a_baselines_name_is_a_plain_name(tmp_path, name):
    with pytest.raises(ResultError, match="cannot be the name"):
        save_baseline(RUN, name, tmp_path / "baselines")
    assert not (tmp_path / "baselines").exists()


def test_a_baseline_is_replaced_only_on_demand(tmp_path):
    save_baseline(RUN, "quick", tmp_path)
    other = replace(RUN, provenance={})
    with pytest.raises(ResultError, match="there is such a baseline already"):
        save_baseline(other, "quick", tmp_path)
    assert load_run(tmp_path / "quick.json") == RUN
    save_baseline(other, "quick", tmp_path, replace=True)
    assert load_run(tmp_path / "quick.json") == other


def test_all_faults_of_a_run_are_told_at_once(tmp_path):
    ghost = Table("ghost", "speech", (), columns_of({"errors": (), "words": (), "similarity": ()}))
    with pytest.raises(VqbenchError) as caught:
        save_run(replace(RUN, tables=(*RUN.tables, ghost)), tmp_path)
    assert "unknown candidate 'ghost'" in str(caught.value)
    assert "says nothing of some clips" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
