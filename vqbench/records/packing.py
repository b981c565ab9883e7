"""Columns as JSON: arrays as little-endian bytes in base64, compressed by zlib where that halves them.

Numbers are written exactly, whole ones in the least width that holds them. As decimal text they would take three times
the room and many times as long to read.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vqbench.records.mapping import MappingError
from vqbench.stats.columns import Column, Ragged

Kind = Literal["numbers", "codes", "scores"]
"""What a column holds of a row: a number; whole numbers, any number of them; or numbers, likewise."""

_WHOLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")
"""From narrow to wide."""

_TYPES = (*_WHOLE, "float64")

_LEVEL = 1
"""Of zlib: higher ones take several times as long for a few percent."""

_WORTH_IT = 0.5
"""What is not compressed to this share of its size is read faster as it is."""


def kind_of(column: Column) -> Kind:
    """What a column holds of a row."""
    if not isinstance(column, Ragged):
        return "numbers"
    return "codes" if column.whole else "scores"


def pack(column: Column) -> dict[str, Any]:
    """A column as plain JSON values.

    Returns:
        For one number a row an array: `type`, the name of a NumPy type, and `data`, or `zlib` where it is compressed.
        For several values a row `lengths` and `values`, an array each.
    """
    if isinstance(column, Ragged):
        return {"lengths": _pack_array(column.lengths), "values": _pack_array(column.values)}
    return _pack_array(column)


def unpack(packed: Any, kind: Kind, n_rows: int, place: str, most: int | None = None) -> Column:
    """The column of `n_rows` rows that `pack` made a plain value of.

    Args:
        packed: the plain value.
        kind: what it holds.
        n_rows: how many rows.
        place: where it stands, for messages.
        most: values of all rows together, where there may be several a row; None bounds them by nothing but the file.

    Raises:
        MappingError: it is no such column.
    """
    if kind == "numbers":
        return _unpack_array(packed, _TYPES, n_rows, place).astype(np.float64)
    if not isinstance(packed, dict) or packed.keys() != {"lengths", "values"}:
        raise MappingError("holds no column", place, "an object of lengths and values")
    lengths = _unpack_array(packed["lengths"], _WHOLE, n_rows, f"{place}, lengths").astype(np.int64)
    if n_rows and lengths.min() < 0:
        raise MappingError("has a row of a negative length", place, None)
    if most is not None and lengths.sum() > most:
        raise MappingError(f"says that it holds {lengths.sum():,} values", place, f"at most {most:,}")
    values = _unpack_array(packed["values"], _WHOLE if kind == "codes" else _TYPES, int(lengths.sum()), place)
    return Ragged(values if kind == "codes" else values.astype(np.float64), lengths)


def _least_type(values: NDArray[Any]) -> str:
    """The narrowest type that holds every value exactly."""
    if not len(values):
        return "uint8" if np.issubdtype(values.dtype, np.integer) else "float64"
    least, most = values.min(), values.max()
    if not np.issubdtype(values.dtype, np.integer) and not bool((values == np.rint(values)).all()):
        return "float64"
    for name in _WHOLE:
        if np.iinfo(name).min <= least and most <= np.iinfo(name).max:
            return name
    return "float64"


def narrowest(values: NDArray[Any]) -> tuple[str, bytes]:
    """The name of the narrowest type that holds every value exactly, and the values in it, little-endian."""
    written = _least_type(values)
    return written, values.astype(np.dtype(written).newbyteorder("<")).tobytes()


def _pack_array(values: NDArray[Any]) -> dict[str, str]:
    written, plain = narrowest(values)
    small = zlib.compress(plain, _LEVEL)
    key, stored = ("zlib", small) if len(small) <= _WORTH_IT * len(plain) else ("data", plain)
    return {"type": written, key: base64.b64encode(stored).decode("ascii")}


def _unpack_array(packed: Any, types: tuple[str, ...], n: int, place: str) -> NDArray[Any]:
    """`n` numbers of one of the types."""
    if not isinstance(packed, dict) or packed.keys() not in ({"type", "data"}, {"type", "zlib"}):
        raise MappingError("holds no array", place, "an object of type and data, or of type and zlib")
    written = packed["type"]
    if written not in types:
        raise MappingError(f"is of the type {written!r}", place, f"one of {', '.join(types)}")
    dtype = np.dtype(written).newbyteorder("<")
    wanted = n * dtype.itemsize
    try:
        plain = base64.b64decode(packed["zlib" if "zlib" in packed else "data"], validate=True)
        if "zlib" in packed:
            # No more than is wanted, and a byte that would tell of more: a small file shall not fill the memory.
            plain = zlib.decompressobj().decompress(plain, wanted + 1)
    except (binascii.Error, TypeError, ValueError, zlib.error) as error:
        raise MappingError(f"is damaged: {error}", place, None) from error
    if len(plain) != wanted:
        came = "more" if len(plain) > wanted else f"{len(plain) // dtype.itemsize:,}"
        raise MappingError(f"holds {came} values", place, f"{n:,}")
    values = np.frombuffer(plain, dtype).astype(written)
    if written == "float64" and not np.isfinite(values).all():
        raise MappingError("holds NaN or an infinite number", place, "finite numbers only")
    return values
