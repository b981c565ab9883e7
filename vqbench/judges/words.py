"""The words that an ASR understands, how fast they come, and utterances that run away or break off."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib import metadata

from vqbench.errors import DataError
from vqbench.judges.asr.recognizer import SpeechRecognizer
from vqbench.judges.asr.text import compare
from vqbench.judges.protocol import CLIP_SET, PAUSE_DB, SILENT_DBFS, Heard, no_sound
from vqbench.judges.transcription import headline_of, transcript_errors
from vqbench.languages import language_of
from vqbench.records.rows import Measured
from vqbench.records.run import MetricSpec

GRACE_S = 2.0
S_PER_WORD = 1.0
"""An utterance of more than GRACE_S and S_PER_WORD a word has run away: slow reading takes half a second a word."""

MAX_PAUSE_S = 8.0
"""So long says nobody nothing within a sentence."""

CUT_OFF = (2, 0.25)
"""An utterance breaks off where the sentence's last words, so many and such a share of all, are missing."""

CHARACTERS_A_WORD = 2
"""Where a language is written without spaces, so many characters are taken for a word by the limits above."""

_VERSION = 3


class SpokenWords:
    """WER and CER, speaking rate, and the shares of utterances that run away or break off.

    What is silent is not shown to the ASR: all its words are deleted. A phrase that is heard again and again beyond the
    sentence counts once too often, as in every transcript; that there is one shows in `runaway`.
    """

    name = "downstream"
    specs: tuple[MetricSpec, ...] = tuple(
        MetricSpec(
            name=f"downstream.{name}",
            group="downstream",
            columns=columns,
            reduction="ratio",
            unit=unit,
            higher_is_better=better,
            version=_VERSION,
            description=description,
            decimals=2 if unit else 3,
            headline=name == "wer",
            clip_set=CLIP_SET,
        )
        for name, columns, unit, better, description in (
            (
                "wer",
                ("word_errors", "words"),
                "",
                False,
                "word errors / words of the sentences; silence says none of them",
            ),
            ("cer", ("character_errors", "characters"), "", False, "the same for characters"),
            (
                "runaway",
                ("runaways", "utterances"),
                "",
                False,
                f"share without a stop token, silent, over {GRACE_S:g} s + {S_PER_WORD:g} s a word, with a pause over "
                f"{MAX_PAUSE_S:g} s, or heard as a loop: words again and again that the sentence has not",
            ),
            (
                "cut_off",
                ("cut_offs", "utterances"),
                "",
                False,
                f"share that is heard without the sentence's last words: at least {CUT_OFF[0]}, and {CUT_OFF[1]:.0%}",
            ),
            (
                "speaking_rate",
                ("heard_words", "heard_s"),
                "words/s",
                None,
                "words of the sentences / seconds, pauses included; without silent utterances and unspaced languages",
            ),
        )
    )

    def __init__(self, recognizer: SpeechRecognizer) -> None:
        self._recognizer = recognizer

    @classmethod
    def specs_for(cls, languages: Collection[str]) -> tuple[MetricSpec, ...]:
        """The figures, those of them as headlines that stand for sentences of these languages."""
        headline = [f"{cls.name}.{name}" for name in headline_of(languages)]
        return tuple(replace(spec, headline=spec.name in headline) for spec in cls.specs)

    @property
    def identity(self) -> Mapping[str, object]:
        """The ASR and every setting of its decoder, what normalises and counts, and what counts as run away."""
        counting = {package: metadata.version(package) for package in ("openai-whisper", "jiwer")}
        limits = {
            "silent_dbfs": SILENT_DBFS,
            "grace_s": GRACE_S,
            "s_per_word": S_PER_WORD,
            "max_pause_s": MAX_PAUSE_S,
            "pause_db": PAUSE_DB,
            "cut_off": list(CUT_OFF),
            "characters_a_word": CHARACTERS_A_WORD,
        }
        return {"version": _VERSION, "asr": dict(self._recognizer.identity), "counting": counting, **limits}

    def measure(self, spoken: Sequence[Heard]) -> list[Measured | DataError]:
        """One row an utterance, in order; one that is no sound gives its error instead."""
        faults = [no_sound(one) for one in spoken]
        heard = [one for one, fault in zip(spoken, faults, strict=True) if fault is None and not one.is_silent]
        waveforms = [one.waveform for one in heard]
        codes = [one.language for one in heard]
        texts = self._recognizer.transcribe(waveforms, heard[0].sample_rate_hz, codes) if heard else []
        hypotheses = iter(texts)
        return [
            fault or self._row(one, "" if one.is_silent else next(hypotheses))
            for one, fault in zip(spoken, faults, strict=True)
        ]

    def _row(self, spoken: Heard, heard: str) -> Measured | DataError:
        errors = transcript_errors(spoken.text, heard, spoken.language)
        if isinstance(errors, DataError):
            return errors
        compared = compare(spoken.text, heard, spoken.language)
        per_word = 1 if language_of(spoken.language).has_spaces else CHARACTERS_A_WORD
        n_words = len(compared.wanted) / per_word
        runs_away = {
            "unfinished": not spoken.finished,
            "silent": spoken.is_silent,
            "overlong": spoken.duration_s > GRACE_S + S_PER_WORD * n_words,
            "stalled": spoken.longest_pause_s > MAX_PAUSE_S,
            "looped": compared.looped,
        }
        least, share = CUT_OFF
        missing = compared.missing_at_the_end / per_word
        cut_off = not spoken.is_silent and missing >= max(least, share * n_words)
        words = errors.cells["words"]
        paced = bool(words) and not spoken.is_silent
        return Measured(
            {
                **errors.cells,
                "utterances": 1.0,
                **{name: float(found) for name, found in runs_away.items()},
                "runaways": float(any(runs_away.values())),
                "cut_offs": float(cut_off),
                "heard_words": words if paced else 0.0,
                "heard_s": spoken.duration_s if paced else 0.0,
            },
            errors.texts,
        )
