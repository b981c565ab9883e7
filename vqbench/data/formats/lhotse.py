"""Lhotse's cuts: segments of recordings, with supervisions that say what is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vqbench.data.clip import Line
from vqbench.data.formats.base import Source, line_of
from vqbench.errors import DataError


class Lhotse:
    """`{"id": …, "start": 0, "duration": 3.2, "recording": {"sources": […]}, "supervisions": […]}`."""

    title = 'Lhotse\'s cuts, {"id": …, "start": …, "duration": …, "recording": …, "supervisions": …}'

    def knows(self, source: Source) -> bool:
        """Cuts of any kind, also those that are refused."""
        found = source.object()
        return str(found.get("type", "")).endswith("Cut") or {"recording", "supervisions"} <= found.keys()

    def lines(self, source: Source) -> Iterator[Line]:
        """One clip a cut; where a cut has several supervisions, one for each of them."""
        for where, found in source.objects():
            try:
                if isinstance(found, DataError):
                    raise found
                yield from _clips(where, found, source)
            except DataError as error:
                yield Line(where, error=error)
            except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
                problem = f"the cut cannot be read: {type(error).__name__}: {error}"
                yield Line(where, error=DataError(problem, expected="a cut as Lhotse writes it"))


def _clips(where: str, cut: Mapping[str, Any], source: Source) -> Iterator[Line]:
    kind = cut.get("type", "MonoCut")
    if kind not in ("MonoCut", "MultiCut"):
        raise DataError(f"a {kind} is made of several sounds", expected="cuts of one recording each, MonoCut")
    recording = cut["recording"]
    path = _file(recording)
    if recording.get("transforms"):
        raise DataError("the recording is to be transformed, e.g. its speed perturbed", expected="a recording as it is")
    if "channel" in cut and sum(len(one["channels"]) for one in recording["sources"]) > 1:
        raise DataError("the cut is of a recording with several channels", expected="recordings of one channel")
    start, length = float(cut.get("start", 0)), float(cut["duration"])
    said = cut.get("supervisions") or []
    if len(said) > 1:
        source.counts["cuts with several supervisions, one clip for each"] += 1
    for one in said or [{}]:
        own = cut if len(said) < 2 else one
        yield line_of(
            where,
            source,
            path,
            {**_flat(cut.get("custom")), **_flat(one.get("custom")), "gender": one.get("gender")},
            id=own["id"],
            start_s=start if len(said) < 2 else start + float(one["start"]),
            duration_s=length if len(said) < 2 else float(one["duration"]),
            text=one.get("text"),
            speaker=one.get("speaker"),
            language=one.get("language"),
        )


def _file(recording: Mapping[str, Any]) -> str:
    sources = recording["sources"]
    if len(sources) != 1 or sources[0].get("type") != "file":
        kinds = ", ".join(sorted({str(one.get("type")) for one in sources}))
        # A command would be run to read it.
        raise DataError(f"the recording's sources are {len(sources)}, {kinds}", expected="one source of the type file")
    return str(sources[0]["source"])


def _flat(custom: Any) -> dict[str, Any]:
    """What cuts and supervisions carry besides; arrays and features of their own are left out."""
    if not isinstance(custom, dict):
        return {}
    return {key: value for key, value in custom.items() if isinstance(value, str | int | float)}
