"""Transcripts for people: under each sentence what was heard from everybody, the errors marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vqbench.judging.languages import is_error_rate
from vqbench.records.run import Run
from vqbench.records.transcripts import Transcript
from vqbench.report.tables.markdown import escape

_HEAD = "| | errors | heard |\n| --- | ---: | --- |"


def transcripts_markdown(run: Run, transcripts: Sequence[Transcript]) -> str:
    """Writes one table a sentence, in the order of the run's clips.

    Words that are wrong or too many are **bold**, words that are missing ~~struck out~~; clips that were not scored say
    why.
    """
    heard: dict[str, dict[str, Transcript]] = {}
    for transcript in transcripts:
        heard.setdefault(transcript.clip, {})[transcript.candidate] = transcript
    reasons: dict[str, dict[str, str]] = {}
    listened = {metric.group for metric in run.metrics if is_error_rate(metric)}
    for table in run.tables:
        if table.group not in listened:
            continue
        for clip_id, reason in table.unscored.items():
            reasons.setdefault(clip_id, {}).setdefault(table.candidate, reason)
    names = [candidate.name for candidate in run.candidates]
    parts = [
        f"# What was heard: {escape(run.suite.name)}",
        "Wrong words and words too many are **bold**, missing ones ~~struck out~~; both sides are normalised. A phrase "
        "that is heard again and again, beyond the sentence, counts once too often.",
    ]
    for clip in run.clips:
        of_clip, why = heard.get(clip.id, {}), reasons.get(clip.id, {})
        if of_clip or why:
            title = escape(f"{clip.id}, {clip.speaker}" if clip.speaker else clip.id)
            sentence = next((transcript.reference for transcript in of_clip.values()), clip.text)
            rows = _rows(names, of_clip, why)
            parts.append("\n".join([f"## {title}", "", escape(sentence), "", _HEAD, *rows]))
    return "\n\n".join(parts) + "\n"


def _rows(names: Sequence[str], heard: Mapping[str, Transcript], reasons: Mapping[str, str]) -> Iterator[str]:
    for name in names:
        if name in heard:
            errors, marked = _marked(heard[name])
            yield f"| {escape(name)} | {errors} | {marked} |"
        elif name in reasons:
            yield f"| {escape(name)} | | *not scored: {escape(reasons[name])}* |"


def _marked(transcript: Transcript) -> tuple[str, str]:
    """The errors in numbers, and all that was heard with its errors marked; the same edits that jiwer counts."""
    counts, words = _edits(transcript.reference, transcript.hypothesis)
    if transcript.counted is not None:
        counts, _ = _edits(transcript.reference, transcript.counted)
    named = {"replace": "wrong", "delete": "missing", "insert": "too many"}
    told = [f"{count} {named[kind]}" for kind, count in counts.items() if count]
    if transcript.counted is not None:
        told.append("a loop")
    return ", ".join(told) or "none", " ".join(words)


def _edits(reference: str, hypothesis: str) -> tuple[dict[str, int], list[str]]:
    from rapidfuzz.distance import Levenshtein

    wanted, heard = reference.split(), hypothesis.split()
    counts = {"replace": 0, "delete": 0, "insert": 0}
    words = []
    for block in Levenshtein.opcodes(wanted, heard):
        missing, found = (
            " ".join(map(escape, part))
            for part in (wanted[block.src_start : block.src_end], heard[block.dest_start : block.dest_end])
        )
        if block.tag == "equal":
            words.append(found)
            continue
        counts[block.tag] += max(block.src_end - block.src_start, block.dest_end - block.dest_start)
        words += [f"~~{missing}~~"] if missing else []
        words += [f"**{found}**"] if found else []
    return counts, words
