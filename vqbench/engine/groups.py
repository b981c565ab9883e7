"""Which metric groups a suite asks for, with their judges, which are loaded when first needed."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import torch

from vqbench.audio.mel import MelSpec
from vqbench.config.suite import Suite
from vqbench.judges.asr import SpeechRecognizer, load_recognizer
from vqbench.judges.speaker import SpeakerEncoder
from vqbench.metrics.base import MetricGroup
from vqbench.metrics.codebook import CodebookUsage
from vqbench.metrics.reconstruction import ReconstructionDistance
from vqbench.metrics.speech import Intelligibility, VoiceSimilarity
from vqbench.records.run import MetricSpec


class Groups:
    """The groups of a suite for each front end that its systems read; `languages` are the codes of its clips'."""

    def __init__(self, suite: Suite, device: torch.device, languages: Collection[str]) -> None:
        self._suite = suite
        self._device = device
        self._languages = languages
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
            self._by_spec[mel_spec.fingerprint] = tuple(self._make(mel_spec))
        return self._by_spec[mel_spec.fingerprint]

    def _make(self, mel_spec: MelSpec) -> list[MetricGroup]:
        groups: list[MetricGroup] = []
        for name in self._suite.metrics:
            if name == "reconstruction":
                groups.append(ReconstructionDistance(mel_spec))
            elif name == "codebook":
                groups.append(CodebookUsage())
            elif name == "speech":
                groups.append(Intelligibility(self.recognizer, mel_spec.sample_rate_hz, self._languages))
                groups.append(VoiceSimilarity(self.speaker_encoder, mel_spec.sample_rate_hz))
        return groups

    @cached_property
    def recognizer(self) -> SpeechRecognizer:
        """The suite's ASR."""
        return load_recognizer(**self._suite.asr.model_dump(), device=self._device)

    @cached_property
    def speaker_encoder(self) -> SpeakerEncoder:
        """Who tells voices apart."""
        return SpeakerEncoder(self._device)
