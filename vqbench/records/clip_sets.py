"""The sets that a run's clips fall into: what each is called, wherever a set is named.

`ClipRecord.clip_set` and `MetricSpec.clip_set` name one. A set that is not listed here, as a metric of another package
may bring, is a plain one: it is called by its own name, and drawn as the suite says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ClipSet:
    """A set of clips.

    Attributes:
        name: as clips and metrics name it; their ids begin with it, but for the suite's own recordings (`speech`).
        noun: what its clips are called, in the plural.
        exhibited: what is heard of one of them side by side; None where they are not to be heard.
        task: the Hub's task that metrics of it belong to.
        title: how that task is shown; `{}` stands for whose tokens the others are held against.
        single: whether each clip is drawn by itself where intervals are `unit: clip`; else by speaker even then.
        spoken_by_teacher: whether a TorToiSe says its sentences.
        group: the group of metrics that alone is measured on it; None where there are several.
    """

    name: str
    noun: str
    exhibited: str | None = None
    task: str = "other"
    title: str = "Other"
    single: bool = False
    spoken_by_teacher: bool = False
    group: str | None = None


_ALL = (
    ClipSet("speech", "clips", "Copies of the recording", "audio-to-audio", "Reconstruction of speech", single=True),
    ClipSet(
        "downstream",
        "spoken sentences",
        "The same sentence, said by TorToiSe after fine-tuning",
        "text-to-speech",
        "Speech of a TorToiSe trained on the tokens",
        single=True,
        spoken_by_teacher=True,
        group="downstream",
    ),
    ClipSet(
        "pairs",
        "GPT sequences",
        "What the GPT wrote, as it was rendered, and copies of it",
        title="Token agreement with a GPT, on what it spoke",
        group="token_agreement",
    ),
    ClipSet(
        "natural",
        "recordings",
        "Human speech, and copies of it",
        title="Token agreement with {}, on recordings",
        group="token_agreement",
    ),
    ClipSet("held-out", "held-out recordings", single=True, group="downstream"),
)

CLIP_SETS: Mapping[str, ClipSet] = {one.name: one for one in _ALL}
"""Those that vqbench measures on, in the order in which they are shown."""


def named_set(name: str) -> ClipSet:
    """The set of that name.

    >>> named_set("pairs").noun, named_set("phrases").noun
    ('GPT sequences', 'clips of phrases')
    """
    return CLIP_SETS.get(name) or ClipSet(name, f"clips of {name}")
