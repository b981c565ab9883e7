"""In which languages a run's clips are, and what that means for figures over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from vqbench.languages import ENGLISH, LANGUAGES, Language
from vqbench.records.clip_sets import named_set
from vqbench.records.run import ClipRecord, MetricSpec, Run
from vqbench.records.slices import LANGUAGE, some_of

ASSUMED = "english_assumed"
"""In a run's provenance: of each set of clips that an ASR heard, how many name no language."""

NOT_UNDERSTOOD = 0.5
"""An ASR that makes so many errors in the recordings themselves does not understand them."""


NOT_UNDERSTOOD_CHECK = "not_understood"
"""What the check of plausibility is called."""


def language_notes(run: Run, metrics: Sequence[MetricSpec]) -> list[str]:
    """What must be said under figures that an ASR stands behind: several languages, none with words, none named,
    none understood.

    Args:
        run: whose figures they are.
        metrics: those that are shown.
    """
    rates = [metric for metric in metrics if is_error_rate(metric)]
    notes = []
    for clip_set in map(named_set, dict.fromkeys(metric.clip_set for metric in rates)):
        counts = Counter(spoken_in(clip) for clip in run.clips if clip.clip_set == clip_set.name)
        names = [metric.name for metric in rates if metric.clip_set == clip_set.name]
        without = {code: n for code, n in counts.items() if not _language(code).has_spaces}
        if len(counts) > 1:
            notes.append(f"{', '.join(names)}: over {len(counts)} languages, {_counted(counts)}")
        if without and (worded := [name for name in names if name.endswith(".wer")]):
            notes.append(
                f"{', '.join(worded)}: without {_counted(without)}, written without spaces, so that no words can be "
                f"counted; {worded[0].rpartition('.')[0]}.cer counts the characters"
            )
        if clip_set.spoken_by_teacher and counts.keys() - {ENGLISH}:
            notes.append(
                f"{', '.join(names)}: TorToiSe reads every text as English, with numbers spelt out in English and "
                "letters brought to ASCII"
            )
        assumed = run.provenance.get(ASSUMED)
        if isinstance(assumed, Mapping) and assumed.get(clip_set.name):
            notes.append(
                f"{', '.join(names)}: {assumed[clip_set.name]} of {counts.total()} name no language; English is assumed"
            )
    if run.suite.plausibility.get(NOT_UNDERSTOOD_CHECK) != "off":
        notes += not_understood(run, rates)
    return notes


def mixed_languages(runs: Iterable[Run]) -> tuple[str, ...]:
    """Says of runs with clips in several languages that figures over all of them are over several."""
    notes: dict[str, None] = {}
    for run in runs:
        names = [one.name for one in run.slices if one.by == LANGUAGE]
        if len(names) > 1:
            notes[f"figures over clips in several languages; --slice shows one: {some_of(names)}"] = None
    return tuple(notes)


def not_understood(run: Run, metrics: Sequence[MetricSpec]) -> Iterator[str]:
    """What an ASR does not understand: of each language, in each set, an error rate of the recordings above 0.5.

    It is the WER; where the language has no spaces, the CER.
    """
    languages = {clip.id: spoken_in(clip) for clip in run.clips}
    for metric in metrics:
        table = next((t for t in run.tables if (t.candidate, t.group) == ("original", metric.group)), None)
        if table is None or not is_error_rate(metric):
            continue
        codes = np.array([languages[row] for row in table.row_ids])
        errors, total = (np.asarray(table.columns[column], dtype=np.float64) for column in metric.columns)
        for code in dict.fromkeys(codes.tolist()):
            of_code, rate = codes == code, metric.name.rpartition(".")[2]
            counts = rate == ("wer" if _language(code).has_spaces else "cer") and total[of_code].sum() > 0
            if counts and (found := errors[of_code].sum() / total[of_code].sum()) > NOT_UNDERSTOOD:
                yield (
                    f"its ASR does not understand recordings in {_language(code)}: {metric.name} of the originals is "
                    f"{found:.3f} (n = {of_code.sum():,}), so that the candidates' say little"
                )


def spoken_in(clip: ClipRecord) -> str:
    """The code of a clip's language: English where nobody named one."""
    return clip.language or ENGLISH


def _language(code: str) -> Language:
    # A file may say anything.
    return LANGUAGES.get(code) or Language(code, "another language", None, True)


def is_error_rate(metric: MetricSpec) -> bool:
    """Whether an ASR stands behind a metric: it is a WER or a CER."""
    return metric.reduction == "ratio" and metric.name.rpartition(".")[2] in ("wer", "cer")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(
        f"{_language(code)} {n}" for code, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
