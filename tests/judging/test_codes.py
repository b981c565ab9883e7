from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from vqbench.errors import ResultError
from vqbench.judging.codes import MOST_POINTS, confusion, positions, rank_frequency
from vqbench.records.run import Table
from vqbench.stats.columns import Ragged, column_of
from vqbench.stats.proportion import wilson_interval


def codebook(rows, size=1024.0):
    return Table("c", "codebook", ids(rows), {"codes": column_of(rows)}, {"codebook_size": size})


def agreement(gpt, own, size=1024.0):
    columns = {"gpt_codes": column_of(gpt), "codes": column_of(own)}
    return Table("c", "token_agreement", ids(gpt), columns, {"codebook_size": size})


def ids(rows):
    return tuple(f"clip{i}" for i in range(len(rows)))


def agreeing(rows):
    """A table of sequences that agree where a row holds True."""
    lengths = np.array([len(row) for row in rows])
    agrees = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    columns = {"gpt_codes": Ragged(np.ones_like(agrees), lengths), "codes": Ragged(agrees, lengths)}
    return Table("c", "token_agreement", ids(rows), columns, {"codebook_size": 2.0})


def test_few_codes_are_ranked_one_by_one():
    found = rank_frequency(codebook([(7, 7, 3), (), (7, 3, 900)]))
    assert (found.size, found.tokens) == (1024, 6)
    assert found.ranks.tolist() == [1, 2, 3]
    assert found.counts.tolist() == [3, 2, 1]


def test_many_codes_are_ranked_evenly_on_a_log_axis():
    codes = np.random.default_rng(0).zipf(1.3, 60_000)
    codes = codes[codes < 8192]
    found = rank_frequency(codebook([tuple(codes.tolist())], 8192.0))
    brute = [count for _, count in Counter(codes.tolist()).most_common()]
    assert len(brute) > 1000
    assert len(found.ranks) <= MOST_POINTS
    assert (found.ranks[0], found.ranks[-1]) == (1, len(brute))
    assert (np.diff(found.ranks) > 0).all()
    assert found.counts.tolist() == [brute[rank - 1] for rank in found.ranks]
    steps = np.diff(np.log(found.ranks[found.ranks > 100]))
    assert steps.max() < 1.3 * steps.min()


@pytest.mark.parametrize("n_codes", [MOST_POINTS, MOST_POINTS + 1])
def test_the_first_and_the_last_rank_are_always_there(n_codes):
    ranks = rank_frequency(codebook([tuple(range(n_codes))])).ranks
    assert (ranks[0], ranks[-1]) == (1, n_codes)
    assert len(ranks) <= MOST_POINTS


@pytest.mark.parametrize("rows", [[], [()], [(), ()]])
def test_without_tokens_there_is_nothing(rows):
    found = rank_frequency(codebook(rows))
    assert (found.tokens, len(found.ranks), len(found.counts)) == (0, 0, 0)
    table = agreement(rows, rows)
    assert positions(table, 0.95) == []
    empty = confusion(table)
    assert [len(part) for part in (empty.gpt_codes, empty.written_codes, empty.shares, empty.other)] == [0] * 4


def test_positions_one_by_one():
    rows = [(True, index < 3, *[False] * index) for index in range(20)]
    found = positions(agreeing(rows), 0.95)
    # Sequences are 2 to 21 tokens long; ten of them are at least 12.
    assert [(one.first, one.last) for one in found] == [(place, place) for place in range(1, 13)]
    assert [one.n for one in found] == [20, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10]
    assert [one.share for one in found] == [1.0, 0.15] + [0.0] * 10


def test_intervals_of_single_positions_are_wilsons():
    draw = np.random.default_rng(1)
    rows = [draw.random(draw.integers(5, 40)) < 0.3 for _ in range(50)]
    for one in positions(agreeing(rows), 0.9):
        reaching = [row[one.first - 1] for row in rows if len(row) >= one.first]
        interval = stats.binomtest(sum(map(int, reaching)), len(reaching)).proportion_ci(0.9, "wilson")
        assert (one.n, one.share) == (len(reaching), pytest.approx(np.mean(reaching)))
        assert (one.low, one.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


@pytest.mark.parametrize(("longest", "n_bins", "width"), [(200, 200, 1), (201, 101, 2), (400, 200, 2), (1001, 167, 6)])
def test_long_sequences_are_told_several_tokens_at_once(longest, n_bins, width):
    draw = np.random.default_rng(2)
    lengths = [longest] * 13 + list(draw.integers(1, longest, 12))
    rows = [draw.random(length) < 0.4 for length in lengths]
    found = positions(agreeing(rows), 0.95)
    assert len(found) == n_bins
    assert [one.first for one in found] == list(range(1, longest + 1, width))
    assert [one.last for one in found] == [*range(width, longest, width), longest]
    for one in found:
        of_sequences = [row[one.first - 1 : one.last].mean() for row in rows if len(row) >= one.first]
        assert one.n == len(of_sequences)
        assert one.share == pytest.approx(np.mean(of_sequences))


def test_positions_that_too_few_reach_are_in_no_bin():
    rows = [[True] * 301, *[[True] * 301 + [False] * 600] * 9]
    found = positions(agreeing(rows), 0.95)
    assert found[-1].last == 301
    assert {one.share for one in found} == {1.0}


def test_with_fewer_than_ten_sequences_no_position_is_told():
    assert positions(agreeing([(True, False)] * 9), 0.95) == []
    assert len(positions(agreeing([(True, False)] * 10), 0.95)) == 2


def test_all_or_none_agreeing_still_leaves_room_for_doubt():
    first, second = positions(agreeing([(True, False)] * 30), 0.95)
    assert (first.share, first.high, second.share, second.low) == (1.0, 1.0, 0.0, 0.0)
    assert first.low == pytest.approx(0.8865, abs=1e-4)
    assert second.high == pytest.approx(1 - 0.8865, abs=1e-4)


@pytest.mark.parametrize("alike", [0.0, 0.5, 5.0, 1e6], ids=["wholly", "much", "little", "not at all"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_tokens_of_a_bin_do_not_pretend_to_be_independent(alike, share):
    """Whether a sequence's tokens go together or not, at least 95 % of the intervals hold the truth."""
    n, length, width = 40, 800, 4
    draw = np.random.default_rng(3)
    held = []
    for _ in range(6):
        if alike == 0:
            of_bin = (draw.random((n, length // width)) < share).astype(float)
        else:
            of_bin = draw.beta(alike * share, alike * (1 - share), (n, length // width))
        rows = draw.random((n, length)) < np.repeat(of_bin, width, axis=1)
        found = positions(agreeing(list(rows)), 0.95)
        assert len(found) == length // width
        held += [one.low <= share <= one.high for one in found]
    error = np.sqrt(0.05 * 0.95 / len(held))
    assert np.mean(held) > 0.95 - 3 * error


def test_taking_every_token_for_a_trial_would_pretend():
    """What the test above would catch: the same sequences with each token for one trial."""
    draw = np.random.default_rng(3)
    shares = (draw.random((2000, 40)) < 0.5).mean(axis=1)
    low, high = wilson_interval(shares, np.full(2000, 4 * 40), 0.95)
    assert np.mean((low <= 0.5) & (high >= 0.5)) < 0.8


def test_a_confusion_worked_out_by_hand():
    gpt = [(5, 5, 5, 5), (9, 9, 9), (2, 2), (7,)]
    own = [(9, 9, 5, 1), (9, 9, 8), (1, 5), (7,)]
    found = confusion(agreement(gpt, own), k=2)
    # The GPT wrote 5 four times and 9 three times; under these stand four 9 and one each of 1, 5 and 8.
    assert found.gpt_codes.tolist() == [9, 5]
    assert found.written_codes.tolist() == [9, 1]
    assert found.counts.tolist() == [3, 4]
    assert found.shares == pytest.approx(np.array([[2 / 3, 0], [1 / 2, 1 / 4]]))
    assert found.other == pytest.approx([1 / 3, 1 / 4])


def test_codes_of_both_come_first_so_that_the_diagonal_is_agreement():
    gpt, own = ((1,) * 9 + (2,) * 8 + (3,) * 7 + (4,) * 6,), ((8,) * 9 + (2,) * 8 + (9,) * 7 + (4,) * 6,)
    found = confusion(agreement(gpt, own))
    assert found.gpt_codes.tolist() == [2, 4, 1, 3]
    assert found.written_codes.tolist() == [2, 4, 8, 9]
    assert found.shares.tolist() == np.eye(4).tolist()
    assert found.other.tolist() == [0.0] * 4


@pytest.mark.parametrize("seed", range(5))
def test_a_confusion_is_what_counting_gives(seed):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(0, 60, 30)
    gpt = [np.minimum(draw.zipf(1.5, n), 40) for n in lengths]
    own = [np.where(draw.random(len(row)) < 0.4, row, np.minimum(draw.zipf(1.3, len(row)), 60)) for row in gpt]
    table = agreement(*([tuple(map(int, row)) for row in rows] for rows in (gpt, own)))
    found = confusion(table, k=6)
    pairs = Counter(zip(np.concatenate(gpt).tolist(), np.concatenate(own).tolist(), strict=True))
    of_gpt = Counter(np.concatenate(gpt).tolist())
    assert sorted(of_gpt[code] for code in found.gpt_codes) == sorted(n for _, n in of_gpt.most_common(6))
    asked = set(found.gpt_codes.tolist())
    under = Counter(code for (one, code), n in pairs.items() if one in asked for _ in range(n))
    assert sorted(under[code] for code in found.written_codes) == sorted(n for _, n in under.most_common(6))
    shared = [code for code in found.gpt_codes.tolist() if code in set(found.written_codes.tolist())]
    assert found.gpt_codes.tolist()[: len(shared)] == found.written_codes.tolist()[: len(shared)] == shared
    assert [of_gpt[code] for code in shared] == sorted((of_gpt[code] for code in shared), reverse=True)
    for row, code in enumerate(found.gpt_codes.tolist()):
        assert found.counts[row] == of_gpt[code]
        expected = [pairs[code, other] / of_gpt[code] for other in found.written_codes.tolist()]
        assert found.shares[row] == pytest.approx(expected)
        assert found.other[row] == pytest.approx(1 - sum(expected))


BY_SIDE = agreement([(1, 2), (3,)], [(1, 2), (4,)])


@pytest.mark.parametrize("figure", [confusion, lambda table: positions(table, 0.95)])
@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (agreement([(1, 2), (3,)], [(1, 2), (3, 4)]), "row clip1 holds 1 gpt_codes and 2 codes"),
        (agreement([(1, 2)], [(1.0, 2.5)]), "row clip0 holds 2.5"),
        (agreement([(1, 2)], [7.0]), "row clip0 holds 7.0"),
        (agreement([(1, 2)], [(1, 1024)]), "codes from 1 to 1024"),
        (agreement([(-1, 2)], [(1, 2)]), "codes from -1 to 2"),
        (replace(BY_SIDE, columns={"codes": BY_SIDE.columns["codes"]}), "gpt_codes: the column is missing"),
        (replace(BY_SIDE, constants={}), "the constant codebook_size is missing"),
    ],
)
def test_columns_that_hold_no_codes_side_by_side_are_refused(figure, table, problem):
    with pytest.raises(ResultError, match=problem):
        figure(table)


def test_a_codebook_without_codes_is_refused():
    with pytest.raises(ResultError, match="the column is missing"):
        rank_frequency(replace(codebook([(1,)]), columns={"code": column_of([(1,)])}))


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 40), (13, 40), (40, 40), (500, 1000)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_wilsons_interval_is_scipys(successes, n, confidence):
    low, high = wilson_interval(np.array([successes / n]), np.array([n]), confidence)
    interval = stats.binomtest(successes, n).proportion_ci(confidence, "wilson")
    assert (low[0], high[0]) == pytest.approx((interval.low, interval.high), abs=1e-9)
