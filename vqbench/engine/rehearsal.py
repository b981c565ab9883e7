"""`vqbench run --dry-run`: a miniature of the suite is run, and what it took is told for the whole.

Batches are as large as in the run, since they decide memory, and hold the longest recordings; there are only few of
them. Everything happens in a temporary folder.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from vqbench.audio.mel import MelSpec
from vqbench.config.candidate import Candidate as CandidateConfig
from vqbench.config.measuring import ExhibitsConfig, SlicesConfig
from vqbench.config.recipe import VQVAE_PHASES, Recipe, load_recipe
from vqbench.config.source import DataSource
from vqbench.config.suite import Suite
from vqbench.data.manifest import Clip, write_manifest
from vqbench.engine.cache import Cache, default_cache_folder
from vqbench.engine.downstream import find_obstacle
from vqbench.engine.provenance import collect_provenance
from vqbench.engine.recipes import SourceFinder
from vqbench.engine.runner import CLIPS_AT_ONCE, Prepared, prepare_suite, run_suite
from vqbench.engine.speaking import PER_SHARD
from vqbench.engine.workload import (
    FINETUNE,
    HEARING,
    JUDGED,
    LISTENING,
    PAIRS,
    SPEAKING,
    Entrant,
    Workload,
    training_clips,
)
from vqbench.progress import Progress, Timekeeper
from vqbench.records.forecast import Estimate, Memory, Stage, stages_of
from vqbench.records.run import Run
from vqbench.teachers.tortoise.folder import memory_bytes
from vqbench.tokenizers.dvae.checkpoint import load_tokenizer
from vqbench.training.finetune import GPT_WEIGHTS
from vqbench.training.speech import draw_like_length
from vqbench.training.trainer import train

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


def rehearse(suite: Suite, progress: Progress) -> Estimate:
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
        ready = prepare_suite(suite, cache, progress)
        everybody, stand_ins, untold = _entrants(ready, cache, progress)
        entrants = everybody[: len(suite.candidates)]
        named = suite.reference if ready.bring_reference else None
        reference = None if named is None else next(one for one in everybody if one.name == named.name)
        opening_s = time.perf_counter() - began_s
        chosen = _chosen(ready, entrants)
        config = stand_ins.get(chosen.name) or next(c for c in suite.candidates if c.name == chosen.name)
        max_tokens = _max_tokens(ready)
        small = _miniature(ready, chosen, config, named and stand_ins.get(named.name, named), max_tokens, folder)

        keeper, cuda = Timekeeper(progress, _resident_bytes), _Cuda(ready.device)
        run = run_suite(small.suite, cache, keeper).run
        share = _step_share(ready, chosen, small, max_tokens)
        workload = Workload(ready, entrants, chosen.name, max_tokens, reference, share)
        stages = stages_of(workload.work, keeper.tasks)
        disk = _disk(cache.folder, workload, keeper)
        more = _recordings_bytes(workload, small, run)
        memory = [Memory("process", keeper.most, more, memory_bytes(torch.device("cpu")))] if keeper.most else []
        memory += cuda.memory()
    made = collect_provenance(ready.device, Path.cwd(), [])
    return Estimate(
        suite=suite.name,
        machine=f"{made['device']}, {made['cores']} cores, threads: {made['threads']}",
        candidate=chosen.name,
        opening_s=opening_s,
        stages=stages,
        seconds=opening_s + sum(stage.seconds or 0.0 for stage in stages),
        memory=tuple(memory),
        disk=disk,
        disk_free_bytes=_free_bytes(default_cache_folder()),
        rehearsal_s=time.perf_counter() - began_s,
        notes=(*untold, *_notes(workload, stages)),
    )


def _entrants(
    ready: Prepared, cache: Cache, progress: Progress
) -> tuple[list[Entrant], dict[str, CandidateConfig], list[str]]:
    """All candidates, and the reference where it is none of them; in place of those that are trained in the run,
    untrained ones; and what this leaves out."""
    entrants, stand_ins, untold = [], {}, []
    asked = list(zip(ready.suite.candidates, ready.bring, strict=True))
    reference = ready.suite.reference
    if reference is not None and ready.bring_reference is not None and reference not in ready.suite.candidates:
        asked.append((reference, ready.bring_reference))
    for config, bring in asked:
        if config.recipe is None:
            tokenizer = bring()
            entrants.append(Entrant(config.name, tokenizer, tokenizer.digest))
            continue
        recipe = load_recipe(config.recipe, config.change)
        made = _untrained(recipe, cache, ready.device, progress)
        stand_ins[config.name] = CandidateConfig(name=config.name, checkpoint=made)
        entrants.append(Entrant(config.name, load_tokenizer(made, device=ready.device), f"recipe {config.name}"))
        if recipe.steps:
            untold.append(
                f"{config.name}: the training by its recipe, {recipe.steps:,} steps, is not counted; it is done once, "
                f"where it is not in the cache yet"
            )
    return entrants, stand_ins, untold


def _untrained(recipe: Recipe, cache: Cache, device: torch.device, progress: Progress) -> Path:
    """A checkpoint of the size that the recipe's will have."""
    phases = dict.fromkeys((*VQVAE_PHASES, "finetune", "pairs", "teacher"))
    bare = recipe.model_copy(update=phases)
    folder = cache.training_folder(f"untrained-{recipe.digest}")
    return train(bare, SourceFinder(device, progress)(bare), folder, device, progress)


def _chosen(ready: Prepared, entrants: Sequence[Entrant]) -> Entrant:
    """The first candidate that does all that candidates do, which the reference does not."""
    reference = ready.question and ready.question.reference
    entrants = [one for one in entrants if one.name != reference] or entrants
    if ready.assignment is None:
        return entrants[0]
    teacher = ready.assignment.teacher
    return next((one for one in entrants if find_obstacle(one.tokenizer, teacher) is None), entrants[0])


def _miniature(
    ready: Prepared,
    chosen: Entrant,
    config: CandidateConfig,
    reference: CandidateConfig | None,
    max_tokens: int,
    folder: Path,
) -> _Miniature:
    suite, assignment = ready.suite, ready.assignment
    lines = assignment.lines if assignment else ()
    own = [assignment.recordings[line.id] for line in lines[:CLIPS]] if assignment and assignment.recordings else []
    speech = own or _spread(ready.clips, CLIPS)
    data: dict[str, object] = {"speech": _source(folder / "speech.jsonl", speech)}
    question = ready.question
    if question is not None and question.writing is not None and suite.data.pairs is not None:
        n = min(question.writing.n, question.writing.teacher.batch_size)
        data["pairs"] = suite.data.pairs.model_copy(update={"n": n})
    if question is not None and suite.data.natural is not None:
        data["natural"] = _source(folder / "natural.jsonl", _spread(question.natural, CLIPS))
    training: Sequence[Clip] = ()
    changed: dict[str, object] = {}
    if assignment is not None and suite.downstream is not None:
        fitting = training_clips(assignment, chosen.tokenizer, max_tokens)
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
            "candidates": (config,),
            "reference": reference,
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


def _max_tokens(ready: Prepared) -> int:
    """What the teacher's GPT can write at once; 0 where nothing is tuned."""
    if ready.assignment is None:
        return 0
    part = ready.assignment.teacher.gpt
    with part.loaded() as gpt:
        found = gpt.dimensions.max_mel_tokens
    part.release()  # the rehearsal loads its own, and both together would be counted
    return found


def _spread(clips: Sequence[Clip], most: int | None = None) -> list[Clip]:
    """So many clips of all lengths, the longest one among them, or all of them; each recording once."""
    ordered = sorted({(clip.path, clip.start_s): clip for clip in clips}.values(), key=lambda clip: clip.duration_s)
    n = min(most or len(ordered), len(ordered))
    return [ordered[(place + 1) * len(ordered) // n - 1] for place in range(n)]


def _source(path: Path, clips: Sequence[Clip]) -> DataSource:
    # Clips of several sources may share a name.
    write_manifest(path, [replace(clip, id=f"{number:06d}") for number, clip in enumerate(clips)])
    return DataSource(manifest=path)


def _step_share(ready: Prepared, chosen: Entrant, small: _Miniature, max_tokens: int) -> float:
    """How long a step of fine-tuning is beside a rehearsed one."""
    if ready.assignment is None:
        return 1.0
    clips = training_clips(ready.assignment, chosen.tokenizer, max_tokens)
    lengths = torch.tensor([clip.duration_s for clip in clips]).sort().values
    draw, size = torch.Generator().manual_seed(0), min(ready.assignment.finetune.batch_size, len(lengths))
    # A batch is as long as its longest clip; the rehearsed one holds the longest of all.
    longest = [lengths[draw_like_length(len(lengths), size, draw)].max() for _ in range(_DRAWS)]
    return float(torch.stack(longest).mean() / lengths[-1])


def _notes(workload: Workload, stages: Sequence[Stage]) -> Iterator[str]:
    if len(workload.entrants) > 1:
        yield f"every candidate is taken to be as fast as {workload.like}"
    if workload.step_share < 0.995 and any(stage.name == FINETUNE for stage in stages):
        yield (
            f"steps were rehearsed on the longest clips, which decide the memory; the run's batches are "
            f"{workload.step_share:.0%} as long, and so are its steps taken to be"
        )
    if any(stage.name == FINETUNE and stage.units > stage.tasks * STEPS for stage in stages):
        yield "many steps of different lengths leave gaps in memory: leave it half as much again"
    if workload.validates:
        yield "validating, and saving on the way, are not counted"
    if any(stage.name == PAIRS for stage in stages):
        yield "where the GPT repeats itself or is silent, fewer tokens are heard"
    if len(workload.tuned) > 1:
        yield "a GPT that its tuning confuses may not stop by itself: speaking, and listening to it, then take longer"
    kept = workload.ready.suite.exhibits
    if kept.clips or kept.drawn or kept.worst:
        yield "rendering some clips again, to be heard, is not counted: a second or so a clip"
    if workload.ready.suite.slices != SlicesConfig():
        yield "figures by slice are not counted: some seconds for each hundred slices"
    for stage in stages:
        if stage.seconds is None:
            yield f"{stage.name}: not rehearsed, so its {stage.units:,} units are not counted"


def _disk(folder: Path, workload: Workload, keeper: Timekeeper) -> dict[str, int]:
    """What a run leaves in its cache, by what the rehearsal left."""

    def each(bytes_: int, *names: str) -> int:
        rehearsed = sum(task.total for task in keeper.tasks if task.description.rpartition(": ")[2] in names)
        return round(bytes_ / max(1, rehearsed) * sum(one.total for one in workload.work if one.stage in names))

    kinds = {path.name: path for path in folder.iterdir()}
    weights = list(folder.glob(f"trainings/*/{GPT_WEIGHTS}"))
    tuned = sum(_size_bytes(path.parent) for path in weights)
    rows = sum(_size_bytes(path) for name, path in kinds.items() if name not in ("trainings", "spoken", "pairs"))
    found = {
        "tuned GPTs": tuned * len(workload.tuned),
        "speech": each(_size_bytes(folder / "spoken"), SPEAKING),
        "pairs": each(_size_bytes(folder / "pairs"), PAIRS),
        "rows": each(rows, LISTENING, HEARING, JUDGED),
    }
    return {kind: size for kind, size in found.items() if size}


def _recordings_bytes(workload: Workload, small: _Miniature, run: Run) -> int:
    """What the suite's recordings take in memory beyond the rehearsed ones."""
    ready, spec = workload.ready, MelSpec()

    def more_s(clips: Iterable[Clip], rehearsed: Iterable[Clip]) -> float:
        return max(0.0, sum(clip.duration_s for clip in clips) - sum(clip.duration_s for clip in rehearsed))

    host = 0.0
    if small.training and ready.assignment is not None:
        mel_bytes = 2 * spec.n_mels * spec.sample_rate_hz / spec.hop_length  # a second, in half precision
        host += mel_bytes * more_s(ready.assignment.clips, small.training)
    sample_bytes = 4 * spec.sample_rate_hz
    written = [clip.duration_s for clip in run.clips if clip.clip_set == "pairs"]
    if written and ready.question is not None and ready.question.writing is not None:
        host += sample_bytes * fmean(written) * (ready.question.writing.n - len(written))
    if ready.question is not None:
        rehearsed = sum(clip.duration_s for clip in run.clips if clip.clip_set == ready.question.clip_set)
        host += sample_bytes * max(0.0, sum(clip.duration_s for clip in ready.question.natural) - rehearsed)
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
