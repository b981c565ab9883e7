"""`vqbench run --dry-run`: the stages of a run are counted, and run on a sample; what that took is told for the whole.

Batches are as large as in the run, since they decide memory, and hold the longest recordings; there are only few of
them. Everything happens in a temporary folder.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from vqbench.audio.mel import MelSpec
from vqbench.config.candidate import CandidateConfig
from vqbench.config.measuring import ExhibitsConfig, SlicesConfig
from vqbench.config.recipe import VQVAE_PHASES, Recipe, load_recipe
from vqbench.config.source import DataSource
from vqbench.config.suite import Suite
from vqbench.data.manifest import Clip, write_manifest
from vqbench.engine.assignment import Assignment
from vqbench.engine.bench import CLIPS_AT_ONCE, Bench
from vqbench.engine.cache import Cache, default_cache_folder
from vqbench.engine.findings import Findings
from vqbench.engine.plan import Item
from vqbench.engine.provenance import collect_provenance
from vqbench.engine.question import TRUE
from vqbench.engine.recipes import SourceFinder
from vqbench.engine.runner import run_suite
from vqbench.engine.sketch import Sketch
from vqbench.engine.speaking import PER_SHARD
from vqbench.engine.stages import measuring
from vqbench.engine.stages.tuning import FINETUNE
from vqbench.metrics.throughput import n_heats_of
from vqbench.progress import Progress, Timekeeper
from vqbench.records.forecast import Forecast, Memory, StageForecast, Work, stages_of
from vqbench.records.run import Run
from vqbench.teachers.tortoise.folder import memory_bytes
from vqbench.training.finetune import GPT_WEIGHTS, clips_that_fit, is_held_out
from vqbench.training.speech import draw_like_length
from vqbench.training.trainer import train

PAIRS, SPEAKING, HEARING = "pairs", "speaking", "hearing tokens"
LISTENING, JUDGED = "listening", "listening to speech"

CLIPS = max(CLIPS_AT_ONCE, PER_SHARD)
"""Recordings that are rehearsed, and sentences: as many as a run takes at once."""

STEPS = 4
"""Of fine-tuning; the first one is not counted."""

REPETITIONS = 2
"""Of what is timed for speed."""

_DRAWS = 256


@dataclass(frozen=True)
class _Miniature:
    """A small suite like a large one, and how much smaller its parts are."""

    suite: Suite
    speech: Sequence[Clip]
    training: Sequence[Clip]


def rehearse(suite: Suite, progress: Progress) -> Forecast:
    """Estimates what a run takes.

    Args:
        suite: what shall be run.
        progress: shows how far the rehearsal is.

    Raises:
        VqbenchError: whatever a run would raise before it trains or measures anything.
    """
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="vqbench-") as name:
        folder = Path(name)
        cache = Cache(folder / "cache")
        bench = Bench(suite, cache, progress)
        bench.check()
        stand_ins, untold = _stand_ins(bench, progress)
        bench.pretend(stand_ins)
        chosen = _chosen(bench)
        counted = count_work(bench)
        opening_s = time.perf_counter() - began_s
        small = _miniature(bench, chosen, stand_ins, folder)

        keeper, cuda = Timekeeper(progress, _resident_bytes), _Cuda(bench.device)
        run = run_suite(small.suite, cache, keeper).run
        share = _step_share(bench, chosen)
        work = [_like(one, chosen.record.name, share, {task.description for task in keeper.tasks}) for one in counted]
        stages = stages_of(work, keeper.tasks)
        disk = _disk(cache.folder, work, keeper)
        more = _recordings_bytes(bench, small, run)
        memory = [Memory("process", keeper.most, more, memory_bytes(torch.device("cpu")))] if keeper.most else []
        memory += cuda.memory()
    made = collect_provenance(bench.device, Path.cwd(), [])
    return Forecast(
        suite=suite.name,
        machine=f"{made['device']}, {made['cores']} cores, threads: {made['threads']}",
        candidate=chosen.record.name,
        opening_s=opening_s,
        stages=stages,
        seconds=opening_s + sum(stage.seconds or 0.0 for stage in stages),
        memory=tuple(memory),
        disk=disk,
        disk_free_bytes=_free_bytes(default_cache_folder()),
        rehearsal_s=time.perf_counter() - began_s,
        notes=(*untold, *_notes(bench, chosen.record.name, share, stages)),
    )


def count_work(bench: Bench) -> list[Work]:
    """All that the stages of a run have to do whose cache is empty, each thing once."""
    found, seen, work = Findings(), set[object](), list[Work]()
    for stage in measuring():
        if stage.applies(bench):
            items: dict[object, Item] = {}
            for item in stage.prepare(bench, found):
                if item.identity not in seen:
                    # As in a run, whoever comes first does it, under his name.
                    items.setdefault(item.identity, item)
            seen |= {identity for identity, item in items.items() if item.places}
            work += stage.count(bench, list(items.values()))
            stage.expect(bench, found)
    return work


def _like(work: Work, chosen: str, share: float, rehearsed: Set[str]) -> Work:
    """Some work, with the task of the rehearsal that tells how long it takes: its own, or that of the candidate."""
    like = [work.description, *(f"{name}: {work.stage}" for name in (chosen, TRUE) if work.owner)]
    told = next((description for description in like if description in rehearsed), like[-1])
    return replace(work, like=told, share=share if work.stage == FINETUNE else 1.0)


def _stand_ins(bench: Bench, progress: Progress) -> tuple[dict[str, CandidateConfig], list[str]]:
    """Untrained candidates for those that are trained in the run, by their names; and what this leaves out."""
    stand_ins: dict[str, CandidateConfig] = {}
    made: dict[str, CandidateConfig] = {}
    untold = []
    for config in bench.asked:
        if config.recipe is None:
            continue
        # Seeds of one recipe are as large as each other.
        like = config.family or config.name
        if like not in made:
            recipe = load_recipe(config.recipe, config.change)
            checkpoint = _untrained(recipe, bench.cache, bench.device, progress)
            made[like] = CandidateConfig(name=config.name, checkpoint=checkpoint)
            if recipe.steps:
                untold.append(
                    f"{like}: the training by its recipe, {recipe.steps:,} steps, is not counted; it is done once, "
                    f"where it is not in the cache yet"
                )
        stand_ins[config.name] = made[like]
    return stand_ins, untold


def _untrained(recipe: Recipe, cache: Cache, device: torch.device, progress: Progress) -> Path:
    """A checkpoint of the size that the recipe's will have."""
    phases = dict.fromkeys((*VQVAE_PHASES, "finetune", "pairs", "teacher"))
    bare = recipe.model_copy(update=phases)
    folder = cache.training_folder(f"untrained-{recipe.digest}")
    return train(bare, SourceFinder(device, progress)(bare), folder, device, progress)


def _chosen(bench: Bench) -> Sketch:
    """The first candidate that does all that candidates do, which the reference does not."""
    reference = bench.question and bench.question.reference
    able = [one for one in bench.candidates if one.record.name != reference] or list(bench.candidates)
    return next((one for one in able if one.obstacle is None), able[0])


def _miniature(bench: Bench, chosen: Sketch, stand_ins: Mapping[str, CandidateConfig], folder: Path) -> _Miniature:
    suite, assignment = bench.suite, bench.assignment
    name, reference = chosen.record.name, bench.reference
    config = stand_ins.get(name) or next(one for one in suite.candidates if one.name == name)
    lines = assignment.lines if assignment else ()
    own = [assignment.recordings[line.id] for line in lines[:CLIPS]] if assignment and assignment.recordings else []
    speech = own or _spread(bench.clips, CLIPS)
    data: dict[str, object] = {"speech": _source(folder / "speech.jsonl", speech)}
    question = bench.question
    if question is not None and question.writing is not None and suite.data.pairs is not None:
        n = min(question.writing.n, question.writing.teacher.batch_size)
        data["pairs"] = suite.data.pairs.model_copy(update={"n": n})
    if question is not None and suite.data.natural is not None:
        data["natural"] = _source(folder / "natural.jsonl", _spread(question.natural, CLIPS))
    training: Sequence[Clip] = ()
    changed: dict[str, object] = {}
    if assignment is not None and suite.downstream is not None:
        fitting = _fitting(bench, chosen)
        # Where no clip fits, the tuning says so.
        training = _spread(fitting or assignment.clips, assignment.finetune.batch_size)
        saves = assignment.finetune.checkpoint_every < assignment.finetune.steps
        finetune = assignment.finetune.model_copy(
            update={
                "data": (_source(folder / "training.jsonl", training),),
                "steps": min(assignment.finetune.steps, STEPS),
                "validation_share": 0.0,
                # What is saved on the way takes memory, too.
                "checkpoint_every": STEPS - 1 if saves else STEPS,
            }
        )
        changed["downstream"] = suite.downstream.model_copy(
            update={
                "n": min(len(assignment.lines), CLIPS),
                # All of them: a run listens to them before it begins, and they may be at fault.
                "enrolment": _source(folder / "enrolment.jsonl", _spread(assignment.enrolment)),
                "finetune": finetune,
            }
        )
    small = suite.model_copy(
        update={
            "data": suite.data.model_copy(update=data),
            "candidates": (_named(config, name),),
            "reference": reference and _named(stand_ins.get(reference.name, reference), reference.name),
            "throughput": suite.throughput.model_copy(update={"repetitions": REPETITIONS}),
            # A few clips may lack what slices ask for; their figures take little.
            "slices": SlicesConfig(),
            "gate": (),
            # Rendering a few clips again takes seconds, and those that the suite names are not in here.
            "exhibits": ExhibitsConfig(drawn=0, worst=0),
            **changed,
        }
    )
    return _Miniature(small, speech, training)


def _named(config: CandidateConfig, name: str) -> CandidateConfig:
    return config.model_copy(update={"name": name})


def _fitting(bench: Bench, chosen: Sketch) -> list[Clip]:
    """What the GPT is tuned on."""
    rate_hz = chosen.record.token_rate_hz or 1.0
    return clips_that_fit(bench.the_assignment.clips, bench.max_tokens / rate_hz)


def _spread(clips: Sequence[Clip], most: int | None = None) -> list[Clip]:
    """So many clips of all lengths, the longest one among them, or all of them; each recording once."""
    ordered = sorted({(clip.path, clip.start_s): clip for clip in clips}.values(), key=lambda clip: clip.duration_s)
    n = min(most or len(ordered), len(ordered))
    return [ordered[(place + 1) * len(ordered) // n - 1] for place in range(n)]


def _source(path: Path, clips: Sequence[Clip]) -> DataSource:
    # Clips of several sources may share a name.
    write_manifest(path, [replace(clip, id=f"{number:06d}") for number, clip in enumerate(clips)])
    return DataSource(manifest=path)


def _step_share(bench: Bench, chosen: Sketch) -> float:
    """How long a step of fine-tuning is beside a rehearsed one."""
    if bench.assignment is None or chosen.obstacle is not None:
        return 1.0
    clips = _fitting(bench, chosen)
    lengths = torch.tensor([clip.duration_s for clip in clips]).sort().values
    draw, size = torch.Generator().manual_seed(0), min(bench.assignment.finetune.batch_size, len(lengths))
    # A batch is as long as its longest clip; the rehearsed one holds the longest of all.
    longest = [lengths[draw_like_length(len(lengths), size, draw)].max() for _ in range(_DRAWS)]
    return float(torch.stack(longest).mean() / lengths[-1])


def _notes(bench: Bench, chosen: str, share: float, stages: Sequence[StageForecast]) -> Iterator[str]:
    if len(bench.candidates) > 1:
        yield f"every candidate is taken to be as fast as {chosen}"
    if "throughput" in bench.suite.metrics and (n_heats := n_heats_of(len(bench.candidates))) > 1:
        yield f"speed is measured in {n_heats} heats: loading the candidates anew for each block is not counted"
    if share < 0.995 and any(stage.name == FINETUNE for stage in stages):
        yield (
            f"steps were rehearsed on the longest clips, which decide the memory; the run's batches are "
            f"{share:.0%} as long, and so are its steps taken to be"
        )
    if any(stage.name == FINETUNE and stage.units > stage.tasks * STEPS for stage in stages):
        yield "many steps of different lengths leave gaps in memory: leave it half as much again"
    if bench.assignment is not None and _validates(bench.assignment):
        yield "validating, and saving on the way, are not counted"
    if any(stage.name == PAIRS for stage in stages):
        yield "where the GPT repeats itself or is silent, fewer tokens are heard"
    if any(stage.name == FINETUNE and stage.tasks > 1 for stage in stages):
        yield "a GPT that its tuning confuses may not stop by itself: speaking, and listening to it, then take longer"
    kept = bench.suite.exhibits
    if kept.clips or kept.drawn or kept.worst:
        yield "rendering some clips again, to be heard, is not counted: a second or so a clip"
    if bench.suite.slices != SlicesConfig():
        yield "figures by slice are not counted: some seconds for each hundred slices"
    for stage in stages:
        if stage.seconds is None:
            yield f"{stage.name}: not rehearsed, so its {stage.units:,} units are not counted"


def _validates(assignment: Assignment) -> bool:
    """Whether some of the speech that the GPTs are tuned on is held out."""
    share = assignment.finetune.validation_share
    return bool(assignment.finetune.steps) and any(is_held_out(clip, share) for clip in assignment.clips)


def _disk(folder: Path, work: Sequence[Work], keeper: Timekeeper) -> dict[str, int]:
    """What a run leaves in its cache, by what the rehearsal left."""

    def each(bytes_: int, *names: str) -> int:
        rehearsed = sum(task.total for task in keeper.tasks if task.description.rpartition(": ")[2] in names)
        return round(bytes_ / max(1, rehearsed) * sum(one.total for one in work if one.stage in names))

    kinds = {path.name: path for path in folder.iterdir()}
    weights = list(folder.glob(f"trainings/*/{GPT_WEIGHTS}"))
    tuned = sum(_size_bytes(path.parent) for path in weights)
    rows = sum(_size_bytes(path) for name, path in kinds.items() if name not in ("trainings", "spoken", "pairs"))
    found = {
        "tuned GPTs": tuned * sum(one.stage == FINETUNE for one in work),
        "speech": each(_size_bytes(folder / "spoken"), SPEAKING),
        "pairs": each(_size_bytes(folder / "pairs"), PAIRS),
        "rows": each(rows, LISTENING, HEARING, JUDGED),
    }
    return {kind: size for kind, size in found.items() if size}


def _recordings_bytes(bench: Bench, small: _Miniature, run: Run) -> int:
    """What the suite's recordings take in memory beyond the rehearsed ones."""
    spec, question = MelSpec(), bench.question

    def more_s(clips: Iterable[Clip], rehearsed: Iterable[Clip]) -> float:
        return max(0.0, sum(clip.duration_s for clip in clips) - sum(clip.duration_s for clip in rehearsed))

    host = 0.0
    if small.training and bench.assignment is not None:
        mel_bytes = 2 * spec.n_mels * spec.sample_rate_hz / spec.hop_length  # a second, in half precision
        host += mel_bytes * more_s(bench.assignment.clips, small.training)
    sample_bytes = 4 * spec.sample_rate_hz
    written = [clip.duration_s for clip in run.clips if clip.clip_set == "pairs"]
    if written and question is not None and question.writing is not None:
        host += sample_bytes * fmean(written) * (question.writing.n - len(written))
    if question is not None:
        rehearsed = sum(clip.duration_s for clip in run.clips if clip.clip_set == question.clip_set)
        host += sample_bytes * max(0.0, sum(clip.duration_s for clip in question.natural) - rehearsed)
    return round(host)


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _free_bytes(folder: Path) -> int:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def _resident_bytes() -> int:
    """The most memory that this process has held so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


class _Cuda:
    """What is taken of a CUDA device from now on; nothing where the device is none."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self._free_bytes = torch.cuda.mem_get_info(device)[0]

    def memory(self) -> list[Memory]:
        """Torch's tensors at their peak; and all that the device gave, to other libraries (CTranslate2), too."""
        if self._device.type != "cuda":
            return []
        free_bytes, size_bytes = torch.cuda.mem_get_info(self._device)
        # What torch once took it keeps for later, so the end shows the most that there was.
        taken = self._free_bytes - free_bytes
        return [
            Memory("tensors on the GPU", torch.cuda.max_memory_allocated(self._device), 0, size_bytes),
            Memory("all on the GPU", taken, 0, size_bytes),
        ]
