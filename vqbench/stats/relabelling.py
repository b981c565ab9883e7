"""The best one-to-one relabelling of a candidate's codes: how alike two tokenizers are when codes are mere names.

A relabelling with a free choice for each of thousands of codes fits chance as well: fitted and scored on the same
tokens, it makes unrelated codes agree. It is therefore cross-fitted: what is scored on a sentence was fitted on others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]

N_FOLDS = 5


def fit_relabelling(counts: NDArray[np.int64], codes: Codes, partners: Codes, codebook_size: int) -> Codes:
    """Finds the one-to-one relabelling under which most tokens agree.

    It is the maximum-weight matching of the two codebooks, each pair of codes weighing as often as it occurs (the
    assignment problem; the solver is SciPy's, after R. Jonker and A. Volgenant 1987). Only pairs that do occur are
    looked at: each code may also stay unmatched, at weight 0, so that this has the optimum of the whole square matrix.

    Args:
        counts: (P,) tokens of each pair of codes, at least 1.
        codes: (P,) the candidate's code of each pair, each pair once.
        partners: (P,) the other tokenizer's code of each pair.
        codebook_size: codes of the larger of the two codebooks.

    Returns:
        (codebook_size,) the label of each of the candidate's codes, no label twice. A code without a partner keeps its
        own label where that is free, else it gets -1.

    >>> fit_relabelling(np.array([3, 1, 2]), np.array([0, 0, 1]), np.array([2, 0, 0]), codebook_size=4).tolist()
    [2, 0, -1, 3]
    """
    labels = np.full(codebook_size, -1, dtype=np.int64)
    if len(counts):
        matched, partner = _match(counts, codes, partners)
        labels[matched] = partner
    taken = np.zeros(codebook_size, dtype=bool)
    taken[labels[labels >= 0]] = True
    own = np.flatnonzero((labels < 0) & ~taken)
    labels[own] = own
    return labels


def _match(counts: NDArray[np.int64], codes: Codes, partners: Codes) -> tuple[Codes, Codes]:
    """The matched pairs of the maximum-weight matching."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, row = _numbered(codes)
    columns, column = _numbered(partners)
    each = np.arange(len(rows))
    # One more on every edge changes no optimum, since every row gets one, and keeps the slack's zeros in the matrix.
    weights = np.concatenate([counts + 1, np.ones(len(rows), dtype=np.int64)]).astype(np.float64)
    edges = (np.concatenate([row, each]), np.concatenate([column, len(columns) + each]))
    graph = csr_array((weights, edges), shape=(len(rows), len(columns) + len(rows)))
    row, column = min_weight_full_bipartite_matching(graph, maximize=True)
    real = column < len(columns)
    return rows[row[real]], columns[column[real]]


def _numbered(codes: Codes) -> tuple[Codes, Codes]:
    """The distinct codes, and where each of `codes` stands among them; a table is faster here than sorting."""
    occurs = np.bincount(codes) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[codes]


def crossfitted_matches(
    codes: Sequence[Codes], targets: Sequence[Codes], sentences: Sequence[str], codebook_size: int
) -> NDArray[np.int64] | None:
    """Counts the tokens of each sequence that agree under the relabelling fitted on other sentences.

    Args:
        codes: the candidate's codes, a sequence each.
        targets: the codes they should be, as many.
        sentences: what is said in each; sequences of one sentence fall into one fold.
        codebook_size: codes of the larger of the two codebooks.

    Returns:
        (n_sequences,) matches; None where there are fewer than two sentences, since there is nothing to fit on.
    """
    fold_of_row = _folds(sentences)
    n_folds = int(fold_of_row.max(initial=-1)) + 1
    if n_folds < 2:
        return None
    row_of = np.repeat(np.arange(len(codes)), [len(row) for row in codes])
    own, target = np.concatenate(codes), np.concatenate(targets)
    pairs, pair = np.unique(own * codebook_size + target, return_inverse=True)
    fold_of = fold_of_row[row_of]
    counts = np.bincount(pair * n_folds + fold_of, minlength=len(pairs) * n_folds).reshape(len(pairs), n_folds)
    agrees = np.zeros(len(own), dtype=bool)
    for fold in range(n_folds):
        others = counts.sum(axis=1) - counts[:, fold]
        seen = others > 0
        fitted_on, partners = np.divmod(pairs[seen], codebook_size)
        labels = fit_relabelling(others[seen], fitted_on, partners, codebook_size)
        here = fold_of == fold
        agrees[here] = labels[own[here]] == target[here]
    return np.bincount(row_of[agrees], minlength=len(codes))


def _folds(sentences: Sequence[str]) -> NDArray[np.int64]:
    """The fold of each sequence: sentences are dealt out evenly, in an order that depends on nothing but themselves."""
    distinct = sorted(set(sentences), key=lambda sentence: hashlib.sha256(sentence.encode()).digest())
    fold_of = {sentence: place % N_FOLDS for place, sentence in enumerate(distinct)}
    return np.array([fold_of[sentence] for sentence in sentences], dtype=np.int64)
