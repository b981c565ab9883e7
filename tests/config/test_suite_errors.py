"""Broken suites: each gives one clear message with its line, and writes nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from config_examples import SUITE, Edit, the_error
from hypothesis import given, settings
from hypothesis import strategies as st

from vqbench.config.recipe import Recipe, load_recipe
from vqbench.config.suite import Suite, load_suite
from vqbench.errors import ManyErrors, VqbenchError

BROKEN_SUITES: dict[str, Edit] = {
    "unknown key": ("min_clips:", "min_clip:", 20, "min_clip: unknown key (did you mean 'min_clips'?)"),
    "unknown nested key": ("beam_size", "beams", 13, "asr.beams: unknown key (did you mean 'beam_size'?)"),
    "unknown key of a candidate": ("    mel_norms:", "    norms:", 9, "candidates[1].norms: unknown key"),
    "missing key": ("name: quick\n", "", 1, "name: this key is missing"),
    "missing nested key": (
        "  speech: {corpus: tortoise-voices, split: test, limit: 24}",
        "  {}",
        3,
        "data.speech: this key is missing",
    ),
    "missing name of a candidate": ("{name: trained, ", "{", 6, "candidates[0].name: this key is missing"),
    "unknown metric group": (
        "codebook, speech, thr",
        "codebok, speech, thr",
        11,
        "not a metric group (did you mean 'codebook'?)",
    ),
    "unknown reference": ("[original, ", "[orignal, ", 12, "'orignal' is not a reference (did you mean 'original'?)"),
    "unknown corpus": ("tortoise-voices", "tortoise-voice", 4, "not a known corpus (did you mean 'tortoise-voices'?)"),
    "unknown backend": ("faster-whisper", "fast-whisper", 13, "not a backend (did you mean 'faster-whisper'?)"),
    "unknown window": ("window: clip", "window: 30", 13, "asr.window: the number 30 is not a window"),
    "metric group twice": (
        "throughput]",
        "speech, throughput]",
        11,
        "metrics[3]: 'speech' is here for the second time",
    ),
    "no metrics": (
        "[reconstruction, codebook, speech, throughput]",
        "[]",
        11,
        "metrics: expected a list of at least 1",
    ),
    "text for a list": ("[original, vocoded]", "original", 12, "references: expected a list, got 'original'"),
    "list for text": ("name: quick", "name: [quick]", 1, "name: expected text, got a list"),
    "number for a name": (
        "name: quick",
        "name: 1.0",
        1,
        "name: expected text, got the number 1.0\n  fix: put it in quotes",
    ),
    "boolean for a name": ("name: quick", "name: true", 1, "name: expected text, got true\n  fix: put it in quotes"),
    "nothing for a name": ("name: quick", "name:", 1, "name: expected text, got nothing"),
    "capital in a name": ("name: quick", "name: Quick", 1, "'Quick' cannot be a name"),
    "folder in a name": ("name: official", "name: ../official", 7, "'../official' cannot be a name"),
    "long name": ("name: quick", f"name: {'q' * 65}", 1, "name: expected text of at most 64 characters"),
    "text for a number": ("seed: 0", "seed: zero", 2, "seed: expected a whole number, got 'zero'"),
    "boolean for a number": ("beam_size: 5", "beam_size: true", 13, "asr.beam_size: expected a whole number, got true"),
    "fraction for a whole number": (
        "iterations: 32",
        "iterations: 3.5",
        15,
        "expected a whole number, got the number 3.5",
    ),
    "quoted number": ("min_clips: 10", "min_clips: '10'", 20, "min_clips: expected a whole number, got '10'"),
    "negative number": ("seed: 0", "seed: -1", 2, "seed: expected a number of at least 0, got the number -1"),
    "zero clips": ("limit: 24", "limit: 0", 4, "data.speech.limit: expected a number of at least 1"),
    "negative seconds": ("segment_s: 4.0", "segment_s: -4", 14, "throughput.segment_s: expected a number above 0"),
    "NaN": ("segment_s: 4.0", "segment_s: .nan", 14, "expected a finite number, got the number nan"),
    "infinity": ("segment_s: 4.0", "segment_s: 1e999", 14, "expected a finite number, got the number inf"),
    "certainty": ("confidence: 0.95", "confidence: 1", 16, "interval.confidence: expected a number below 1"),
    "percent for a share": (
        "confidence: 0.95",
        "confidence: 95%",
        16,
        "interval.confidence: expected a number, got '95%'",
    ),
    "few resamples": ("resamples: 2000", "resamples: 10", 16, "interval.resamples: expected a number of at least 100"),
    "huge number": ("resamples: 2000", f"resamples: {10**40}", 16, "got a number of more than 30 digits"),
    "batch size twice": (
        "[1, 8]",
        "[1, 8, 8]",
        14,
        "throughput.batch_sizes[2]: the number 8 is here for the second time",
    ),
    "batch of none": ("[1, 8]", "[0]", 14, "throughput.batch_sizes[0]: expected a number of at least 1"),
    "unknown device": ("device: auto", "device: gpu", 22, "device: 'gpu' cannot be a device"),
    "corpus and manifest": (
        "{corpus: tortoise-voices,",
        "{corpus: tortoise-voices, manifest: ../corpus/manifest.jsonl,",
        4,
        "expected exactly one of corpus, manifest, got corpus and manifest",
    ),
    "neither corpus nor manifest": (
        "corpus: tortoise-voices, ",
        "",
        4,
        "expected exactly one of corpus, manifest, got none",
    ),
    "checkpoint and recipe": (
        "recipe: ../recipes/brief.yaml",
        "recipe: ../recipes/brief.yaml, checkpoint: dvae.pth",
        10,
        "expected exactly one of checkpoint, recipe, tokenizer, command, got checkpoint and recipe",
    ),
    "neither checkpoint nor recipe": (
        ", recipe: ../recipes/brief.yaml",
        "",
        10,
        "one of checkpoint, recipe, tokenizer, command, got none of them",
    ),
    "norms of a recipe": (
        "brief.yaml}",
        "brief.yaml, mel_norms: mel_stats.pth}",
        10,
        "mel norms belong to a checkpoint",
    ),
    "candidate twice": ("name: official", "name: trained", 7, "'trained' is the name of an earlier candidate, too"),
    "candidate named as a reference": ("name: official", "name: vocoded", 7, "'vocoded' is the name of a reference"),
    "missing checkpoint": ("dvae.pth", "dave.pth", 8, "there is no file 'dave.pth' (did you mean 'dvae.pth'?)"),
    "another kind of sound": ("min_clips:", "exhibits: {sound: mp3}\nmin_clips:", 20, "'mp3' is not a kind of sound"),
    "fewer than no clips": ("min_clips:", "exhibits: {worst: -1}\nmin_clips:", 20, "exhibits.worst: expected a number"),
    "a clip named twice": (
        "min_clips:",
        "exhibits: {clips: [a, b, a]}\nmin_clips:",
        20,
        "exhibits.clips[2]: 'a' is here for the second time",
    ),
    "folder without a checkpoint": (
        "dvae.pth",
        "../candidates",
        8,
        "candidates[1].checkpoint: '../candidates' is a folder without a dvae.pth",
    ),
    "missing norms": ("mel_stats.pth", "norms.pth", 9, "candidates[1].mel_norms: there is no file 'norms.pth'"),
    "missing recipe": ("brief.yaml", "long.yaml", 10, "candidates[2].recipe: there is no file '../recipes/long.yaml'"),
    "missing manifest": (
        "corpus: tortoise-voices",
        "manifest: clips.jsonl",
        4,
        "data.speech.manifest: there is no file",
    ),
    "folder for a checkpoint": ("dvae.pth", "../candidates", 8, "'../candidates' is a folder"),
    "empty path": ("dvae.pth", "''", 8, "candidates[1].checkpoint: the path is empty"),
    "number for a path": ("dvae.pth", "5", 8, "candidates[1].checkpoint: expected a path, got the number 5"),
    "path out of the project": ("dvae.pth", "../../dvae.pth", 8, "'../../dvae.pth' leads out of"),
    "missing model folder": ("model: tiny.en", "model: ./tiny", 13, "asr.model: there is no file './tiny'"),
    "model out of the project": (
        "model: tiny.en",
        "model: ../../tiny",
        13,
        "asr.model: '../../tiny' leads out of",
    ),
    "rule that is no rule": ("speech.wer <= baseline + 0.05", "speech.wer is low", 18, "gate[0]"),
    "rule in a mapping that is no rule": ("codebook.dead <= 80%", "codebook.dead <= ", 19, "gate[1].rule: "),
    "number for a rule": (
        "speech.wer <= baseline + 0.05",
        "5",
        18,
        "gate[0]: expected a mapping of keys, got the number 5",
    ),
    "rule about an unmeasured group": (
        "codebook, speech,",
        "codebook,",
        18,
        "'speech.wer' is not measured: metrics lacks 'speech'",
    ),
    "rule about an unknown group": (
        "- speech.wer",
        "- speach.wer",
        18,
        "'speach.wer' belongs to no metric group (did you mean 'speech'?)",
    ),
    "rule for an unknown candidate": (
        "[trained]",
        "[traned]",
        19,
        "there is no candidate 'traned' (did you mean 'trained'?)",
    ),
    "rule for no candidate": ("[trained]", "[]", 19, "gate[1].candidates: expected a list of at least 1, got 0 items"),
    "rule without a rule": ("rule: codebook.dead <= 80%, ", "", 19, "gate[1].rule: this key is missing"),
    "key twice": ("device: auto", "seed: 1", 22, "'seed' is here for the second time; first on line 2"),
    "nested key twice": (
        "warmup: 2",
        "warmup: 2, segment_s: 4",
        14,
        "'segment_s' is here for the second time; first on line 14",
    ),
    "number for a key": ("device: auto", "5: auto", 22, "a key must be a name, got '5'"),
    "tag that wants to run code": ("name: quick", "name: !!python/object/apply:os.getcwd []", 1, "is not read here"),
    "number too long to read": ("seed: 0", f"seed: {'9' * 5000}", 2, "cannot be read as int"),
    "half a character": ("name: quick", 'name: "\\ud800"', 1, "name: expected text without halves of characters"),
    "condition that cannot be read": (
        "min_clips: 10",
        "slices: {short: duration_s < two}",
        20,
        "slices.short: cannot read the condition at 't'",
    ),
    "slice without a condition": (
        "min_clips: 10",
        "slices: {short: 2}",
        20,
        "slices.short: expected text, got the number 2",
    ),
    "slice with a value in its name": (
        "min_clips: 10",
        "slices: {speaker=a: duration_s < 2}",
        20,
        "'speaker=a' cannot be the name of a slice",
    ),
    "slices by a length": (
        "min_clips: 10",
        "slices: {by: [duration_s]}",
        20,
        "slices.by[0]: duration_s has a value of its own for nearly every clip",
    ),
    "slices by the same twice": (
        "min_clips: 10",
        "slices: {by: [speaker, speaker]}",
        20,
        "slices.by[1]: 'speaker' is here for the second time",
    ),
    "rule on a slice that there is not": (
        "candidates: [trained]}",
        "slice: short}",
        19,
        "gate[1].slice: there is no slice 'short'\n  expected: one of language=VALUE",
    ),
    "rule on a slice of speed": (
        "rule: codebook.dead <= 80%, candidates: [trained]}",
        "rule: throughput.rtfx >= 1, slice: language=vi}",
        19,
        "gate[1].slice: speed is measured by repetitions, not by clips",
    ),
}

NOT_YAML: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "", "the file is empty"),
    "only a comment": (b"# a suite\n", "", "the file is empty"),
    "a list": (b"- name: quick\n", ":1", "the file holds a list"),
    "text": (b"quick\n", ":1", "the file holds 'quick'"),
    "not UTF-8": (b"name: quick\n# caf\xe9\n", ":2", "the file is not UTF-8 text"),
    "UTF-16": ("name: quick".encode("utf-16"), ":1", "the file is not UTF-8 text"),
    "too large": (b"#" * 1_000_001, "", "the file is larger than 1,000,000 bytes"),
    "a tab": (b"name: quick\ndata:\n\tspeech: x\n", ":3:1", "a tab stands where YAML wants spaces"),
    "a control character": (b"name: quick\nseed: \x01\n", ":2:7", "the character '\\x01' is not allowed"),
    "an open bracket": (
        b"name: quick\nmetrics: [speech\nseed: 0\n",
        ":3:5",
        "not valid YAML: while parsing a flow sequence (from line 2)",
    ),
    "a colon in a value": (b"name: quick: fast\n", ":1:12", "mapping values are not allowed here\n  fix: put text"),
    "an unknown anchor": (b"name: *quick\n", ":1:7", "undefined alias"),
    "two documents": (b"name: quick\n---\nname: slow\n", ":2:1", "expected a single document"),
    "a character beyond Unicode": (b'name: "\\U12345678"\n', "", "not valid YAML"),
    "deep nesting": (b"a: " + b"[" * 5000, "", "nested too deep"),
    "nesting without end": (b"a: &a [*a, *a]\n", ":1", "an anchor contains itself"),
    "aliases that multiply": (
        b"a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c + 1, c + 1, b", ".join([b"*%c" % c] * 9)) for c in range(97, 106)),
        "",
        "more than 10000 values, aliases written out",
    ),
}


@pytest.mark.parametrize(("good", "bad", "line", "message"), BROKEN_SUITES.values(), ids=BROKEN_SUITES)
def test_broken_suite(project: Path, good: str, bad: str, line: int, message: str) -> None:
    assert good in SUITE
    path = project / "suites/quick.yaml"
    path.write_text(SUITE.replace(good, bad, 1))
    error = the_error(load_suite, path)
    assert error.where == f"{path}:{line}"
    assert message in str(error)


@pytest.mark.parametrize(("content", "place", "message"), NOT_YAML.values(), ids=NOT_YAML)
def test_file_that_is_no_suite(project: Path, content: bytes, place: str, message: str) -> None:
    path = project / "suites/quick.yaml"
    path.write_bytes(content)
    error = the_error(load_suite, path)
    assert error.where == f"{path}{place}"
    assert message in str(error)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("suites/quik.yaml", "there is no such file (did you mean 'quick.yaml'?)"),
        ("suites/zzz.yaml", "there is no such file"),
        ("nowhere/quick.yaml", "there is no such file"),
        ("suites", "this is a folder"),
    ],
)
def test_path_that_is_no_file(project: Path, name: str, message: str) -> None:
    error = the_error(load_suite, project / name)
    assert error.where == str(project / name)
    assert message in error.problem


def test_all_faults_are_reported_at_once_by_line(project: Path) -> None:
    path = project / "suites/quick.yaml"
    path.write_text(
        """\
name: Quick
data: {speech: {corpus: librispeech, split: test}}
candidates:
  - {name: trained, checkpoint: missing.safetensors, recipe: ../recipes/brief.yaml}
  - {name: trained, chekpoint: dvae.pth}
metrics: [speech, speech, codebok]
throughput: {batch_sizes: [8, 8, 0]}
throughput: {}
gate:
  - speech.wer <= baseline + 0.05
  - {rule: speech.wer, candidates: [traned]}
device: !gpu 0
colour: red
"""
    )
    with pytest.raises(ManyErrors) as caught:
        load_suite(path)
    wheres = [
        (int(str(error.where).rpartition(":")[2]), error.problem.partition(":")[0]) for error in caught.value.errors
    ]
    assert [line for line, _ in wheres] == sorted(line for line, _ in wheres)
    assert set(wheres) == {
        (1, "name"),
        (2, "data.speech.corpus"),
        (4, "candidates[0].checkpoint"),
        (4, "candidates[0].recipe"),
        (5, "candidates[1].name"),
        (5, "candidates[1].chekpoint"),
        (5, "candidates[1]"),
        (6, "metrics[1]"),
        (6, "metrics[2]"),
        (7, "throughput.batch_sizes[1]"),
        (7, "throughput.batch_sizes[2]"),
        (8, "'throughput' is here for the second time; first on line 7"),
        (11, "gate[1].rule"),
        (11, "gate[1].candidates[0]"),
        (12, "the tag '!gpu' is not read here; leave it out"),
        (13, "colour"),
    }
    assert all(error.where in str(caught.value) for error in caught.value.errors)


KEYS = st.sampled_from(
    [
        *Suite.model_fields,
        *Recipe.model_fields,
        "speech",
        "corpus",
        "manifest",
        "checkpoint",
        "recipe",
        "rule",
        "candidates",
        "steps",
        "guard",
        "kind",
        "codebook",
        "crop_frames",
        "num_layers",
        "folder",
        "n",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["quick", "tortoise-voices", "speech", "../x", "~/x", "speech.wer <= 0.1", "codebook.dead <= 5%"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)
reproducibly = settings(max_examples=300, deadline=None, derandomize=True, database=None)


def load_both(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "suites", "quick.yaml")
        path.parent.mkdir()
        path.write_bytes(content)
        for load in (load_suite, load_recipe):
            try:
                load(path)
            except VqbenchError as error:
                assert str(path) in str(error)
                str(error).encode()


@reproducibly
@given(st.text() | st.text(alphabet="abn: -[]{}&*!|>%@\"'\\\n\t#,?~0.e", max_size=60))
def test_any_text_is_refused_with_an_error_of_ours(text: str) -> None:
    load_both(text.encode("utf-8", "surrogatepass"))


@reproducibly
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_any_data_is_refused_with_an_error_of_ours(data: dict[str, Any]) -> None:
    load_both(yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass"))
