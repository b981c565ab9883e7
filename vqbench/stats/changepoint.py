"""Where the level of a short, noisy series shifted, and whether it shifted at all.

The series itself is the only evidence. A figure's interval tells how it would vary on other clips, but the runs of one
history share their clips: a hard set of clips is hard for all of them. What does vary from run to run (training, the
clock, another machine's arithmetic) shows in the series alone, so a shift is held against the spread that the same
values have in another order.

The hypothesis under test is that the values are exchangeable: any order of them was as likely. Two questions are put
to it, each at half the level. Did the level shift once: the statistic is the largest standardised difference of means
over all cuts in two (the maximal CUSUM, for normal noise the likelihood ratio). Did it shift and come back, as a fault
does that was mended: the same over all cuts of a middle part from the two ends. A level that goes to and fro more often
is only found where one such part stands out. A p-value is the share of permutations that reach a statistic. It holds
for any distribution of the noise, but not for noise that remembers: where a run passes its luck on to the next, p is
too small.

A level is at least two values long, so one value beyond all others is no level: before anything else the largest and
the smallest value are pulled in to the second largest and second smallest. This favours no order, so p stays exact, and
a single wild run neither passes for a shift nor hides one. Ranks would bear more wild runs, but could not tell that the
last two of twenty lie far off, which is what a history is read for.

Sources: E. Page, "Continuous inspection schemes", 1954 (CUSUM); A. Sen and M. Srivastava, "On tests for detecting
change in mean", 1975 (the largest over all cuts); A. Olshen et al., "Circular binary segmentation for the analysis of
array-based DNA copy number data", 2004 (a middle part); J. Antoch and M. Hušková, "Permutation tests in change point
analysis", 2001; L. Vostrikova, "Detecting disorder in multidimensional random processes", 1981 (cutting again);
N. Meinshausen, "Hierarchical testing of variable importance", 2008 (the level of a part by its size).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from vqbench.stats.columns import Array, Indices

LEVEL = 0.05
"""How often a series without any change may be said to have one."""

_LEAST = 2
"""Values that make a level."""

_BLOCK = 1000
"""Permutations made at a time."""

_REACHED_AT_LEVEL = 20
"""How many permutations reach a statistic whose p is the level: p then has a standard error of a fifth of itself."""

_BLOCKS_KEPT = 64
"""Blocks of permutations that are kept for further series of the same length: 26 MB of 200 values each."""

_ROUNDING = 1e-9
"""Values this close, relative to the largest, are the same, and so are statistics: sums round differently."""


@dataclass(frozen=True)
class Change:
    """The series takes another level at `index`, which is the first value of the new one.

    Attributes:
        before, after: the median of the stretch on each side, or the end of its line where it drifts.
        p_value: of the permutation test on the part that was cut here, corrected for how small a
            part that is and for the number of series: to be held against the level.
    """

    index: int
    before: float
    after: float
    p_value: float


@dataclass(frozen=True)
class Stretch:
    """Values `start` to `stop` (exclusive), which keep one level or follow one line.

    Attributes:
        first, last: the line's ends; the same number, the median, where it is a level.
        drift_p: p of "there is no change", corrected likewise, where a line tells it better than levels; else None.
    """

    start: int
    stop: int
    first: float
    last: float
    drift_p: float | None = None


@dataclass(frozen=True)
class Course:
    """A series cut into stretches, with one change between each two of them."""

    stretches: tuple[Stretch, ...]
    changes: tuple[Change, ...]

    @property
    def found(self) -> bool:
        """Whether there is a change or a drift in it."""
        return bool(self.changes) or any(stretch.drift_p is not None for stretch in self.stretches)


@dataclass(frozen=True)
class Search:
    """What was found in several series that were looked at together.

    Attributes:
        courses: one a series.
        n_tested: how many series could change at all, and so had to share the level.
        needed: how many values it takes to tell a change from chance in a series where none was found.
    """

    courses: tuple[Course, ...]
    n_tested: int
    needed: int


def fewest_values(n_series: int = 1, level: float = LEVEL) -> int:
    """The least number of values of which any order can have p <= level, where so many series share that level.

    The most telling order has all low values first, or all high ones: 2 of C(n, n/2) deals, and one of two questions.

    >>> fewest_values(), fewest_values(n_series=36)
    (9, 14)
    """
    n = 2 * _LEAST
    while 2 * 2 / math.comb(n, n // 2) > level / n_series:
        n += 1
    return n


def varies(values: Sequence[float] | Array) -> bool:
    """Whether there is anything to explain once a single wild value at either end is pulled in.

    >>> varies([0.125] * 10), varies([0.125] * 9 + [0.13]), varies([0.125] * 8 + [0.13] * 2)
    (False, False, True)
    """
    if len(values) < 2 * _LEAST:
        return False
    pulled_in = _pulled_in(np.asarray(values, dtype=np.float64))
    return bool(np.ptp(pulled_in) > _ROUNDING * np.abs(pulled_in).max())


def find_changes(values: Sequence[float], *, n_series: int = 1, level: float = LEVEL, seed: int = 0) -> Course:
    """Cuts a series where its level shifted.

    The whole series is tested first. Where its p is at most the level, it is cut, and each part is tested likewise, a
    part of m of n values at level · m/n: parts without a change never overlap, so all of them together err at most at
    the level. Last, neighbouring stretches that one straight line tells better than their levels are a drift, in which
    no single value is to blame.

    Args:
        values: finite, in order of time. Of fewer than `fewest_values(n_series, level)` nothing can be told.
        n_series: how many series are searched together, of which each gets an equal part of the level (Bonferroni).
        level: chance of any finding where nothing changed, in all of these series together.
        seed: of the permutations.

    Returns:
        The stretches and the changes between them.

    Raises:
        ValueError: there are no values, or some are not finite.

    >>> course = find_changes([0.125] * 10 + [0.130] * 10)
    >>> [(change.index, change.before, change.after) for change in course.changes]
    [(10, 0.125, 0.13)]
    >>> find_changes([0.125] * 20).changes
    ()
    """
    series = np.asarray(values, dtype=np.float64)
    if len(series) == 0 or not np.isfinite(series).all():
        raise ValueError("a series needs values, all of them finite")
    cuts = _cuts(series, 0, len(series), n_series * len(series), level, seed)
    stretches = _stretches(series, cuts)
    changes = [
        Change(after.start, before.last, after.first, cuts[after.start]) for before, after in pairwise(stretches)
    ]
    return Course(stretches, tuple(changes))


def _unchanged(values: Sequence[float]) -> Course:
    return Course(_stretches(np.asarray(values, dtype=np.float64), {}), ())


def search_all(series: Sequence[Sequence[float]], *, level: float = LEVEL, seed: int = 0) -> Search:
    """Looks for changes in several series by S. Holm's step-down procedure (1979).

    All series share the level, and those that are found to change leave their part to the others: the chance to find
    anything in a series without a change is at most the level, for all such series together. Within a series that did
    change, further changes are sought at the level at which the first was found. Series of one value alone, or too
    short even when looked at alone, cannot err and take no part.

    >>> search = search_all([[0.125] * 10 + [0.130] * 10, [0.7] * 20, [0.1, 0.2]])
    >>> [course.found for course in search.courses], search.n_tested, search.needed
    ([True, False, False], 1, 9)
    """
    courses = [_unchanged(values) for values in series]
    undecided = [i for i, values in enumerate(series) if len(values) >= fewest_values(1, level) and varies(values)]
    n_tested = n_sharing = len(undecided)
    while undecided:
        n_sharing = len(undecided)
        for index in undecided:
            courses[index] = find_changes(series[index], n_series=n_sharing, level=level, seed=seed)
        undecided = [index for index in undecided if not courses[index].found]
        if len(undecided) == n_sharing:
            break
    return Search(tuple(courses), n_tested, fewest_values(max(1, n_sharing), level))


def _cuts(
    series: Array, start: int, stop: int, n_all: int, level: float, seed: int, p_of_whole: float = 0.0
) -> dict[int, float]:
    """Where the part of a series from `start` to `stop` is cut → p, corrected; in order.

    A part is only looked at after a larger one was cut, so its p is at least that one's. `n_all` is how many values
    there are in all series, if they are all as long as this one.
    """
    part, share = series[start:stop], (stop - start) / n_all
    if len(part) < fewest_values(1, level * share) or not varies(part):
        return {}
    scaled = _standardised(part)
    for starts in (_ONCE, _BACK):
        p_value = max(p_of_whole, 2 * _permutation_p(scaled, starts, level * share / 2, seed) / share)
        if p_value <= level:
            break
    else:
        return {}
    found: dict[int, float] = {}
    for piece in _pieces(_largest_contrast(scaled, starts), len(part)):
        if piece.start:
            found[start + piece.start] = p_value
        found.update(_cuts(series, start + piece.start, start + piece.stop, n_all, level, seed, p_value))
    return found


@dataclass(frozen=True)
class _Piece:
    """Some values of a part, `start` to `stop`, told by their mean or by a straight line."""

    start: int
    stop: int
    straight: bool = False

    def fit(self, values: Array) -> Array:
        """The line, or the mean, by least squares."""
        own = values[self.start : self.stop]
        if not self.straight:
            return np.full(len(own), own.mean())
        places = np.arange(len(own)) - (len(own) - 1) / 2
        line: Array = own.mean() + (own @ places) / (places @ places) * places
        return line


def _pieces(cuts: Sequence[int], n: int) -> tuple[_Piece, ...]:
    return tuple(_Piece(start, stop) for start, stop in zip((0, *cuts), (*cuts, n), strict=True))


def _schwarz(values: Array, pieces: Sequence[_Piece]) -> float:
    """Schwarz's criterion (BIC), less is better: a parameter each level and each cut, two each line."""
    n = len(values)
    rss = sum(float(((values[p.start : p.stop] - p.fit(values)) ** 2).sum()) for p in pieces)
    n_parameters = sum(2 if piece.straight else 1 for piece in pieces) + len(pieces) - 1
    least = (_ROUNDING * float(np.ptp(values))) ** 2
    return n * math.log(max(rss / n, least)) + n_parameters * math.log(n)


def _stretches(series: Array, cuts: Mapping[int, float]) -> tuple[Stretch, ...]:
    """The stretches between cuts; neighbours become one line for as long as Schwarz's criterion gains by it."""
    pieces = _pieces(list(cuts), len(series))
    told = _pulled_in(series) if cuts else series
    while len(pieces) > 1:
        pairs = combinations(range(len(pieces)), 2)
        merged = [
            (*pieces[:i], _Piece(pieces[i].start, pieces[j].stop, straight=True), *pieces[j + 1 :]) for i, j in pairs
        ]
        best = min(merged, key=lambda candidate: _schwarz(told, candidate))
        if _schwarz(told, best) >= _schwarz(told, pieces):
            break
        pieces = best
    stretches = []
    for piece in pieces:
        first, *_, last = piece.fit(told) if piece.straight else 2 * [np.median(series[piece.start : piece.stop])]
        inside = [p_value for cut, p_value in cuts.items() if piece.start < cut < piece.stop]
        stretches.append(Stretch(piece.start, piece.stop, float(first), float(last), min(inside, default=None)))
    return tuple(stretches)


def _pulled_in(values: Array) -> Array:
    """The values with the largest and the smallest made equal to the next."""
    ordered = np.sort(values)
    return np.clip(values, ordered[1], ordered[-2])


def _standardised(values: Array) -> Array:
    """Pulled in, with mean 0 and range 1."""
    pulled_in = _pulled_in(values)
    scaled: Array = (pulled_in - pulled_in.mean()) / np.ptp(pulled_in)
    return scaled


_ONCE, _BACK = slice(0, 1), slice(_LEAST, None)
"""Where the part that is held against the rest may start: at 0 it is all up to one cut, later it lies between two."""


def _permutation_p(scaled: Array, starts: slice, level: float, seed: int) -> float:
    """p = (1 + #{permutations that reach the statistic}) / (1 + permutations).

    Once more have reached it than make p the level, it is no finding however many more are made, and no more are.
    """
    observed = float(_statistic(scaled[:, None], starts)[0]) - _ROUNDING
    pool = np.sort(scaled)  # the same permutations for the reversed series
    blocks = math.ceil(_REACHED_AT_LEVEL / level / _BLOCK)
    made = reached = 0
    while made < blocks and reached <= _REACHED_AT_LEVEL:
        reached += int((_statistic(pool[_permutations(len(pool), seed, made)], starts) >= observed).sum())
        made += 1
    return (1 + reached) / (1 + made * _BLOCK)


@lru_cache(maxsize=_BLOCKS_KEPT)
def _permutations(n: int, seed: int, block: int) -> NDArray[np.uint16]:
    """Random orders of n positions, one a column: (n, _BLOCK)."""
    orders = np.repeat(np.arange(n, dtype=np.uint16)[None], _BLOCK, axis=0)
    return np.ascontiguousarray(np.random.default_rng([seed, n, block]).permuted(orders, axis=1).T)


def _statistic(scaled: Array, starts: slice) -> Array:
    """The largest contrast of each series: (n, R) → (R,)."""
    largest = np.zeros(scaled.shape[1])
    for _, _, contrasts in _contrasts(scaled, starts):
        np.maximum(largest, contrasts.max(axis=0), out=largest)
    return largest


def _largest_contrast(scaled: Array, starts: slice) -> tuple[int, ...]:
    """The cut, or the two cuts, with the largest contrast: (n,) → 1 or 2 positions."""
    found = []
    for start, stops, contrasts in _contrasts(scaled[:, None], starts):
        index = int(contrasts.argmax())
        found.append((float(contrasts[index, 0]), start, int(stops[index])))
    return tuple(cut for cut in max(found)[1:] if cut)


def _contrasts(scaled: Array, starts: slice) -> Iterator[tuple[int, Indices, Array]]:
    """How much the values from a start to a stop differ from all others.

    It is the difference of means over its standard error, but for a factor that is the same for all. Between a cut and
    the next, or an end, lie at least `_LEAST` values.

    Args:
        scaled: (n, R), each column a series with mean 0.
        starts: which starts to try.

    Yields:
        A start, its stops (S,), and the contrasts (S, R).
    """
    n = len(scaled)
    sums = np.concatenate([np.zeros((1, scaled.shape[1])), np.cumsum(scaled, axis=0)])
    for start in range(n - 2 * _LEAST + 1)[starts]:
        stops = np.arange(start + _LEAST, n - _LEAST + 1)
        sizes = (stops - start)[:, None]
        contrasts = np.abs(sums[stops[0] : stops[-1] + 1] - sums[start])
        contrasts /= np.sqrt(sizes * (n - sizes))
        yield start, stops, contrasts
