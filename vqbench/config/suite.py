"""A suite: the YAML that says what is measured, on which clips, and what a release must hold.

The models here are the file's shape; `vqbench schema suite` prints it for editors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
)

from vqbench.config.candidate import CandidateConfig, ReferenceVQVAE, expand, members, names_of
from vqbench.config.downstream import ZERO_SHOT, DownstreamConfig, needs
from vqbench.config.gate import GateEntry, for_members, is_about, unmeasured, unsliced
from vqbench.config.measuring import (
    AsrConfig,
    ExhibitsConfig,
    SlicesConfig,
    SpeechConfig,
    ThroughputConfig,
    VocoderConfig,
)
from vqbench.config.models import (
    ConfigFile,
    ConfigModel,
    Fault,
    FileName,
    Several,
    items,
    load_config,
    path_as_written,
    path_in_file,
    repeated,
    section,
    shown,
)
from vqbench.config.registered import MetricName
from vqbench.config.source import POCKET, DataSource, Sentences, TeacherName
from vqbench.errors import ConfigError, did_you_mean, raise_all
from vqbench.records.checks import CHECKS, PlausibilityLevel
from vqbench.records.clip_sets import CLIP_SETS
from vqbench.records.reference import NATURAL
from vqbench.records.rules import parse_rule
from vqbench.records.run import INTERVAL_METHODS, Inconclusive, IntervalSpec
from vqbench.registries import METRICS
from vqbench.stats.estimate import Bootstrap

Reference = Literal["original", "vocoded"]
"""`original`: the recording itself. `vocoded`: its mel through the vocoder, without any VQVAE."""

WITHOUT_TEACHER = ("reconstruction", "codebook", "speech", "throughput")
"""What a suite measures where it does not say: a group that is new to vqbench, or to somebody's machine, is never among
them."""

REFERENCES: tuple[Reference, ...] = get_args(Reference)

_Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _baseline(value: Any, info: ValidationInfo) -> Any:
    # It need not be there yet: the first run of a suite is what its first baseline is made of.
    return path_in_file(value, info) if isinstance(value, str) else value


class PairsConfig(ConfigModel):
    """What the teacher's GPT writes for the suite, and its rendered audio: made once and kept in the cache."""

    n: int = Field(default=64, ge=2, le=100_000)
    """Sentences, each spoken once, the teacher's voices taking turns."""

    sentences: Sentences = POCKET
    """`pocket`: the pocket TorToiSe's grammar. Or a text file with one sentence a line."""

    voices: DataSource | None = None
    """Recordings of the speakers whose voices are taken; the pocket TorToiSe's own where it is left out."""


class SuiteData(ConfigModel):
    """The clips of a suite."""

    speech: DataSource
    """Speech with transcripts that the candidates reconstruct: a corpus or a manifest."""

    pairs: PairsConfig | None = None
    """What the teacher's GPT shall write; agreement with its tokens needs it."""

    natural: DataSource | None = None
    """Recordings on which the candidates' tokens are held against those of the suite's `reference`; without one,
    against those of the teacher's own VQVAE, which must be known. With a reference, left out: those of `speech`."""


class IntervalConfig(ConfigModel):
    """How the confidence intervals are made."""

    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    """Share of such intervals that hold the true value."""

    resamples: int = Field(default=2000, ge=100, le=1_000_000)
    """Draws of the bootstrap."""

    method: Bootstrap = Field(default="outer", title="method")
    """Which interval of the bootstrap. `percentile` stops short of the long tail of skewed rows (errors of few words),
    `bca` corrects for that, and takes noise for skewness where rows are few; `outer` takes the further end of the two
    on either side. Shares of clips have the exact interval, codebook usage the jackknife's."""

    unit: Literal["speaker", "sentence", "clip"] = Field(default="speaker", title="unit")
    """What is drawn whole. `speaker`: all clips of a speaker, so that an interval is for speakers who were not heard.
    `sentence`: all clips of one text, where several speakers say the same. `clip`: of `data.speech`, and of what is
    spoken downstream, each clip by itself, which is for other sentences of these very speakers."""

    def record(self, seed: int) -> IntervalSpec:
        """As a run keeps it."""
        return IntervalSpec(
            method=INTERVAL_METHODS[self.method],
            confidence=self.confidence,
            resamples=self.resamples,
            seed=seed,
            unit=self.unit,
            bootstrap=self.method,
        )


class Suite(ConfigFile):
    """A suite, every default filled in, every path resolved, and a candidate in place of each seed."""

    name: FileName
    """Name of the suite, used for folders: lower-case letters, digits, `.`, `_` and `-`, from a letter or digit on."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of every random number."""

    data: SuiteData
    """The clips."""

    candidates: Annotated[Several[CandidateConfig], Field(min_length=1), AfterValidator(expand)]
    """What is judged, one row of the table each."""

    reference: ReferenceVQVAE = None
    """Whose tokens the others' are held against: a candidate's name, or a checkpoint. That is token agreement without a
    teacher: on the recordings of `data.natural`, or of `data.speech`."""

    references: Several[Reference] = Field(default=REFERENCES, title="reference")
    """What stands beside the candidates: the recording itself, and its mel through the vocoder alone."""

    teacher: TeacherName | None = None
    """Whose tokens the candidates shall write: `pocket`, or a folder with TorToiSe's official checkpoints."""

    metrics: Several[MetricName] = Field(default=WITHOUT_TEACHER, min_length=1, title="metric group")
    """What is measured."""

    asr: AsrConfig = Field(default_factory=AsrConfig)
    """The speech recogniser."""

    speech: SpeechConfig = Field(default_factory=SpeechConfig)
    """Who else listens to what candidates make of the recordings."""

    throughput: ThroughputConfig = Field(default_factory=ThroughputConfig)
    """What speed is measured with."""

    downstream: DownstreamConfig | None = None
    """What the teacher's GPT is tuned on, and what it then says; the metric group `downstream` needs it."""

    vocoder: VocoderConfig = Field(default_factory=VocoderConfig)
    """How mels become waveforms."""

    interval: IntervalConfig = Field(default_factory=IntervalConfig)
    """The confidence intervals."""

    slices: SlicesConfig = Field(default_factory=SlicesConfig)
    """Parts of the clips that are judged by themselves, too, e.g. `{short: duration_s < 2, by: [speaker]}`. Clips in
    several languages are always told apart by them."""

    # Left out of the digest: it changes no figure.
    exhibits: ExhibitsConfig = Field(default_factory=ExhibitsConfig, exclude=True)
    """Which clips a run keeps to be heard and seen."""

    gate: Annotated[Several[GateEntry], AfterValidator(for_members)] = ()
    """What a release must hold; nothing where it is left out."""

    baseline: Annotated[Path, BeforeValidator(_baseline), PlainSerializer(path_as_written, return_type=str)] | None = (
        None
    )
    """A run or baseline, relative to the suite, that the gate's rules compare with; `--baseline` comes before it."""

    min_clips: _Count = 10
    """With fewer clips than this, a rule is inconclusive."""

    allow_unscored: int = Field(default=0, ge=0, le=1_000_000)
    """Clips that may stay unscored before a rule fails."""

    inconclusive: Inconclusive = Field(default="stop", title="choice")
    """What an inconclusive rule does: `stop` makes the gate inconclusive (exit code 3), `fail` fails it, `pass` lets it
    pass where its interval holds the limit. What cannot be judged at all (too few clips, say) never does."""

    plausibility: dict[str, PlausibilityLevel] = Field(
        default_factory=dict, json_schema_extra={"propertyNames": {"enum": list(CHECKS)}}
    )
    """What a check of the run's plausibility does: `off`, `warn`, or `fail`, which fails the gate. Each check has a
    level of its own where a suite does not say."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$", title="device")
    """`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`."""

    @classmethod
    def cross_faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Names that must differ, and rules about what the suite does not have."""
        for key in ("metrics", "references"):
            yield from repeated(data, key)
        names = [names_of(item) for item in items(data, "candidates")]
        earlier: set[str] = set()
        for index, own in enumerate(names):
            if own and own[0] in (*REFERENCES, ZERO_SHOT):
                problem = f"{shown(own[0])} is the name of a reference"
                yield Fault(("candidates", index, "name"), problem, fix="choose another name")
            if taken := [name for name in own if name in earlier]:
                key = "name" if taken[0] == own[0] else "seeds"
                yield Fault(("candidates", index, key), f"{shown(taken[0])} is the name of an earlier candidate, too")
            earlier.update(own)
        # One misspelt name is one fault: rules are held against lists only where the lists themselves are in order.
        known = list(dict.fromkeys(name for own in names for name in own)) if all(names) else []
        measured = items(data, "metrics") if "metrics" in data else list(WITHOUT_TEACHER)
        single = [name for own in names for name in own[1:] or own] if known else []
        yield from _agreement_faults(data, measured, single)
        yield from needs(data, measured)
        if "likelihood" in measured and data.get("teacher") is None:
            at = ("metrics", list(measured).index("likelihood"))
            yield Fault(at, "likelihood needs a teacher whose GPT is asked", fix="add `teacher: pocket`, or a folder")
        for check in section(data, "plausibility"):
            if check not in CHECKS:
                problem = f"there is no check {shown(check)}{did_you_mean(str(check), CHECKS)}"
                yield Fault(("plausibility", check), problem, expected=f"one of {', '.join(CHECKS)}")
        yardstick = section(data, "throughput").get("yardstick")
        if isinstance(yardstick, str) and known and yardstick not in single:
            problem = f"there is no candidate {shown(yardstick)}{did_you_mean(yardstick, single)}"
            yield Fault(("throughput", "yardstick"), problem, expected=f"one of {', '.join(single)}")
        for index, entry in enumerate(items(data, "gate")):
            written: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"rule": entry}
            if measured and all(group in METRICS for group in measured):
                yield from unmeasured(("gate", index, "rule"), written.get("rule"), measured)
            yield from unsliced(("gate", index), written, section(data, "slices"))
            for place, name in enumerate(items(written, "candidates")):
                if isinstance(name, str) and known and name not in known:
                    problem = f"there is no candidate {shown(name)}{did_you_mean(name, known)}"
                    expected = f"one of {', '.join(known)}"
                    yield Fault(("gate", index, "candidates", place), problem, expected)
                elif name == data.get("reference") and is_about(written.get("rule"), f"{NATURAL}."):
                    problem = f"{shown(name)} is the reference: that it writes its own tokens shows nothing"
                    yield Fault(("gate", index, "candidates", place), problem, fix="leave it out")


def load_suite(path: Path) -> Suite:
    """Reads a suite; every fault is reported at once.

    Raises:
        ConfigError: for one fault, with file and line.
        ManyErrors: for several.
    """
    return load_config(path, Suite)


def select(suite: Suite, candidates: Sequence[str] = (), metrics: Sequence[str] = ()) -> Suite:
    """The part of a suite that a user asked for; rules and exhibits of what is left out are left out, too.

    Args:
        suite: the whole.
        candidates: names, of candidates or of all their seeds; all candidates where empty.
        metrics: metric groups; all of them where empty.

    Raises:
        ConfigError: for a name that the suite does not have.
    """
    names = list(dict.fromkeys(name for c in suite.candidates for name in (c.family, c.name) if name is not None))
    faults = [
        ConfigError(
            f"the suite has no {kind} {shown(name)}{did_you_mean(name, known)}", expected=f"one of {', '.join(known)}"
        )
        for kind, asked, known in (("candidate", candidates, names), ("metric group", metrics, list(suite.metrics)))
        for name in asked
        if name not in known
    ]
    raise_all(faults)
    wanted = {member for name in candidates or names for member in members(suite.candidates, name)}
    kept = tuple(candidate for candidate in suite.candidates if candidate.name in wanted)
    groups = tuple(group for group in suite.metrics if not metrics or group in metrics)
    gate = []
    for entry in suite.gate:
        left = tuple(name for name in entry.candidates if name in wanted)
        if parse_rule(entry.rule).metric.split(".")[0] in groups and (left or not entry.candidates):
            gate.append(entry.model_copy(update={"candidates": left}))
    timed = suite.throughput
    if timed.yardstick not in {candidate.name for candidate in kept}:
        timed = timed.model_copy(update={"yardstick": None})
    lost = tuple(f"{one.name}/" for one in CLIP_SETS.values() if one.group in {*suite.metrics} - {*groups})
    named = tuple(clip for clip in suite.exhibits.clips if not clip.startswith(lost))
    exhibits = suite.exhibits.model_copy(update={"clips": named})
    changes = {"candidates": kept, "metrics": groups, "gate": tuple(gate), "throughput": timed, "exhibits": exhibits}
    return suite.model_copy(update=changes)


def _agreement_faults(data: Mapping[str, Any], measured: Sequence[Any], candidates: Sequence[str]) -> Iterator[Fault]:
    """What token agreement lacks, and a reference that nobody would be held against."""
    reference, pairs = data.get("reference"), section(data, "data").get("pairs")
    if "token_agreement" not in measured:
        if reference is not None:
            problem = "nobody is held against it: metrics lacks 'token_agreement'"
            yield Fault(("reference",), problem, fix="add token_agreement to metrics")
        return
    at = ("metrics", list(measured).index("token_agreement"))
    if data.get("teacher") is None and (reference is None or pairs is not None):
        fix = "add `teacher: pocket`, or a folder" if pairs else "add `reference: CANDIDATE`, or a teacher with pairs"
        yield Fault(at, "token agreement needs a teacher" + (" that writes pairs" if reference else ""), fix=fix)
    if pairs is None and reference is None:
        fix = "add `pairs: {n: 64}` to data, or `reference: CANDIDATE`"
        yield Fault(at, "token agreement needs sequences of a GPT, or a reference", fix=fix)
    if isinstance(reference, str) and list(candidates) == [reference]:
        yield Fault(("reference",), f"{shown(reference)} is the only candidate: nobody is held against it")
