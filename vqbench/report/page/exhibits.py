"""Clips to be heard and looked at: each with everybody's sound, mel and tokens, as the page's script reads them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqbench.judging.evidence import Evidence
from vqbench.records.clip_sets import named_set
from vqbench.records.exhibits import MEL_FLOOR_DB, MIME_TYPES, Mel, Take, read_sound
from vqbench.report.page.blocks import Cast
from vqbench.report.page.packed import repack

Sound = Callable[[Evidence, str], Mapping[str, str]]
"""A run and the name of one of its sounds → how the page finds it: `{"mime", "data"}`, or `{"url"}`."""

_RENDERED = "rendered"
"""Whom a take without a name is of: the teacher that wrote the tokens and rendered them."""


@dataclass(frozen=True)
class _Part:
    """One clip of an exhibit, in one of the runs."""

    evidence: Evidence
    place: int
    takes: tuple[Take, ...]
    codes: Mapping[str, Any] | None
    codes_by: str | None


@dataclass(frozen=True)
class Showing:
    """An exhibit of the page.

    Attributes:
        why: why it was chosen, in each run that chose it.
        parts: clip by clip; of two runs those of a clip follow each other.
    """

    why: tuple[str, ...]
    parts: tuple[_Part, ...]

    @property
    def places(self) -> list[int]:
        """Its clips, each once."""
        return list(dict.fromkeys(part.place for part in self.parts))

    def entry(self, cast: Cast) -> dict[str, Any]:
        """How the index lists it."""
        clip = cast.clips[self.places[0]]
        return {
            "title": clip.text or clip.id,
            "speaker": clip.speaker,
            "why": list(self.why),
            "clips": self.places,
        }

    def block(self, cast: Cast, sound: Sound) -> dict[str, Any]:
        """All that is heard and seen of it; a sound that several takes have is there once."""
        sounds = {take.sound: part.evidence for part in self.parts for take in part.takes}
        return {
            "mel_floor_db": MEL_FLOOR_DB,
            "sounds": {name: sound(evidence, name) for name, evidence in sounds.items()},
            "shown": [self._shown(cast, place) for place in self.places],
        }

    def _shown(self, cast: Cast, place: int) -> dict[str, Any]:
        parts = [part for part in self.parts if part.place == place]
        named = named_set(cast.clips[place].clip_set)
        first = next((part for part in parts if part.codes is not None), parts[0])
        return {
            "clip": place,
            "label": named.exhibited or named.noun,
            "tokens": repack(first.codes),
            "tokens_by": first.codes_by,
            "takes": [_take(cast, part.evidence, take) for part, take in _each_once(cast, parts)],
        }


def _each_once(cast: Cast, parts: Sequence[_Part]) -> Iterator[tuple[_Part, Take]]:
    """All takes; of several runs a reference that sounds the same in both, as the recording does, is there once."""
    known: set[tuple[str, str]] = set()
    for part in parts:
        for take in part.takes:
            place = cast.contender(part.evidence.run, take.candidate)
            is_reference = place < 0 or cast.contenders[place].record.role == "reference"
            if not (is_reference and (take.candidate, take.sound) in known):
                known.add((take.candidate, take.sound))
                yield part, take


def showings(cast: Cast) -> list[Showing]:
    """What the runs chose to show; of two runs the clips that both of them show come first."""
    found: dict[int, list[tuple[Evidence, tuple[str, ...], list[_Part]]]] = {}
    for one in cast.evidence:
        for exhibit in one.exhibits.exhibits:
            parts = [
                _Part(one, cast.place_of(one.run, shown.clip), shown.takes, shown.codes, shown.codes_by)
                for shown in exhibit.shown
                if shown.takes
            ]
            if parts:
                found.setdefault(parts[0].place, []).append((one, exhibit.why, parts))
    return [
        Showing(
            tuple(dict.fromkeys(reason for _, why, _ in of_clip for reason in why)),
            tuple(part for _, _, parts in of_clip for part in parts),
        )
        for of_clip in sorted(found.values(), key=lambda of_clip: -len({id(one.run) for one, _, _ in of_clip}))
    ]


def embedded(evidence: Evidence, name: str) -> dict[str, str]:
    """A sound within the page."""
    assert evidence.folder is not None
    content = base64.b64encode(read_sound(evidence.folder, name)).decode("ascii")
    return {"mime": MIME_TYPES[name.rpartition(".")[2]], "data": content}


def sound_files(shown: Sequence[Showing]) -> Iterator[tuple[str, bytes]]:
    """Every sound once: its name, and its content."""
    done: set[str] = set()
    for showing in shown:
        for part in showing.parts:
            for take in part.takes:
                if take.sound not in done and part.evidence.folder is not None:
                    done.add(take.sound)
                    yield take.sound, read_sound(part.evidence.folder, take.sound)


def _take(cast: Cast, evidence: Evidence, take: Take) -> dict[str, Any]:
    place = cast.contender(evidence.run, take.candidate)
    return {
        "contender": None if place < 0 else place,
        "label": _RENDERED if place < 0 else cast.contenders[place].label,
        "audio": take.sound,
        "seconds": take.duration_s,
        "mel": None if take.mel is None else _mel(take.mel),
        "tokens": repack(take.codes),
    }


def _mel(mel: Mel) -> dict[str, Any]:
    return {
        "bands": mel.bands,
        "frames": mel.frames,
        "frames_per_s": mel.frames_per_s,
        "of": mel.of,
        "levels": repack(mel.levels, mel.bands * mel.frames),
    }
