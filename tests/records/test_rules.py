import pytest

from vqbench.errors import ConfigError
from vqbench.records.rules import Rule, parse_rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("speech.wer <= 0.15", Rule("speech.wer", "<=", 0.0, 0.15)),
        ("speech.wer<=.15", Rule("speech.wer", "<=", 0.0, 0.15)),
        ("speech.snr_db >= -20", Rule("speech.snr_db", ">=", 0.0, -20.0)),
        ("speech.snr_db >= - 1e1", Rule("speech.snr_db", ">=", 0.0, -10.0)),
        ("codebook.dead <= 5%", Rule("codebook.dead", "<=", 0.0, 0.05, percent=True)),
        ("codebook.dead <= 5 % @ 99 %", Rule("codebook.dead", "<=", 0.0, 0.05, percent=True, confidence=0.99)),
        ("wer <= baseline", Rule("wer", "<=", 1.0, 0.0)),
        ("  wer >= baseline  ", Rule("wer", ">=", 1.0, 0.0)),
        ("wer <= baseline + 0.02", Rule("wer", "<=", 1.0, 0.02)),
        ("wer <= baseline+2%", Rule("wer", "<=", 1.0, 0.02, percent=True)),
        ("wer >= baseline - 0.02 @ 90%", Rule("wer", ">=", 1.0, -0.02, confidence=0.9)),
        ("wer <= baseline-1e-3", Rule("wer", "<=", 1.0, -0.001)),
        ("throughput.encode.b8.rtfx >= baseline * 0.9", Rule("throughput.encode.b8.rtfx", ">=", 0.9, 0.0)),
        (
            "throughput.encode.b8.rtfx >= 0.9 * baseline @ 99.9%",
            Rule("throughput.encode.b8.rtfx", ">=", 0.9, 0.0, confidence=0.999),
        ),
        ("baseline_like.wer <= 3", Rule("baseline_like.wer", "<=", 0.0, 3.0)),
    ],
)
def test_rules_that_can_be_read(text, rule):
    read = parse_rule(text)
    assert (read.metric, read.op, read.scale, read.percent) == (rule.metric, rule.op, rule.scale, rule.percent)
    assert read.offset == pytest.approx(rule.offset, abs=1e-15)
    assert read.confidence == (None if rule.confidence is None else pytest.approx(rule.confidence))
    assert read.needs_baseline == (rule.scale != 0)


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 0, "a metric"),
        ("<= 3", 0, "a metric"),
        ("0.1 >= wer", 0, "a metric"),
        ("baseline <= wer", 0, "a metric"),
        ("wer", 3, "<= or >="),
        ("wer < 0.1", 4, "<= or >="),
        ("wer == 0.1", 4, "<= or >="),
        ("wer ≤ 0.1", 4, "<= or >="),
        ("speech wer <= 0.1", 7, "<= or >="),
        ("speech..wer <= 0.1", 6, "<= or >="),
        ("wer <=", 6, "a number, or baseline"),
        ("wer <= good", 7, "a number, or baseline"),
        ("wer <= --1", 8, "a number, or baseline"),
        ("wer <= 1.2.3", 7, "a number, or baseline"),
        ("wer <= 1e999", 7, "a finite number"),
        ("wer <= nan", 7, "a number, or baseline"),
        ("wer <= inf", 7, "a number, or baseline"),
        ("wer <= baseline +", 17, "a number"),
        ("wer <= baseline + -1", 18, "a number"),
        ("wer <= baseline 0.02", 16, "the end of the rule, or @ and a confidence"),
        ("wer <= baseline * 0", 18, "a factor above 0"),
        ("wer <= baseline * 110%", 21, "the end of the rule"),
        ("wer <= baseline * 1.1 + 2", 22, "the end of the rule"),
        ("wer <= 1.1 * good", 13, "baseline"),
        ("wer <= -1 * baseline", 8, "a factor above 0"),
        ("wer <= 0.1 0.2", 11, "the end of the rule"),
        ("wer <= 0.1 @", 12, "a confidence"),
        ("wer <= 0.1 @ 0.95", 17, "% after the confidence"),
        ("wer <= 0.1 @ 100%", 13, "a confidence from 50%"),
        ("wer <= 0.1 @ 5%", 13, "a confidence from 50%"),
        ("wer <= 0.1 @ 95% @ 95%", 17, "the end of the rule"),
        ("wer <= 0.1 and mcd <= 3", 11, "the end of the rule"),
    ],
)
def test_rules_that_cannot_be_read_point_at_the_place(text, column, expected):
    with pytest.raises(ConfigError) as caught:
        parse_rule(text)
    _, rule, caret = caught.value.problem.split("\n")
    assert rule == f"    {text}"
    assert caret.index("^") - 4 == column
    assert f"^ expected {expected}" in caret
