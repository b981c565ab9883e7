"""Which groups of metrics a suite asks for on its recordings, with their judges, which are loaded when first needed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from vqbench.audio.mel import MelSpec
from vqbench.config.suite import Suite
from vqbench.data.manifest import Clip
from vqbench.engine.further_judges import check_further_judges, further_judges
from vqbench.engine.teachers import open_teacher
from vqbench.judges.asr.recognizer import SpeechRecognizer, load_recognizer
from vqbench.judges.protocol import Asked, Judge
from vqbench.judges.speaker.encoder import Resemblyzer, SpeakerEncoder
from vqbench.metrics.base import MetricGroup
from vqbench.records.run import MetricSpec
from vqbench.registries import METRICS, STAGED


class Groups:
    """The groups of a suite for each front end that its systems read.

    Args:
        suite: what is asked for.
        device: where judges listen.
        languages: codes of those of the clips.
        clips: the recordings, for judges who compare with them.
    """

    def __init__(
        self, suite: Suite, device: torch.device, languages: Collection[str], clips: Sequence[Clip] = ()
    ) -> None:
        self._suite = suite
        self.device = device
        self.languages = languages
        self._clips = clips
        self._by_spec: dict[str, tuple[MetricGroup, ...]] = {}

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The figures of all groups."""
        return tuple(spec for group in self.of(MelSpec()) for spec in group.specs)

    @property
    def identities(self) -> dict[str, object]:
        """The judges and versions behind the figures, for the provenance."""
        return {group.name: dict(group.identity) for group in self.of(MelSpec())}

    def of(self, mel_spec: MelSpec) -> tuple[MetricGroup, ...]:
        """The groups for systems that read this front end."""
        if mel_spec.fingerprint not in self._by_spec:
            context = _Context(self, mel_spec)
            self._by_spec[mel_spec.fingerprint] = tuple(
                group for name in self._suite.metrics if name not in STAGED for group in METRICS.load(name)(context)
            )
        return self._by_spec[mel_spec.fingerprint]

    @cached_property
    def recognizer(self) -> SpeechRecognizer:
        """The suite's ASR."""
        return load_recognizer(**self._suite.asr.model_dump(), device=self.device)

    @cached_property
    def speaker_encoder(self) -> SpeakerEncoder:
        """Who tells voices apart."""
        return Resemblyzer(self.device)

    @cached_property
    def further_judges(self) -> tuple[Judge, ...]:
        """Whoever else shall listen to copies."""
        names, written = self._suite.speech.judges, self._suite.teacher
        if not names:
            return ()
        teacher = None if written is None else open_teacher(written, self.device)
        asked = Asked("speech", teacher, self._clips, "speech.judges")
        check_further_judges(names, asked)
        return further_judges(names, asked)


@dataclass(frozen=True)
class _Context:
    """The groups' models, for one front end: a `vqbench.metrics.base.Context`."""

    groups: Groups
    mel_spec: MelSpec

    @property
    def device(self) -> torch.device:
        return self.groups.device

    @property
    def languages(self) -> Collection[str]:
        return self.groups.languages

    @property
    def recognizer(self) -> SpeechRecognizer:
        return self.groups.recognizer

    @property
    def speaker_encoder(self) -> SpeakerEncoder:
        return self.groups.speaker_encoder

    @property
    def further_judges(self) -> tuple[Judge, ...]:
        return self.groups.further_judges
