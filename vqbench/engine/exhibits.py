"""What a run keeps to be heard and seen: a few clips of each set, as everybody gives them back.

Everything was rendered or spoken before, to be judged; here it is done again for the few clips that are chosen once the
figures are known. What is rendered is cached, so that an unchanged run only reads it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from vqbench.audio.io import encode_opus, encode_waveform, resample
from vqbench.audio.mel import MelFrontEnd, MelSpec
from vqbench.config.measuring import ExhibitsConfig
from vqbench.config.models import shown
from vqbench.data.manifest import Clip
from vqbench.engine.agreement import AgreementData
from vqbench.engine.assignment import Assignment
from vqbench.engine.cache import Place, content_key
from vqbench.engine.hearing import Target
from vqbench.engine.question import TRUE, Question
from vqbench.engine.speaking import Recorded, Said, hear_said
from vqbench.engine.systems import Original, Recording, System
from vqbench.errors import ConfigError, DataError, did_you_mean, raise_all
from vqbench.judging.choice import choose_clips
from vqbench.progress import Progress
from vqbench.records.clip_sets import CLIP_SETS
from vqbench.records.exhibits import (
    MEL_FLOOR_DB,
    Exhibit,
    Exhibits,
    Mel,
    PackedArray,
    Relabelling,
    Shown,
    Take,
    pack_whole,
    sound_name,
)
from vqbench.records.mapping import from_plain, to_plain
from vqbench.records.reference import held_against
from vqbench.records.run import CandidateRecord, Run, Table
from vqbench.stats.columns import Ragged
from vqbench.stats.relabelling import fit_relabelling
from vqbench.threads import one_thread
from vqbench.tokenizers.protocol import MelTokenizer, encode

EXHIBITS_VERSION = 1
"""Raised whenever the same clip of the same system would be kept otherwise."""

_CACHED = "exhibits"

_GPT, _TRUE, _ORIGINAL = "the GPT", f"the {TRUE}", "original"


def check_named(
    named: Iterable[str], clips: Sequence[Clip], question: Question | None, assignment: Assignment | None, where: str
) -> None:
    """Sees to it, before anything is measured, that the clips that a suite names are there.

    Args:
        named: their ids.
        clips: the recordings of `data.speech`.
        question: what tokens are held against.
        assignment: what is to be said.
        where: the suite's file.

    Raises:
        ConfigError: some are no clips of the suite (several: ManyErrors).
    """
    known = {
        *(clip.id for clip in clips),
        *(question.clip_ids if question else ()),
        *(line.id for line in (assignment.lines if assignment else ())),
    }
    expected = f"the id of a clip of this suite, e.g. {clips[0].id}"
    raise_all(
        [
            ConfigError(
                f"exhibits.clips: there is no clip {shown(name)}{did_you_mean(name, known)}",
                where=where,
                expected=expected,
            )
            for name in named
            if name not in known
        ]
    )


class Copier(Protocol):
    """A system as exhibits see it: what its copies are known by, and who makes them."""

    @property
    def record(self) -> CandidateRecord:
        """How results name it."""

    @property
    def mel_spec(self) -> MelSpec:
        """The front end that it reads."""

    @property
    def identity(self) -> Mapping[str, object]:
        """All that decides its renderings."""


@dataclass(frozen=True)
class Material:
    """Whom and what a run has to show.

    Attributes:
        systems: who copies recordings, in the order of the run.
        load: brings one of them, by its name.
        read: a recording as a front end reads it; what was read just before is not read again.
        clips: the recordings of `data.speech`.
        answer: what tokens are held against; None where that was not asked.
        assignment: the sentences that were spoken; None where none were.
        said: of each who spoke, first of all the teacher as it is: what is known of each line; or why there is nothing.
        once: reads an entry of the cache, which is made where it is not known.
    """

    systems: Sequence[Copier]
    load: Callable[[str], System]
    read: Callable[[Clip, MelSpec], Recording]
    clips: Sequence[Clip]
    answer: AgreementData | None
    assignment: Assignment | None
    said: Mapping[str, Sequence[Said] | DataError]
    once: Callable[[Place, Callable[[], Mapping[str, object]]], Mapping[str, Any]]

    @property
    def true_tokenizer(self) -> tuple[str, MelTokenizer] | None:
        """Whose tokens of recordings are the measure: the suite's reference's, or the teacher's own, where known."""
        if self.answer and (truth := self.answer.truth):
            return truth.name if self.answer.question.reference else _TRUE, truth.tokenizer
        true = self.assignment.teacher.tokenizer if self.assignment else None
        return None if true is None else (_TRUE, true)


def keep_exhibits(
    run: Run, material: Material, config: ExhibitsConfig, progress: Progress
) -> tuple[Exhibits, Mapping[str, bytes]]:
    """Chooses clips and gathers how everybody gives them back.

    A recording and what is spoken of its sentence are shown together, whichever of them was chosen.

    Args:
        run: with its figures, by which the worst clips are known.
        material: who gives what back.
        config: how many clips, and as which kind of files.
        progress: shows how far it is.

    Returns:
        What is shown, and the sound files by their names. A take that cannot be had is left out: the run's tables tell
        why.
    """
    recordings = material.assignment.recordings if material.assignment else {}
    beside = {line_id: (clip.id, line_id) for line_id, clip in recordings.items()}
    beside |= {clips[0]: clips for clips in beside.values()}
    chosen: dict[tuple[str, ...], list[str]] = {}
    for clip_set in (one for one in CLIP_SETS.values() if one.exhibited):
        for one in choose_clips(run, clip_set.name, config.clips, config.drawn, config.worst, run.suite.seed):
            chosen.setdefault(beside.get(one.clip, (one.clip,)), []).extend(one.why)
    gallery = _Gallery(material, set(chain.from_iterable(chosen)), config.sound)
    exhibits = []
    if chosen:
        with progress.task("keeping what is heard", len(chosen)) as advance:
            for clips, why in chosen.items():
                together = tuple(clip for clip in map(gallery.show, clips) if clip.takes)
                if together:
                    exhibits.append(Exhibit(tuple(dict.fromkeys(why)), together))
                advance()
    against = held_against(run)
    relabellings = (_relabelling(table) for table in run.tables if against and table.group == against[0])
    return Exhibits(tuple(exhibits), tuple(one for one in relabellings if one is not None)), gallery.sounds


@dataclass(frozen=True)
class _Sound:
    """What is kept of a take: (N,) float32, what it looks like, and its tokens."""

    waveform: Tensor
    sample_rate_hz: int
    mel: Mel
    codes: Tensor | None = None


class _Gallery:
    """Shows clips, and collects their sounds.

    Args:
        material: who gives what back.
        wanted: the ids of all clips that will be shown.
        kind: of sound file.
    """

    def __init__(self, material: Material, wanted: set[str], kind: Literal["flac", "opus"]) -> None:
        self.sounds: dict[str, bytes] = {}
        self._material, self._kind = material, kind
        answer = material.answer
        self._clips = {clip.id: clip for clip in material.clips}
        self._written = {target.clip.id: target for target in (answer.written if answer else ())}
        own_set = answer is not None and answer.question.clip_set == "natural"
        self._natural = {target.clip.id: target for target in (answer.natural if answer and own_set else ())}
        self._said: dict[str, dict[str, Recorded]] = {}
        for name, said in material.said.items():
            if not isinstance(said, DataError):
                shards = dict.fromkeys(one.shard for one in said if one.line.id in wanted)
                heard = chain.from_iterable(map(hear_said, shards))
                self._said[name] = {one.line.id: one for one in heard if one.line.id in wanted}

    def show(self, clip_id: str) -> Shown:
        """A clip as everybody gives it back."""
        systems, true = self._material.systems, self._material.true_tokenizer
        by = true and true[0]
        if target := self._written.get(clip_id):
            others = [system for system in systems if system.record.name != _ORIGINAL]
            takes = [
                self._copy("", Original(MelSpec()), target),
                *(self._copy(s.record.name, s, target) for s in others),
            ]
            return _shown(clip_id, takes, pack_whole(target.sequence.codes), _GPT)
        if target := self._natural.get(clip_id):
            takes = [self._copy(system.record.name, system, target) for system in systems]
            return _shown(clip_id, takes, pack_whole(target.sequence.codes), by)
        if clip := self._clips.get(clip_id):
            codes = None if true is None else _tokens(true[1], clip, self._material)
            return _shown(clip_id, [self._copy(s.record.name, s, clip) for s in systems], codes, by)
        return _shown(clip_id, self._spoken(clip_id))

    def _spoken(self, line_id: str) -> Iterator[Take | None]:
        """What is spoken of a sentence, after the recording of it."""
        assignment = self._material.assignment
        if assignment and (clip := assignment.recordings.get(line_id)):
            for system in self._material.systems:
                if system.record.role != "candidate":
                    yield self._copy(system.record.name, system, clip)
        for name, said in self._said.items():
            if line_id in said:
                yield self._recorded(name, said[line_id])

    def _copy(self, name: str, system: Copier, source: Clip | Target) -> Take | None:
        def make() -> _Sound:
            front_end = MelFrontEnd(system.mel_spec)
            whole = system if isinstance(system, Original) else self._material.load(system.record.name)
            (rendering,) = whole.render([self._read(source, front_end)])
            if isinstance(rendering, DataError):
                raise rendering
            sound = rendering.waveform_hat
            if sound is None:
                raise DataError("only encodes")
            if rendering.mel_hat is not None and rendering.codes is not None:
                mel = _picture(rendering.mel_hat, front_end, "decoder")
            else:
                mel = _picture(front_end(sound), front_end, "sound")
            return _Sound(sound, system.mel_spec.sample_rate_hz, mel, rendering.codes)

        return self._take(name, {"system": dict(system.identity), "clip": _content(source)}, make)

    def _read(self, source: Clip | Target, front_end: MelFrontEnd) -> Recording:
        """A recording as a front end reads it.

        Raises:
            DataError: it cannot be read.
        """
        if isinstance(source, Clip):
            return self._material.read(source, front_end.spec)
        record = source.clip
        clip = Clip(record.id, Path(), record.sha256, record.duration_s, record.text, record.speaker)
        waveform = resample(source.waveform, MelSpec().sample_rate_hz, front_end.spec.sample_rate_hz)
        return Recording(clip, waveform, front_end(waveform))

    def _recorded(self, name: str, recorded: Recorded) -> Take | None:
        spoken = recorded.spoken
        if isinstance(spoken, str):
            return None

        def make() -> _Sound:
            front_end = MelFrontEnd(MelSpec())
            at_its_rate = resample(spoken.waveform, spoken.sample_rate_hz, front_end.spec.sample_rate_hz)
            mel = _picture(front_end(at_its_rate), front_end, "sound")
            return _Sound(spoken.waveform, spoken.sample_rate_hz, mel)

        decides = {"recording": recorded.sha256, "sample_rate_hz": spoken.sample_rate_hz, "packages": _packages()}
        return self._take(name, decides, make) if len(spoken.waveform) else None

    def _take(self, name: str, decides: Mapping[str, object], make: Callable[[], _Sound]) -> Take | None:
        """A take that was kept before, or is made now; None where it cannot be made."""
        key = content_key({"version": EXHIBITS_VERSION, "kind": self._kind, **decides})

        def entry() -> Mapping[str, object]:
            with torch.inference_mode():
                sound = make()
            content = self._encode(sound)
            take = Take(
                "",
                sound_name(content, self._kind),
                len(sound.waveform) / sound.sample_rate_hz,
                sound.mel,
                None if sound.codes is None else pack_whole(sound.codes.numpy()),
            )
            return {"take": to_plain(take), "sound": base64.b64encode(content).decode("ascii")}

        try:
            known = self._material.once(Place(_CACHED, key), entry)
        except DataError:
            return None
        kept: Take = from_plain(Take, known["take"])
        self.sounds[kept.sound] = base64.b64decode(known["sound"])
        return replace(kept, candidate=name)

    def _encode(self, sound: _Sound) -> bytes:
        encoded = encode_opus if self._kind == "opus" else encode_waveform
        return encoded(sound.waveform, sound.sample_rate_hz, "a take")


@one_thread()
def _tokens(tokenizer: MelTokenizer, clip: Clip, material: Material) -> PackedArray | None:
    """What a tokenizer makes of a recording; None where it cannot be read."""
    try:
        recording = material.read(clip, tokenizer.mel_spec)
    except DataError:
        return None
    (codes,) = encode(tokenizer, [recording.mel])
    return pack_whole(codes.cpu().numpy())


def _shown(
    clip_id: str, takes: Iterable[Take | None], codes: PackedArray | None = None, codes_by: str | None = None
) -> Shown:
    found = tuple(take for take in takes if take is not None)
    return Shown(clip_id, found, codes, None if codes is None else codes_by)


def _content(source: Clip | Target) -> str:
    return source.sha256 if isinstance(source, Clip) else source.clip.sha256


def _picture(mel: Tensor, front_end: MelFrontEnd, of: Literal["decoder", "sound"]) -> Mel:
    """A normalised log mel (n_mels, T) in whole dB."""
    levels = (10 * front_end.power(mel).log10() - MEL_FLOOR_DB).round().clamp(0, 255).to(torch.uint8)
    bands, frames = levels.shape
    return Mel(bands, frames, front_end.spec.frame_rate_hz, of, pack_whole(levels.flatten().numpy()))


def _relabelling(table: Table) -> Relabelling | None:
    """The best relabelling on all tokens of a table of token agreement; None where there are none."""
    own, target = table.columns.get("codes"), table.columns.get("gpt_codes")
    if not isinstance(own, Ragged) or not isinstance(target, Ragged) or not len(own.values):
        return None
    size = round(table.constants["codebook_size"])
    pairs, counts = np.unique(own.values.astype(np.int64) * size + target.values, return_counts=True)
    codes, partners = np.divmod(pairs, size)
    labels = fit_relabelling(counts, codes, partners, size)
    agrees = labels[codes] == partners
    order = np.argsort(-counts[agrees], kind="stable")
    found = codes[agrees][order]
    return Relabelling(
        table.candidate,
        codes=pack_whole(found),
        labels=pack_whole(labels[found]),
        matches=pack_whole(counts[agrees][order]),
        counts=pack_whole(np.bincount(own.values, minlength=size)[found]),
        tokens=len(own.values),
    )


def _packages() -> Mapping[str, str]:
    return {name: metadata.version(name) for name in ("torch", "soundfile", "soxr")}
