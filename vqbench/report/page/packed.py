"""Data for the page's script: JSON that no text in it can end, and arrays and long lists packed."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqbench.records.exhibits import unpack_whole
from vqbench.records.packing import narrowest
from vqbench.report import format as fmt

_LEVEL = 6
"""Of zlib: a page is written once and sent often."""

_ROUNDING = 1e-6
"""So near to a tie a figure is one."""


def json_text(value: Any) -> str:
    """JSON for a `<script type="application/json">`: without `<`, nothing in it can end the element.

    >>> json_text({"id": "</script>"})
    '{"id":"\\\\u003c/script>"}'
    """
    return json.dumps(cleaned(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )


def cleaned(value: Any) -> Any:
    """The same value, every text in it without what no page should carry; see `format.clean`."""
    if isinstance(value, str):
        return fmt.clean(value)
    if isinstance(value, Mapping):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(item) for item in value]
    return value


def pack_json(value: Any) -> dict[str, str]:
    """A long list, compressed: `{"zlib": base64 of JSON}`."""
    text = json.dumps(cleaned(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return {"zlib": _base64(zlib.compress(text.encode("utf-8", "replace"), _LEVEL))}


def pack_figures(values: NDArray[np.float64], decimals: int) -> dict[str, Any]:
    """Figures with one decimal more than is shown, as whole numbers: `{"scale", "missing", "values"}`.

    Args:
        values: (n,) NaN or infinite where there is none.
        decimals: of the metric.
    """
    there = np.isfinite(values)
    values = np.where(there, values, 0)
    # As whole numbers they shall be exact; figures so large have no such decimals.
    digits = min(decimals + 1, math.floor(15 - math.log10(np.abs(values).max(initial=1))))
    scale = 10.0**digits
    scaled = values * scale
    whole = np.rint(scaled)
    # Rounded again for show, a last digit that became a 5 must go the way that the figure itself would.
    whole += np.where((whole % 10 == 5) & (np.abs(scaled - whole) > _ROUNDING), np.sign(scaled - whole), 0)
    whole = whole.astype(np.int64)
    missing = int(whole.max(initial=0)) + 1
    return {"scale": scale, "missing": missing, "values": pack_array(np.where(there, whole, missing))}


def pack_array(values: NDArray[np.int64]) -> dict[str, Any]:
    """Whole numbers: `{"type", "data"}`, or `{"type", "zlib"}` where that is shorter."""
    written, plain = narrowest(values)
    if written == "int64":  # of which a script has another kind of number
        written, plain = "float64", values.astype("<f8").tobytes()
    small = zlib.compress(plain, _LEVEL)
    key, stored = ("zlib", small) if len(small) < len(plain) else ("data", plain)
    return {"type": written, key: _base64(stored)}


def repack(packed: Mapping[str, Any] | None, n: int | None = None) -> Mapping[str, Any] | None:
    """What `vqbench.records.exhibits` keeps packed, `n` numbers where that is known, as the script reads it."""
    if packed is None:
        return None
    return pack_array(unpack_whole(packed, "exhibits") if n is None else unpack_whole(packed, "exhibits", n))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
