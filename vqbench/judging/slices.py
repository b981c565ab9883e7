"""The same slice of several runs, and of a run and its baseline, to be compared and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vqbench.errors import ResultError
from vqbench.judging.selection import Selection
from vqbench.records.run import Run, Slice
from vqbench.records.slices import metrics_of_clips, narrowed, of_slice, summarised


def slices_of(selections: Sequence[Selection], name: str) -> list[Selection]:
    """The same slice of several runs. Those that do not know it, as an older baseline, are taken on the others' clips.

    Raises:
        ResultError: no run has such a slice, or two mean different ones by that name.
    """
    known = {id(one.run): found for one in selections for found in one.run.slices if found.name == name}
    meanings = sorted({found.where for found in known.values()})
    if len(meanings) > 1:
        raise ResultError(f"the runs mean different slices by {name!r}: {'; '.join(meanings)}")
    if not known:
        of_slice(selections[0].run, name, selections[0].label)
    clips = {clip for found in known.values() for clip in found.clips}
    parts: dict[int, Run] = {}
    for one in selections:
        if id(one.run) in known:
            parts.setdefault(id(one.run), of_slice(one.run, name, one.label))
        elif id(one.run) not in parts:
            part = narrowed(one.run, clips)
            own = Slice(name, meanings[0], tuple(clip.id for clip in part.clips))
            parts[id(one.run)] = replace(
                part, metrics=metrics_of_clips(part), results=summarised(part, name), slices=(own,)
            )
    return [replace(one, run=parts[id(one.run)]) for one in selections]


class Parts:
    """The run and the baseline, on all clips or on those of a slice; each is made once, and kept."""

    def __init__(self, run: Run, baseline: Selection | None) -> None:
        self._runs: dict[str | None, Run] = {None: run}
        self._baselines: dict[str | None, Selection | None] = {None: baseline}

    def run(self, name: str | None) -> Run:
        """The run; of a slice with all its metrics of clips, those too that it has nobody for."""
        if name not in self._runs:
            whole = self._runs[None]
            part = of_slice(whole, name or "")
            metrics = tuple(spec for spec in whole.metrics if spec.resampled == "clip")
            self._runs[name] = replace(part, metrics=metrics)
        return self._runs[name]

    def baseline(self, name: str | None) -> Selection | None:
        """The baseline on the run's clips of a slice, whatever it calls them itself: it may be older than the slice."""
        whole = self._baselines[None]
        if name not in self._baselines and whole is not None:
            ids = {clip.id for clip in self.run(name).clips}
            self._baselines[name] = replace(whole, run=narrowed(whole.run, ids))
        return self._baselines.get(name)
