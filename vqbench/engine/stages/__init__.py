"""The parts of a run, in order. Each says what there is to do, how it is done, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence

from vqbench.engine.plan import Stage
from vqbench.engine.stages.answering import Answering
from vqbench.engine.stages.enrolling import Enrolling
from vqbench.engine.stages.foretelling import Foretelling
from vqbench.engine.stages.hearing import Hearing
from vqbench.engine.stages.judging import Judging
from vqbench.engine.stages.learning import Learning
from vqbench.engine.stages.listening import Listening
from vqbench.engine.stages.speaking import Speaking, Voicing
from vqbench.engine.stages.summarising import Summarising
from vqbench.engine.stages.timing import Timing
from vqbench.engine.stages.tuning import Tuning


def measuring() -> Sequence[Stage]:
    """All stages whose tables make a run."""
    return (
        Enrolling(),
        Answering(),
        Hearing(),
        Foretelling(),
        Listening(),
        Tuning(),
        Voicing(),
        Speaking(),
        Judging(),
        Learning(),
        Timing(),
        Summarising(),
    )
