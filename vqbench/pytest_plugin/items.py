"""What `vqbench.pytest_plugin` collects: each gate rule is one test of each candidate that it is for.

A rule that is broken fails; one that nothing could be decided on ends in an error, as in `vqbench gate --junit`, since
too little data must never look green. Whether the figures can be believed is a test, too. The stages that `throughput`
times are timed through pytest-benchmark as well, so that its files and its comparisons know them.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest

from vqbench.config.gate import GateEntry
from vqbench.config.suite import Suite, load_suite
from vqbench.errors import ConfigError, ResultError, VqbenchError
from vqbench.extras import missing_extra
from vqbench.files import require_writable
from vqbench.judging.gate import gate
from vqbench.judging.plausibility import check_plausibility
from vqbench.judging.selection import Selection, candidates_of, load_baseline
from vqbench.metrics.stages import STAGES, timed_group
from vqbench.pytest_plugin.warned import WARNING
from vqbench.records.rules import parse_rule
from vqbench.records.run import GateRule, Run
from vqbench.records.store import RESULT_FILE, load_run
from vqbench.records.verdict import GateReport, GateStatus
from vqbench.report.format import clean, one_line

if TYPE_CHECKING:
    from vqbench.engine.cache import Cache
    from vqbench.engine.timed import TimedCandidate
    from vqbench.progress import Progress

T = TypeVar("T")

_PLAUSIBILITY = "plausibility"

_SUITES = pytest.StashKey[dict[str, Path]]()
"""Name → the suite of this session that has it."""


@dataclass(frozen=True)
class Verdict:
    """How a test ends, and why; `told` where the reason shall be read though the test passes."""

    status: GateStatus
    reason: str
    told: bool = False


Tests = Mapping[str, Callable[[], Verdict]]
"""Name of a test → what asks for its verdict."""


class Judged:
    """A run, judged as far as that goes: without a baseline, rules that need one are left open.

    Args:
        run: the run.
        baseline: what it is held against.
        advice: where a baseline would come from.

    Raises:
        ConfigError: as `gate` does.
    """

    def __init__(self, run: Run, baseline: Selection | None, advice: str) -> None:
        rules = tuple(rule for rule in run.suite.gate if baseline or not _needs_baseline(rule))
        if rules == run.suite.gate:
            report = gate(run, baseline)
        else:
            decided = gate(replace(run, suite=replace(run.suite, gate=rules))) if rules else GateReport((), None)
            report = replace(decided, findings=check_plausibility(run))
        self._report = report
        self._outcomes = {(outcome.candidate, outcome.rule): outcome for outcome in report.outcomes}
        self._candidates = candidates_of(run)
        self._advice = advice

    def rule(self, candidate: str, rule: str) -> Verdict:
        """How a rule went for a candidate."""
        outcome = self._outcomes.get((candidate, rule))
        if outcome is None:
            return Verdict("inconclusive", f"the rule needs a baseline; {self._advice}")
        return Verdict(self._report.verdict(outcome), outcome.reason, told=outcome.status != "pass")

    def plausibility(self, candidate: str) -> Verdict:
        """Whether a candidate's figures can be believed; an empty name asks for what is of no single candidate."""
        found = [
            f for f in self._report.findings if (f.candidate if f.candidate in self._candidates else "") == candidate
        ]
        lines = [f"{f.candidate or 'the run'}: {f.message} ({f.check}: {f.level})" for f in found]
        return Verdict("fail" if any(f.level == "fail" for f in found) else "pass", "\n".join(lines), told=bool(lines))


# ---- files


class GateFile(pytest.Module):
    """A file with gate rules: its candidates, and under each of these the rules that it must keep.

    A `pytest.Module`, because fixtures of a module's scope need one; `obj` stands in for what it would import.
    """

    obj: Any = ModuleType("vqbench_gate")

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        """Gives the candidates; all that is wrong with the file is one error of the collection."""
        # A suite is one long job: not to be cut off like a short test, nor dealt out to several processes.
        if self.config.pluginmanager.hasplugin("timeout"):
            self.add_marker(pytest.mark.timeout(0))
        if self.config.pluginmanager.hasplugin("xdist"):
            self.add_marker(pytest.mark.xdist_group(self.name))
        with _in_words(self.CollectError):
            return list(self.open())

    def open(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Reads the file, and gives what is in it.

        Raises:
            VqbenchError: it cannot be read, or has nothing to test.
        """
        raise NotImplementedError

    def baseline(self, own: Path | None) -> Selection | None:
        """The baseline that the command line names, else the suite's own."""
        return load_baseline(self.config.getoption("vqbench_baseline"), own)


class ResultFile(GateFile):
    """A finished run. It is judged as it is collected, without torch."""

    def open(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Reads and judges the run."""
        run = load_run(self.path)
        if not candidates_of(run):
            raise ResultError("the run has no candidates to judge", where=str(self.path))
        judged = Judged(run, self.baseline(None), "give one by --vqbench-baseline")
        yield GateTest.from_parent(self, name=_PLAUSIBILITY, judge=partial(judged.plausibility, ""))
        for name in candidates_of(run):
            tests = _tests(name, run.suite.gate, lambda: judged)
            yield CandidateCollector.from_parent(self, name=one_line(name), tests=tests)


class SuiteFile(GateFile):
    """A suite. It is run, once and whole, when the first of its tests asks for a verdict."""

    def open(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Reads the suite and its baseline."""
        suite = load_suite(self.path)
        sizes = suite.throughput.batch_sizes if "throughput" in suite.metrics else ()
        timed = [timed_group(stage, size) for size in sizes for stage in STAGES]
        if not suite.gate and not timed:
            raise ConfigError("there is nothing to test: no gate rules, no throughput", where=str(self.path))
        namesake = self.config.stash.setdefault(_SUITES, {}).setdefault(suite.name, self.path)
        if namesake != self.path:
            problem = f"its name is {suite.name}, as that of {namesake}"
            raise ConfigError(problem, where=str(self.path), fix="rename one of them, or test them apart")
        judged = Once(partial(self._run, suite, self.baseline(suite.baseline)), "the run")
        if suite.gate:
            yield GateTest.from_parent(self, name=_PLAUSIBILITY, judge=lambda: judged().plausibility(""))
        for name in (candidate.name for candidate in suite.candidates):
            tests = _tests(name, suite.gate, judged)
            loaded = Once(partial(self._load, suite, name), "the loading")
            yield TimedCandidateCollector.from_parent(
                self, name=name, tests=tests, suite=suite.name, timed=timed, loaded=loaded
            )

    def _run(self, suite: Suite, baseline: Selection | None) -> Judged:
        """Runs the suite as `vqbench run` does, writes the run and judges it."""
        from vqbench.cli import console
        from vqbench.cli.run import new_folder, write_outcome

        output, called = self.config.getoption("vqbench_output"), self.config.invocation_params
        folder = Path(output, suite.name) if output else new_folder(suite.name)
        require_writable(called.dir / folder / RESULT_FILE)
        with _at_work(self.config) as (cache, progress, quiet):
            from vqbench.engine.runner import run_suite

            outcome = run_suite(suite, cache, progress, ["pytest", *map(str, called.args)])
            write_outcome(outcome, called.dir / folder)
            console.note(f"written to {folder}; all figures: vqbench report {folder}", quiet=quiet)
        advice = "write `baseline:` in the suite, or give one by --vqbench-baseline"
        if suite.baseline is not None:
            advice = f"there is none yet at {suite.baseline}; vqbench baseline save {folder} NAME makes one"
        return Judged(outcome.run, baseline, advice)

    def _load(self, suite: Suite, candidate: str) -> TimedCandidate:
        with _at_work(self.config) as (cache, progress, _):
            from vqbench.engine.timed import load_timed

            return load_timed(suite, candidate, cache, progress)


# ---- candidates and tests


class CandidateCollector(pytest.Collector):
    """A candidate, and its tests."""

    def __init__(self, *, tests: Tests, **of_node: Any) -> None:
        super().__init__(**of_node)
        self._tests = tests

    def collect(self) -> Iterator[pytest.Item]:
        """Gives the tests of its rules."""
        for name, judge in self._tests.items():
            yield GateTest.from_parent(self, name=name, judge=judge)


class TimedCandidateCollector(CandidateCollector):
    """A candidate of a suite, which may measure throughput.

    Args:
        suite: its name.
        timed: the stages at a batch size, each a test.
        loaded: makes them ready.
    """

    def __init__(self, *, suite: str, timed: Sequence[str], loaded: Once[TimedCandidate], **of_node: Any) -> None:
        super().__init__(**of_node)
        self.suite, self.loaded = suite, loaded
        self._timed = timed

    def collect(self) -> Iterator[pytest.Item]:
        """Gives the tests of its rules, and what is timed."""
        yield from super().collect()
        for group in self._timed:
            yield TimingTest.from_parent(self, name=group, callobj=_time)

    def teardown(self) -> None:
        """Lets the candidate go, before the next one is loaded."""
        self.loaded.forget()


class GateTest(pytest.Item):
    """One verdict. Whatever keeps it from being given happens in the setup, and so is an error, not a failure."""

    def __init__(self, *, parent: pytest.Collector, judge: Callable[[], Verdict], **of_node: Any) -> None:
        super().__init__(parent=parent, **of_node)
        self._about, self._judge = parent.name, judge

    def setup(self) -> None:
        """Asks for the verdict; the first of a suite has the suite run."""
        with _in_words(_failed):
            verdict = self._judge()
        self._status, self._reason = verdict.status, clean(verdict.reason)
        if self._status == "inconclusive":
            raise _failed(f"inconclusive: {self._reason}")
        self.user_properties.append((WARNING if verdict.told else "vqbench", self._reason))

    def runtest(self) -> None:
        """Fails where the verdict says so."""
        if self._status == "fail":
            raise _failed(self._reason)
        self.add_report_section("call", "reason", self._reason)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The file, and the title of a report."""
        return self.path, 0, f"{self._about}: {self.name}"


class TimingTest(pytest.Function):
    """One stage of a candidate at one batch size: a function, since only these can have pytest-benchmark's fixture."""

    def __init__(self, *, parent: TimedCandidateCollector, **of_node: Any) -> None:
        super().__init__(parent=parent, **of_node)
        self.candidate = parent
        if not self.config.pluginmanager.hasplugin("benchmark"):
            self.add_marker(pytest.mark.skip("needs pytest-benchmark: pip install pytest-benchmark"))

    def setup(self) -> None:
        """Has the candidate loaded before the fixture is made, which warns where it is not used."""
        with _in_words(_failed):
            self.candidate.loaded()
        super().setup()

    def reportinfo(self) -> tuple[Path, int, str]:
        """The file, and the title of a report."""
        return self.path, 0, f"{self.candidate.name}: {self.name}"


def _time(request: pytest.FixtureRequest, benchmark: Any) -> None:
    """The function of every `TimingTest`: times as a run does, by pytest-benchmark's clock."""
    import torch

    item: TimingTest = request.node
    candidate, timed = item.candidate, item.candidate.loaded()
    if item.name not in timed.workloads:
        pytest.skip(f"{candidate.name} has no such stage")
    work = timed.workloads[item.name]
    # The tables of pytest-benchmark show a group's names and no more: these must tell its candidates apart.
    benchmark.name, benchmark.group = candidate.name, f"{candidate.suite}: {item.name}"
    benchmark.extra_info.update(suite=candidate.suite, candidate=candidate.name, digest=timed.digest)
    benchmark.extra_info.update(device=timed.device, audio_s=work.audio_s)
    with torch.inference_mode():
        benchmark.pedantic(work.run, rounds=timed.load.repetitions, warmup_rounds=timed.load.warmup, iterations=1)
    if benchmark.stats is not None:  # as it is where benchmarks are disabled
        benchmark.extra_info["rtfx"] = work.audio_s / benchmark.stats["mean"]


# ---- helpers


class Once(Generic[T]):
    """What is made when it is first asked for; what went wrong is not tried again for the next test."""

    def __init__(self, make: Callable[[], T], what: str) -> None:
        self._make, self._what = make, what
        self._made: T | None = None
        self._tried = False

    def __call__(self) -> T:
        """Gives it.

        Raises:
            whatever making it raises, the first time; later that it went wrong.
        """
        if self._made is None:
            if self._tried:
                raise _failed(f"{self._what} went wrong, as the first test that needed it says")
            self._tried = True
            self._made = self._make()
        return self._made

    def forget(self) -> None:
        """Makes it anew when it is next asked for."""
        self._made, self._tried = None, False


def _tests(candidate: str, rules: Iterable[GateRule | GateEntry], judged: Callable[[], Judged]) -> Tests:
    """The tests of a candidate's rules."""

    def asks(rule: str) -> Callable[[], Verdict]:
        return lambda: judged().rule(candidate, rule)

    own = [rule.text for rule in rules if not rule.candidates or candidate in rule.candidates]
    tests = {one_line(rule): asks(rule) for rule in own}
    return {**tests, _PLAUSIBILITY: lambda: judged().plausibility(candidate)} if tests else {}


def _needs_baseline(rule: GateRule) -> bool:
    try:
        return parse_rule(rule.rule).needs_baseline
    except ConfigError:
        return False  # the gate names all that cannot be read together


@contextmanager
def _at_work(config: pytest.Config) -> Iterator[tuple[Cache, Progress, bool]]:
    """Gives the cache, and the progress, which is told on stderr unless pytest is to be quiet; and whether it is."""
    from vqbench.cli import console
    from vqbench.engine.cache import Cache, default_cache_folder

    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    quiet = reporter is None or config.option.verbose < 0
    shown = nullcontext() if quiet or capture is None else capture.global_and_fixture_disabled()
    with shown, warnings.catch_warnings():
        # What a project wants of its own tests must not end a run of minutes: the warning of a library as an error.
        warnings.simplefilter("default")
        if reporter and not quiet:
            reporter.ensure_newline()
        yield Cache(default_cache_folder()), console.progress(quiet), quiet


@contextmanager
def _in_words(error_of: Callable[[str], BaseException]) -> Iterator[None]:
    """Turns what the user got wrong into an error of pytest's with its words alone; a bug keeps its traceback."""
    try:
        yield
    except Exception as error:
        known = missing_extra(error) if isinstance(error, ModuleNotFoundError) else error
        # As text, since pytest would show a hundred frames of its own in front.
        text = str(known) if isinstance(known, VqbenchError) else "".join(traceback.format_exception(error))
        raise error_of(clean(text)) from None


def _failed(text: str) -> BaseException:
    return pytest.fail.Exception(text, pytrace=False)
