"""The best one-to-one relabelling of a candidate's codes: how alike two tokenizers are when codes are mere names.

A relabelling with a free choice for each of thousands of codes fits chance as well: fitted and scored on the same
tokens, it makes unrelated codes agree. It is therefore cross-fitted: what is scored on a sentence was fitted on others.
Which others, and which of several relabellings that fit equally well, is chance, so it is done several times and
averaged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]

N_FOLDS = 5

N_ASSIGNMENTS = 8
"""How often sentences are dealt out to folds: once, a figure moved by 0.01 with the folds."""


def fit_relabelling(
    counts: NDArray[np.int64], codes: Codes, partners: Codes, codebook_size: int, seed: int = 0
) -> Codes:
    """Finds the one-to-one relabelling under which most tokens agree.

    It is the maximum-weight matching of the two codebooks, each pair of codes weighing as often as it occurs (the
    assignment problem; the solver is SciPy's, after R. Jonker and A. Volgenant 1987). Only pairs that do occur are
    looked at: each code may also stay unmatched, at weight 0, so that this has the optimum of the whole square matrix.

    Of relabellings under which as many tokens agree, the one is taken whose pairs are the larger shares of both codes'
    tokens, which does not hang on what the codes are called; among those that are equal in that, too, `seed` draws.

    Args:
        counts: (P,) tokens of each pair of codes, at least 1.
        codes: (P,) the candidate's code of each pair, each pair once.
        partners: (P,) the other tokenizer's code of each pair.
        codebook_size: codes of the larger of the two codebooks.
        seed: of the draw among equals.

    Returns:
        (codebook_size,) the label of each of the candidate's codes, no label twice. A code without a partner keeps its
        own label where that is free, else it gets -1.

    >>> fit_relabelling(np.array([3, 1, 2]), np.array([0, 0, 1]), np.array([2, 0, 0]), codebook_size=4).tolist()
    [2, 0, -1, 3]
    """
    labels = np.full(codebook_size, -1, dtype=np.int64)
    if len(counts):
        matched, partner = _match(counts, codes, partners, seed)
        labels[matched] = partner
    taken = np.zeros(codebook_size, dtype=bool)
    taken[labels[labels >= 0]] = True
    own = np.flatnonzero((labels < 0) & ~taken)
    labels[own] = own
    return labels


def _match(counts: NDArray[np.int64], codes: Codes, partners: Codes, seed: int) -> tuple[Codes, Codes]:
    """The matched pairs of the maximum-weight matching."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, row = _numbered(codes)
    columns, column = _numbered(partners)
    each = np.arange(len(rows))
    # One more on every edge changes no optimum, since every row gets one, and keeps the slack's zeros in the matrix.
    weights = np.concatenate([counts + 1 + _ties(counts, row, column, seed), np.ones(len(rows))])
    edges = (np.concatenate([row, each]), np.concatenate([column, len(columns) + each]))
    graph = csr_array((weights, edges), shape=(len(rows), len(columns) + len(rows)))
    row, column = min_weight_full_bipartite_matching(graph, maximize=True)
    real = column < len(columns)
    return rows[row[real]], columns[column[real]]


def _ties(counts: NDArray[np.int64], row: Codes, column: Codes, seed: int) -> NDArray[np.float64]:
    """What decides between pairs of equal counts: less than one token, however many pairs are matched."""
    of_rows, of_columns = np.bincount(row, weights=counts), np.bincount(column, weights=counts)
    shares = counts**2 / (of_rows[row] * of_columns[column])
    drawn = np.random.default_rng(seed).random(len(counts))
    ties: NDArray[np.float64] = (shares + 1e-3 * drawn) / (2.0 * (row.max() + 1))
    return ties


def _numbered(codes: Codes) -> tuple[Codes, Codes]:
    """The distinct codes, and where each of `codes` stands among them; a table is faster here than sorting."""
    occurs = np.bincount(codes) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[codes]


def crossfitted_matches(
    codes: Sequence[Codes], targets: Sequence[Codes], sentences: Sequence[str], codebook_size: int
) -> NDArray[np.float64] | None:
    """Counts the tokens of each sequence that agree under the relabelling fitted on other sentences.

    Args:
        codes: the candidate's codes, a sequence each.
        targets: the codes they should be, as many.
        sentences: what is said in each; sequences of one sentence fall into one fold.
        codebook_size: codes of the larger of the two codebooks.

    Returns:
        (n_sequences,) matches, each the mean over `N_ASSIGNMENTS` ways to deal sentences out; None where there are
        fewer than two sentences, since there is nothing to fit on.
    """
    if len(set(sentences)) < 2:
        return None
    row_of = np.repeat(np.arange(len(codes)), [len(row) for row in codes])
    own, target = np.concatenate(codes), np.concatenate(targets)
    pairs, pair = np.unique(own * codebook_size + target, return_inverse=True)
    agreed = np.zeros(len(own))
    for assignment in range(N_ASSIGNMENTS):
        fold_of_row = _folds(sentences, assignment)
        n_folds = int(fold_of_row.max()) + 1
        fold_of = fold_of_row[row_of]
        counts = np.bincount(pair * n_folds + fold_of, minlength=len(pairs) * n_folds).reshape(len(pairs), n_folds)
        for fold in range(n_folds):
            others = counts.sum(axis=1) - counts[:, fold]
            seen = others > 0
            fitted_on, partners = np.divmod(pairs[seen], codebook_size)
            labels = fit_relabelling(others[seen], fitted_on, partners, codebook_size, N_FOLDS * assignment + fold)
            here = fold_of == fold
            agreed[here] += labels[own[here]] == target[here]
    return np.bincount(row_of, weights=agreed, minlength=len(codes)) / N_ASSIGNMENTS


def _folds(sentences: Sequence[str], assignment: int) -> NDArray[np.int64]:
    """The fold of each sequence: sentences are dealt out evenly, in an order that depends on nothing but themselves."""

    def place(sentence: str) -> bytes:
        return hashlib.sha256(f"{assignment} {sentence}".encode()).digest()

    fold_of = {sentence: number % N_FOLDS for number, sentence in enumerate(sorted(set(sentences), key=place))}
    return np.array([fold_of[sentence] for sentence in sentences], dtype=np.int64)
