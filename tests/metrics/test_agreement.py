"""Token agreement against hand-made cases, plain loops, jiwer and scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score

from vqbench.metrics.agreement import AGREEMENT_SPECS, EDGE_TOKENS, Encoded, GptSequence, agreement_columns
from vqbench.records.check import check_table
from vqbench.records.run import IntervalSpec, Table
from vqbench.records.summary import summarise
from vqbench.stats.columns import Ragged, columns_of

SIZE = 64
Rows = Sequence[Sequence[int]]


def table(gpt: Rows, own: Rows, oracle: Rows | None = None, size: int = SIZE, silent: int | None = None) -> Table:
    """The table of a candidate whose latents lie on its codes: a code further off is one rank and 0.5 further off."""
    sequences, encoded = [], []
    for place, (written, heard) in enumerate(zip(gpt, own, strict=True)):
        target, codes = np.array(written, dtype=np.int64), np.array(heard, dtype=np.int64)
        n = min(len(target), len(codes))
        ranks = np.abs(target[:n] - codes[:n])
        sequences.append(
            GptSequence(f"s{place}", target, target != (-1 if silent is None else silent), f"text {place}")
        )
        encoded.append(Encoded(codes, ranks, ranks * 0.5))
    truth = None if oracle is None else [np.array(codes, dtype=np.int64) for codes in oracle]
    columns = agreement_columns(sequences, encoded, truth, size)
    ids = tuple(sequence.id for sequence in sequences)
    return Table("candidate", "token_agreement", ids, columns_of(columns), {"codebook_size": float(size)})


def figures(found: Table) -> dict[str, float | None]:
    interval = IntervalSpec(resamples=20)
    return {spec.name.partition(".")[2]: summarise(spec, found, [], interval).value for spec in AGREEMENT_SPECS}


def random_rows(seed: int, n: int, length: int = 60, size: int = SIZE) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(5, size + 5)
    lengths = generator.integers(length // 2, length, n)
    return [generator.choice(size, m, p=weights / weights.sum()) for m in lengths]


def heard(rows: Sequence[np.ndarray], share: float, seed: int, size: int = SIZE) -> list[np.ndarray]:
    """Rows of which a share of tokens is drawn anew."""
    generator = np.random.default_rng(seed)
    return [np.where(generator.random(len(row)) < share, generator.integers(0, size, len(row)), row) for row in rows]


GPT = [(1, 1, 2, 3, 1), (4, 1)]
OWN = [(1, 2, 2, 3, 5, 9), (1, 1)]
ORACLE = [(1, 1, 2, 3), (4, 9, 9)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("raw", 4 / 7),  # 1 . 2 3 . | . 1
        ("floor", 4 / 7),  # always 1
        ("floor_unigram", (4 * 3) / (7 * 6)),  # only the code 1 occurs more than once, four times
        ("ceiling", 5 / 6),  # the oracle wrote one token less
        ("normalised", 0.0),
        ("without_silence", 2 / 3),  # 2, 3 and 4 are heard, the 1s are silence
        ("inner", None),  # no token is more than seven from both ends
        ("edge", 4 / 7),
        ("best_offset", 4 / 7),
        ("best_offset_tokens", 0.0),
        ("edit_rate", 3 / 7),
        ("top5", 1.0),
        ("top10", 1.0),
        ("codebook_distance", (1 + 4 + 3) * 0.5 / 7),
    ],
)
def test_values_worked_out_by_hand(name: str, value: float | None) -> None:
    assert figures(table(GPT, OWN, ORACLE, silent=1))[name] == pytest.approx(value)


def test_the_oracle_is_at_the_ceiling_and_the_best_constant_on_the_floor() -> None:
    gpt = random_rows(0, 20)
    oracle = heard(gpt, 0.2, seed=1)
    at_ceiling = figures(table(gpt, oracle, oracle))
    assert at_ceiling["raw"] == at_ceiling["ceiling"] == pytest.approx(0.8, abs=0.05)
    assert at_ceiling["normalised"] == 1.0
    constants = [figures(table(gpt, [np.full_like(row, code) for row in gpt], oracle)) for code in range(8)]
    best = max(constants, key=lambda found: found["raw"])
    assert best["raw"] == best["floor"]
    assert best["normalised"] == 0.0
    assert len({found["floor"] for found in [at_ceiling, *constants]}) == 1


def test_another_codebook_is_on_the_raw_floor_and_high_when_relabelled() -> None:
    gpt = random_rows(2, 60)
    same = heard(gpt, 0.2, seed=3)
    permutation = (np.arange(SIZE) * 5 + 7) % SIZE
    own, fresh = figures(table(gpt, same)), figures(table(gpt, [permutation[row] for row in same]))
    assert fresh["raw"] < fresh["floor"]
    assert fresh["relabelled"] == pytest.approx(own["relabelled"], abs=0.01) == pytest.approx(own["raw"], abs=0.01)
    assert fresh["mutual_information_share"] == pytest.approx(own["mutual_information_share"], abs=0.01)


def test_unrelated_codes_are_at_chance_in_every_figure() -> None:
    found = figures(table(random_rows(4, 60), random_rows(5, 60, length=120), size=SIZE))
    for name in ("raw", "without_silence", "inner", "edge", "best_offset", "relabelled"):
        assert found[name] < found["floor"] + 0.02, name
    assert found["raw"] == pytest.approx(found["floor_unigram"], abs=0.01)
    assert abs(found["mutual_information_share"]) < 0.02
    assert abs(found["mutual_information_bits"]) < 0.1
    assert found["edit_rate"] > 0.85


@pytest.mark.parametrize("late", [-4, -1, 0, 2, 4])
def test_a_constant_offset_is_found(late: int) -> None:
    gpt = random_rows(6, 10)
    own = [np.concatenate([row[-late:], row[:-late]]) if late else row for row in gpt]  # rolled by `late`
    found = figures(table(gpt, own))
    assert found["best_offset_tokens"] == late
    lost = abs(late) * len(gpt) / sum(map(len, gpt))
    assert found["best_offset"] == pytest.approx(1 - lost)
    if late:
        assert found["raw"] < 0.1
        assert found["edit_rate"] < 0.4


@pytest.mark.parametrize("length", range(1, 20))
def test_edges_are_within_seven_tokens_of_an_end(length: int) -> None:
    codes = [tuple(range(length))]
    row = {name: column[0] for name, column in table(codes, codes).columns.items() if not isinstance(column, Ragged)}
    edge = sum(place < EDGE_TOKENS or place >= length - EDGE_TOKENS for place in range(length))
    assert (row["edge_tokens"], row["inner_tokens"]) == (edge, length - edge)
    assert (row["edge_matches"], row["inner_matches"]) == (edge, length - edge)
    for offset in range(-4, 5):
        assert row[f"matches_at_{offset:+d}"] == (length if offset == 0 else 0)


codes = st.lists(st.integers(0, 9), min_size=1, max_size=30)


@given(rows=st.lists(st.tuples(codes, codes, codes), min_size=1, max_size=5))
def test_random_cases_by_plain_loops(rows: list[tuple[list[int], list[int], list[int]]]) -> None:
    gpt, own, oracle = zip(*rows, strict=True)
    found = figures(table(gpt, own, oracle, size=10, silent=0))
    both = [list(zip(written, mine, strict=False)) for written, mine in zip(gpt, own, strict=True)]
    flat = [pair for row in both for pair in row]
    written = [target for target, _ in flat]

    def share(pairs: Sequence[tuple[int, int]]) -> float | None:
        return sum(a == b for a, b in pairs) / len(pairs) if pairs else None

    def ratio(over: float, under: float) -> float | None:
        return over / under if under else None

    raw, floor = share(flat), max(written.count(code) for code in range(10)) / len(written)
    heard_true = [pair for row, truth in zip(both, oracle, strict=True) for pair in zip([t for t, _ in row], truth)]  # noqa: B905
    ceiling = share(heard_true)
    draws = [(i, j) for i in range(len(written)) for j in range(len(written)) if i != j]
    offsets = {
        k: sum(row[i][0] == row[i + k][1] for row in both for i in range(len(row)) if 0 <= i + k < len(row)) / len(flat)
        for k in (0, -1, 1, -2, 2, -3, 3, -4, 4)
    }
    best = max(offsets, key=lambda k: offsets[k])
    edges = [[i < 7 or i >= len(row) - 7 for i in range(len(row))] for row in both]
    words = [tuple(" ".join(f"w{pair[side]}" for pair in row) for row in both) for side in (0, 1)]
    expected = {
        "raw": raw,
        "floor": floor,
        "floor_unigram": ratio(sum(written[i] == written[j] for i, j in draws), len(draws)) or 0.0,
        "ceiling": ceiling,
        "normalised": (raw - floor) / (ceiling - floor) if ceiling - floor > 1e-9 else None,
        "without_silence": share([pair for pair in flat if pair[0] != 0]),
        "inner": share(
            [p for row, edge in zip(both, edges, strict=True) for p, e in zip(row, edge, strict=True) if not e]
        ),
        "edge": share([p for row, edge in zip(both, edges, strict=True) for p, e in zip(row, edge, strict=True) if e]),
        "best_offset": offsets[best],
        "best_offset_tokens": best,
        "edit_rate": jiwer.wer(list(words[0]), list(words[1])),
        "top5": sum(abs(a - b) < 5 for a, b in flat) / len(flat),
        "top10": 1.0,
        "codebook_distance": sum(abs(a - b) / 2 for a, b in flat) / len(flat),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_the_information_share_is_scikit_learns_adjusted_mutual_information() -> None:
    gpt = random_rows(7, 80)
    own = [(row * 3 + 1) % SIZE for row in heard(gpt, 0.4, seed=8)]
    # Out of the entropy of the GPT's tokens, which is the smaller one here, and without Miller's correction.
    reference = adjusted_mutual_info_score(np.concatenate(gpt), np.concatenate(own), average_method="min")
    assert figures(table(gpt, own))["mutual_information_share"] == pytest.approx(reference, abs=0.03)


def test_without_the_true_tokenizer_there_is_neither_ceiling_nor_normalised() -> None:
    found = table(random_rows(9, 3), random_rows(9, 3))
    for spec in AGREEMENT_SPECS:
        result = summarise(spec, found, [], IntervalSpec(resamples=20))
        known = spec.name not in ("token_agreement.ceiling", "token_agreement.normalised")
        assert (result.value is not None) == known, spec.name
        if not known:
            assert "ceiling_tokens" in (result.reason or "")


def test_one_sentence_has_no_relabelling() -> None:
    found = table(random_rows(10, 1), random_rows(10, 1))
    assert figures(found)["relabelled"] is None
    assert figures(found)["raw"] == 1.0


def test_every_figure_has_an_interval_and_a_table_that_the_judges_accept() -> None:
    gpt = random_rows(11, 12)
    oracle = heard(gpt, 0.1, seed=12)
    found = table(gpt, heard(gpt, 0.5, seed=13), oracle)
    for spec in AGREEMENT_SPECS:
        check_table(spec, found)
        result = summarise(spec, found, [], IntervalSpec(resamples=50))
        assert result.value is not None, spec.name
        assert result.ci_low is not None, spec.name
        assert result.ci_low <= result.value <= result.ci_high, spec.name


def test_figures_that_people_look_at_first() -> None:
    assert [spec.name for spec in AGREEMENT_SPECS if spec.headline] == [
        "token_agreement.raw",
        "token_agreement.normalised",
        "token_agreement.relabelled",
    ]


def test_no_sequences_leave_empty_columns() -> None:
    assert set(agreement_columns([], [], None, SIZE).values()) == {()}


def test_a_sequence_without_tokens_changes_nothing() -> None:
    gpt, own = random_rows(14, 6), heard(random_rows(14, 6), 0.3, seed=15)
    with_empty = figures(table([*gpt, []], [*own, [3]]))
    without = figures(table(gpt, own))
    assert with_empty.pop("relabelled") == pytest.approx(without.pop("relabelled"), abs=0.1)  # other folds
    assert with_empty == pytest.approx(without)


@pytest.mark.parametrize(
    ("sequence", "encoded", "size", "message"),
    [
        (([1, 2], [True]), ([1, 2], 2, 2), 8, "1 marks of audibility for 2 tokens"),
        (([1, 2], [True] * 2), ([1, 2], 3, 2), 8, "3 ranks and 2 distances for 2"),
        (([1, 2], [True] * 2), ([1], 2, 2), 8, "2 ranks and 2 distances for 1"),
        (([1, 9], [True] * 2), ([1, 2], 2, 2), 8, "from 1 to 9 in a codebook of 8"),
        (([1, 2], [True] * 2), ([-1, 2], 2, 2), 8, "from -1 to 2"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(sequence, encoded, size, message) -> None:
    written, audible = sequence
    own, ranks, distances = encoded
    with pytest.raises(ValueError, match=message):
        agreement_columns(
            [GptSequence("s", np.array(written), np.array(audible), "text")],
            [Encoded(np.array(own), np.zeros(ranks, dtype=np.int64), np.zeros(distances))],
            None,
            size,
        )
    with pytest.raises(ValueError, match="shorter"):
        agreement_columns([GptSequence("s", np.array(written), np.array(audible), "text")], [], None, size)
