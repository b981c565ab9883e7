"""A suite with all that it needs, found and checked; what is large is loaded when it is used, and little is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from vqbench.audio.griffin_lim import GriffinLim
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.candidate import CandidateConfig
from vqbench.config.suite import Suite
from vqbench.data.corpora import load_clips
from vqbench.data.manifest import Clip
from vqbench.engine.assignment import Assignment, find_slices, make_assignment
from vqbench.engine.cache import Cache
from vqbench.engine.candidates import Bring, check_recipes, load_trained, prepare_candidate
from vqbench.engine.coded import check_coded, open_reference
from vqbench.engine.downstream import find_obstacle
from vqbench.engine.exhibits import check_named
from vqbench.engine.further_judges import further_specs
from vqbench.engine.groups import Groups
from vqbench.engine.likelihood import Inquiry
from vqbench.engine.provenance import choose_device
from vqbench.engine.question import TRUE, Question, pose_question
from vqbench.engine.recipes import SourceFinder
from vqbench.engine.rows import clip_record
from vqbench.engine.sketch import Shelf, Sketch, sketched
from vqbench.engine.systems import MelCandidate, Original, Recording, System, Vocoded, WaveformCandidate, read_recording
from vqbench.engine.teachers import open_teacher
from vqbench.errors import CheckpointError, DataError, VqbenchError, raise_all
from vqbench.judges.asr.recognizer import require_languages
from vqbench.judges.protocol import CLIP_SET
from vqbench.judges.voice import SpokenVoice
from vqbench.judges.words import SpokenWords
from vqbench.judging.asked import check_rules
from vqbench.languages import ENGLISH
from vqbench.metrics.base import MetricGroup
from vqbench.metrics.learning import TokenLearning
from vqbench.metrics.streams import Reference, StreamAgreement
from vqbench.metrics.throughput import throughput_specs
from vqbench.metrics.workloads import Load
from vqbench.progress import Progress
from vqbench.records.run import ClipRecord, GateRule, MetricSpec, Slice
from vqbench.teachers.tortoise.teacher import TortoiseTeacher
from vqbench.tokenizers.dvae.tokenizer import DVAETokenizer
from vqbench.tokenizers.protocol import MelTokenizer, Tokenizer

SYSTEMS_KEPT = 4
"""So many candidates are in memory at once at most, those that were used last."""

CLIPS_AT_ONCE = 16
"""So many recordings are rendered and judged together; they are kept, so that those who take turns read each once."""


class Bench:
    """A suite that is opened. Each part is found when it is first asked for; `check` asks for all of them.

    Args:
        suite: what is asked for.
        cache: where trainings are kept.
        progress: shows how far trainings are.
        known: parts that need not be found again, by their names here.
    """

    def __init__(self, suite: Suite, cache: Cache, progress: Progress, known: Mapping[str, Any] | None = None) -> None:
        self.suite, self.cache, self.progress = suite, cache, progress
        self._programs: Shelf[DVAETokenizer | Tokenizer] = Shelf(len(suite.candidates) + 1)
        self._tokenizers: Shelf[DVAETokenizer | Tokenizer] = Shelf(SYSTEMS_KEPT)
        # Candidates with a front end of their own have recordings of their own.
        self.recordings: Shelf[Recording | DataError] = Shelf(2 * CLIPS_AT_ONCE)
        self._speakers: Shelf[TortoiseTeacher] = Shelf(1)
        self._brings: dict[str, Bring] = {}
        self._stand_ins: Mapping[str, CandidateConfig] = {}
        self.trained: dict[str, Path] = {}
        self.__dict__.update(known or {})

    @property
    def source(self) -> str:
        """Where the suite is written."""
        return str(self.suite.path or self.suite.name)

    def check(self) -> None:
        """Finds and checks all that a suite needs; nothing is trained or measured.

        Raises:
            VqbenchError: for rules about figures that are not measured, for clips, candidates and judges that cannot
                be loaded; all faults of a kind at once.
        """
        check_recipes(self.asked)
        check_coded(self.suite, [one for one in self.asked if one.is_coded], self.waveform_tokenizer)
        _ = self.device, self.clips, self.groups, self.load, self.question
        if self.assignment:
            require_languages(self.groups.recognizer, self.assignment.languages)
        _ = self.specs, self.rules
        check_named(self.suite.exhibits.clips, self.clips, self.question, self.assignment, self.source)
        # What the teacher will write makes no further slices: nobody knows more of it than its text and its length.
        known = (
            *self.clip_records,
            *(self.question.natural_records if self.question else ()),
            *(self.assignment.records if self.assignment else ()),
        )
        check_rules(self.rules, self.specs, self.source, [one.name for one in self.slices(known)])
        faults: list[VqbenchError] = []
        for config in self.asked:
            try:
                bring = self._bring(config)
                if bring.training is None:
                    self._sketch(config)
            except VqbenchError as error:
                faults.append(error)
        raise_all(faults)

    # ---- what is asked for

    @cached_property
    def asked(self) -> tuple[CandidateConfig, ...]:
        """The candidates, and the reference where it is none of them."""
        reference = self.reference
        alone = () if reference is None or reference in self.suite.candidates else (reference,)
        return (*self.suite.candidates, *alone)

    @property
    def reference(self) -> CandidateConfig | None:
        """Whose tokens the others' are held against; None where that is not measured, or nobody's."""
        return self.suite.reference if "token_agreement" in self.suite.metrics else None

    @cached_property
    def device(self) -> torch.device:
        """Where it is measured."""
        return choose_device(self.suite.device, self.source)

    @cached_property
    def clips(self) -> tuple[Clip, ...]:
        """The recordings of `data.speech`."""
        return tuple(load_clips(self.suite.data.speech))

    @cached_property
    def groups(self) -> Groups:
        """The metric groups of recordings, with their judges."""
        languages = {clip.language or ENGLISH for clip in self.clips}
        several = [len(self.waveform_tokenizer(one.name).streams) for one in self.suite.candidates if one.is_coded]
        return Groups(self.suite, self.device, languages, self.clips, max(several, default=1), self._waveform_reference)

    @cached_property
    def _waveform_reference(self) -> Reference | None:
        """The suite's reference, where it is a tokenizer of waveforms that writes codes."""
        config = self.reference
        if config is None or not config.is_coded:
            return None
        return open_reference(self.suite, config, partial(self.waveform_tokenizer, config.name))

    @cached_property
    def load(self) -> Load:
        """What speed is measured with."""
        return Load(**self.suite.throughput.model_dump(exclude={"yardstick"}))

    @cached_property
    def question(self) -> Question | None:
        """What tokens are held against; None where that is not measured."""
        if "token_agreement" not in self.suite.metrics or (self.reference and self.reference.is_coded):
            return None
        return pose_question(self.suite, self.device, self.clips)

    @cached_property
    def assignment(self) -> Assignment | None:
        """What everybody is to learn and to say; likewise."""
        opened = self.question.teacher if self.question else None
        return make_assignment(self.suite, self.device, opened) if "downstream" in self.suite.metrics else None

    @cached_property
    def inquiry(self) -> Inquiry | None:
        """What the GPT is asked of each recording; None where its likelihood is not measured."""
        if "likelihood" not in self.suite.metrics:
            return None
        writer = self.question.teacher if self.question else None
        known = writer or (self.assignment.teacher if self.assignment else None)
        return Inquiry(known or open_teacher(str(self.suite.teacher), self.device), self.clips, self.suite.seed, writer)

    @property
    def the_assignment(self) -> Assignment:
        """`assignment`, where there is one."""
        assert self.assignment is not None
        return self.assignment

    @cached_property
    def specs(self) -> tuple[MetricSpec, ...]:
        """The figures that there will be."""
        asked = self.assignment
        own = () if asked is None else (*SpokenWords.specs_for(asked.languages), *SpokenVoice.specs)
        return (
            *(self.question.specs if self.question else ()),
            *(self.inquiry.group.specs if self.inquiry else ()),
            *self.groups.specs,
            *own,
            *((*TokenLearning.specs, *further_specs(asked.further_judges, CLIP_SET)) if asked else ()),
            *(throughput_specs(self.load) if "throughput" in self.suite.metrics else ()),
        )

    @cached_property
    def rules(self) -> tuple[GateRule, ...]:
        """What figures are held against."""
        return tuple(GateRule(entry.rule, tuple(entry.candidates), entry.slice) for entry in self.suite.gate)

    @property
    def clip_records(self) -> tuple[ClipRecord, ...]:
        """The recordings of `data.speech`, as a run lists them."""
        return tuple(clip_record(clip, clip.id, clip.sha256, clip.duration_s, clip.text or "") for clip in self.clips)

    def slices(self, clips: Sequence[ClipRecord]) -> tuple[Slice, ...]:
        """The slices that a suite asks for.

        What is said downstream counts by the length of the recording whose sentence it is, since everybody takes
        another time to say it.

        Args:
            clips: of the run.

        Raises:
            VqbenchError: as `make_slices` does.
        """
        return find_slices(self.suite, self.assignment, clips)

    # ---- systems

    def train(self, config: CandidateConfig) -> None:
        """Trains a candidate that has a recipe; one that is trained already is only found."""
        if (make := self._bring(config).train) is not None:
            self.trained[config.name] = make()
            self._brings[config.name] = load_trained(self.trained[config.name], self.device)

    def training_of(self, config: CandidateConfig) -> str | None:
        """What names a candidate's training in the cache; None where it has no recipe."""
        return self._bring(config).training

    def pretend(self, stand_ins: Mapping[str, CandidateConfig]) -> None:
        """Takes untrained candidates for some that are trained in the run only, for who counts and measures nothing.

        Args:
            stand_ins: by the names of those whom they stand for; a checkpoint may stand for several.
        """
        self._stand_ins = stand_ins
        self._brings = {name: bring for name, bring in self._brings.items() if name not in stand_ins}

    @cached_property
    def systems(self) -> tuple[Sketch, ...]:
        """References and candidates, in the order of the run; recipes are trained by now."""
        references = tuple(sketched(self.system(name)) for name in self.suite.references)
        made: dict[str, Sketch] = {}
        candidates = []
        for config in self.suite.candidates:
            if (stand_in := self._stand_ins.get(config.name)) is None:
                candidates.append(self._sketch(config))
                continue
            if stand_in.name not in made:
                made[stand_in.name] = self._sketch(config)
            candidates.append(made[stand_in.name].as_another(config))
        return (*references, *candidates)

    @property
    def candidates(self) -> tuple[Sketch, ...]:
        """Those of them that are judged."""
        return tuple(one for one in self.systems if one.is_candidate)

    def groups_of(self, sketch: Sketch) -> list[MetricGroup]:
        """The groups that have something to say of a system."""
        name = sketch.record.name
        return [
            group
            for group in self.groups.of(sketch.mel_spec)
            # Nobody is held against himself.
            if group.needs in sketch.gives and not (isinstance(group, StreamAgreement) and group.reference.name == name)
        ]

    def system(self, name: str) -> System:
        """A system by its name, loaded now where it was not among the last used.

        Raises:
            CheckpointError: its checkpoint was changed during the run.
        """
        if name in self._references:
            return self._references[name]
        config = self._config(name)
        if config.is_coded:
            return WaveformCandidate(name, config.source, self.waveform_tokenizer(name), self.device)
        tokenizer = self.tokenizer(name)
        # A candidate with a front end of its own is vocoded from its own mel.
        vocoder = GriffinLim(tokenizer.mel_spec, self.suite.vocoder.iterations)
        return MelCandidate(config.name, config.source, tokenizer, vocoder, self.device, config.family)

    def is_coded(self, name: str) -> bool:
        """Whether somebody is a candidate, or the reference, and a tokenizer of waveforms."""
        return any(config.is_coded for config in self.asked if config.name == name)

    def tokenizer(self, name: str) -> DVAETokenizer:
        """That of a candidate, or of the reference. Errors as for `system`."""
        tokenizer = self._brought(name)
        assert isinstance(tokenizer, DVAETokenizer), f"{name} is no VQVAE"
        return tokenizer

    def waveform_tokenizer(self, name: str) -> Tokenizer:
        """That of a candidate which is no VQVAE on mels. Errors as for `system`."""
        tokenizer = self._brought(name)
        assert not isinstance(tokenizer, DVAETokenizer), f"{name} is a VQVAE"
        return tokenizer

    def _brought(self, name: str) -> DVAETokenizer | Tokenizer:
        config = self._config(name)
        # A program is started once: it holds its model in a process of its own, and may take minutes to load it.
        shelf = self._programs if config.command else self._tokenizers
        tokenizer = shelf.get(name, self._bring(config).load)
        known = next((one for one in self.__dict__.get("systems", ()) if one.record.name == name), None)
        if known is not None and known.record.digest != tokenizer.digest:
            raise CheckpointError("the checkpoint was changed during the run", where=f"candidate {name}")
        return tokenizer

    def tokenizer_called(self, name: str) -> MelTokenizer:
        """The same, or the teacher's own, which is called so in every suite."""
        if name != TRUE or name in {config.name for config in self.asked}:
            return self.tokenizer(name)
        writer = self.question.teacher if self.question else None
        teacher = self.inquiry.teacher if self.inquiry else writer
        assert teacher is not None and teacher.tokenizer is not None
        return teacher.tokenizer

    @cached_property
    def max_tokens(self) -> int:
        """What the teacher's GPT can write at once."""
        part = self.the_assignment.teacher.gpt
        with part.loaded() as gpt:
            most: int = gpt.dimensions.max_mel_tokens
        part.release()  # it is needed later, if at all
        return most

    def speaker(self, weights: Path | None) -> TortoiseTeacher:
        """The teacher with these weights of a tuned GPT, or as it is.

        Raises:
            CheckpointError: the file is damaged, or of another GPT.
        """
        teacher = self.the_assignment.teacher
        return teacher if weights is None else self._speakers.get(weights, lambda: teacher.tuned(weights))

    def recording(self, clip: Clip, mel_spec: MelSpec) -> Recording:
        """A clip as a front end reads it; one that was read just before is not read again.

        Raises:
            DataError: for audio that cannot be read.
        """

        def read() -> Recording | DataError:
            try:
                return read_recording(clip, MelFrontEnd(mel_spec))
            except DataError as error:
                return error

        found = self.recordings.get((clip, mel_spec.fingerprint), read)
        if isinstance(found, DataError):
            raise found
        return found

    @cached_property
    def _find(self) -> SourceFinder:
        return SourceFinder(self.device, self.progress)

    @cached_property
    def _references(self) -> dict[str, System]:
        vocoder = GriffinLim(MelSpec(), self.suite.vocoder.iterations)
        return {"original": Original(MelSpec()), "vocoded": Vocoded(MelSpec(), vocoder)}

    def _config(self, name: str) -> CandidateConfig:
        return next(config for config in self.asked if config.name == name)

    def _bring(self, config: CandidateConfig) -> Bring:
        if config.name not in self._brings:
            asked = self._stand_ins.get(config.name, config)
            self._brings[config.name] = (
                load_trained(self.trained[config.name], self.device)
                if config.name in self.trained
                else prepare_candidate(asked, self._find, self.cache, self.device, self.progress)
            )
        return self._brings[config.name]

    def _sketch(self, config: CandidateConfig) -> Sketch:
        teacher = self.assignment.teacher if self.assignment else None
        system = self.system(config.name)
        if isinstance(system, WaveformCandidate):
            return replace(sketched(system), obstacle=None if teacher is None else "is no VQVAE on TorToiSe's mel")
        tokenizer = self.tokenizer(config.name)
        return replace(
            sketched(system),
            obstacle=None if teacher is None else find_obstacle(tokenizer, teacher),
            loaded=tokenizer.loaded,
        )
