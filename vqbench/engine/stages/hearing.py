"""Every candidate tokenises the recordings whose tokens are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from vqbench.engine.agreement import agreement_table, asked_of, unlike
from vqbench.engine.bench import Bench
from vqbench.engine.cache import Place
from vqbench.engine.findings import Findings
from vqbench.engine.hearing import (
    KIND,
    Encoding,
    Target,
    hear,
    hear_waveforms,
    heard_key,
    mel_of,
    pack_heard,
    unpack_heard,
)
from vqbench.engine.plan import Done, Item, Passing, Stage, Values
from vqbench.engine.stages.turns import in_turns, parts_of
from vqbench.progress import Progress

_AT_ONCE = 32


class Hearing(Stage):
    """One item a candidate and recording."""

    name = "hearing tokens"

    def applies(self, bench: Bench) -> bool:
        """Whether tokens are held against any."""
        return bench.question is not None

    def prepare(self, bench: Bench, found: Findings) -> Sequence[Item]:
        """Of each candidate, what it can be held against; candidates take turns at some recordings."""
        assert found.answer is not None
        items: dict[str, list[Item]] = {}
        for sketch in bench.candidates:
            own = items.setdefault(sketch.record.name, [])
            for asked in asked_of(sketch.record.name, found.answer):
                if unlike(sketch.record, asked.whose, asked.rate_hz) is None:
                    own += [
                        heard_item(sketch.record.name, sketch.record.digest, bench, f"{asked.group} {number}", target)
                        for number, target in enumerate(asked.targets)
                    ]
        own_items = list(items.values())
        return in_turns(own_items, parts_of(max(map(len, own_items), default=0), _AT_ONCE))

    def work(self, items: Sequence[Item], bench: Bench, progress: Progress) -> Iterator[Done]:
        """All recordings of a candidate together; the mel of each is computed once for all."""
        mels: dict[tuple[str, str], Any] = {}
        for owner, of_owner in groupby(items, key=lambda item: item.owner):
            own = list(of_owner)
            targets = [item.content for item in own]
            if bench.is_coded(owner):
                heard = hear_waveforms(bench.waveform_tokenizer(owner), targets)
            else:
                tokenizer = bench.tokenizer_called(owner)
                spec = tokenizer.mel_spec
                for target in targets:
                    key = (spec.fingerprint, target.clip.sha256)
                    if key not in mels:
                        mels[key] = mel_of(target, spec)
                heard = hear(tokenizer, targets, [mels[spec.fingerprint, target.clip.sha256] for target in targets])
            yield [
                (item, {"heard": row if isinstance(row, Encoding) else Passing(row)})
                for item, row in zip(own, heard, strict=True)
            ]

    def pack(self, name: str, value: Any) -> Mapping[str, object]:
        """Codes and ranks."""
        return pack_heard(value)

    def unpack(self, name: str, entry: Mapping[str, Any]) -> Any:
        """Codes and ranks."""
        return unpack_heard(entry)

    def collect(self, bench: Bench, found: Findings, values: Mapping[tuple[str, str], Values]) -> None:
        """One table a candidate and group."""
        assert found.answer is not None
        for sketch in bench.candidates:
            name = sketch.record.name
            for asked in asked_of(name, found.answer):
                reason = unlike(sketch.record, asked.whose, asked.rate_hz)
                ids = [f"{asked.group} {number}" for number in range(len(asked.targets))]
                rows = [reason or values[name, one]["heard"] for one in ids]
                tokenizer = None if sketch.is_coded else bench.tokenizer(name)
                found.add("agreement", name, agreement_table(sketch.record, tokenizer, asked, rows))


def heard_item(owner: str, digest: str, bench: Bench, number: object, target: Target) -> Item:
    """A recording that somebody is to tokenise."""
    place = Place(KIND, heard_key(digest, bench.device, target.clip))
    batch = (owner, number // _AT_ONCE) if isinstance(number, int) else None
    return Item(owner, str(number), {"heard": place}, target, batch)
