import pytest
from builders import make_run

from vqbench.errors import ResultError
from vqbench.judging.selection import load_baseline, load_selection
from vqbench.records.store import save_baseline, save_run

RUN = make_run(n_clips=10)


@pytest.fixture
def places(tmp_path):
    save_run(RUN, tmp_path / "tuesday")
    save_run(RUN, tmp_path / "odd:name")
    save_baseline(RUN, "quick", tmp_path / "baselines")
    return tmp_path


@pytest.mark.parametrize(
    ("argument", "label", "candidate"),
    [
        ("{}/tuesday", "tuesday", None),
        ("{}/tuesday/result.json", "tuesday", None),
        ("{}/tuesday:fair", "tuesday", "fair"),
        ("{}/tuesday:original", "tuesday", "original"),
        ("{}/odd:name", "odd:name", None),
        ("{}/odd:name:good", "odd:name", "good"),
        ("quick", "quick", None),
        ("quick:untrained", "quick", "untrained"),
        ("{}/baselines/quick.json:good", "quick", "good"),
    ],
)
def test_what_an_argument_names(places, argument, label, candidate):
    selection = load_selection(argument.format(places), places / "baselines")
    assert (selection.label, selection.candidate) == (label, candidate)
    assert selection.run == RUN


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("quik", "did you mean 'quick'"),
        ("quick:goood", "did you mean 'good'"),
        ("{}/wednesday", "no baseline, run or file"),
        ("{}/wednesday:good", "no baseline, run or file"),
        ("", "no baseline, run or file"),
        (":good", "no baseline, run or file"),
        ("{}", "there is no such file"),
    ],
)
def test_what_no_argument_can_name(places, argument, message):
    with pytest.raises(ResultError) as caught:
        load_selection(argument.format(places), places / "baselines")
    assert message in str(caught.value)


def test_the_baseline_asked_for_comes_before_the_suites_own(places):
    folder, own = places / "baselines", places / "odd:name/result.json"
    label = {
        (asked, written): (found := load_baseline(asked, written, folder)) and (found.label, found.candidate)
        for asked in ("quick:fair", None)
        for written in (own, places / "not-yet.json", None)
    }
    assert list(label.values()) == [("quick", "fair")] * 3 + [("odd:name", None), None, None]


def test_a_baseline_that_was_asked_for_must_be_there(places):
    with pytest.raises(ResultError, match="did you mean 'quick'"):
        load_baseline("quik", places / "tuesday", places / "baselines")
