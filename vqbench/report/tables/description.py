"""What a manifest holds, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_SPEAKERS = 8
"""So many are named on the terminal; the JSON has all."""


def description_json(found: Mapping[str, Any]) -> str:
    """All of it; `found` is a `vqbench.data.describing.Description` as a dictionary."""
    return json.dumps(found, ensure_ascii=False, indent=2)


def description_text(found: Mapping[str, Any]) -> str:
    """A line a thing."""
    return "\n".join(_clean(line) for line in _lines(found))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{found['path']}: {found['title']}"
    yield from (f"  {note}" for note in found["notes"])
    yield f"clips      {found['n_clips']:,}, {found['hours']:.2f} h"
    if found["length_s"]:
        told = ", ".join(f"{name} {value:.2f} s" for name, value in found["length_s"].items())
        yield f"lengths    {told}; under 2 s: {found['under_2_s']:,}"
    speakers = list(found["speakers"].items())
    named = ", ".join(f"{name} ({n:,} clips, {minutes:.1f} min)" for name, (n, minutes) in speakers[:_SPEAKERS])
    more = f" and {len(speakers) - _SPEAKERS:,} more" if len(speakers) > _SPEAKERS else ""
    yield f"speakers   {f'{len(speakers):,}: {named}{more}' if speakers else 'none named'}"
    yield f"languages  {_counts(found['languages']) or 'none named'}"
    if found["splits"]:
        yield f"splits     {_counts(found['splits'])}"
    yield f"rates      {_counts(found['rates_hz'], ' Hz') or 'none'}"
    yield f"channels   {_counts(found['channels']) or 'none'}; {_counts(found['containers'])}"
    yield f"texts      {found['n_texts']:,} of {found['n_clips']:,} clips, {found['words']:,} words"
    if found["columns"]:
        yield f"columns    {', '.join(found['columns'])}"
    if not found["wrong"]:
        yield "wrong      nothing found"
    for wrong in found["wrong"]:
        more = ", …" if wrong["n"] > len(wrong["examples"]) else ""
        yield f"wrong      {wrong['n']:,} × {wrong['what']}: {', '.join(wrong['examples'])}{more}"


def _counts(counts: Mapping[str, int], unit: str = "") -> str:
    return ", ".join(f"{name}{unit} ({n:,})" for name, n in counts.items())


def _clean(line: str) -> str:
    """Without what could move a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in line)
