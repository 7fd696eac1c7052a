"""Sizes, times and rates as descriptors write them, in bytes, seconds and bit/s.

``MB`` is 10^6 and ``MiB`` 2^20 as in TOSCA §3.3.6; ``Mi`` and ``M`` are Kubernetes' spellings of the two.
"""

from __future__ import annotations

import re

from manor.catalog.reading import Reading

__all__ = ["GIB", "MIB", "bits_per_second", "cpus", "seconds", "size_bytes"]

MIB = 1 << 20
GIB = 1 << 30
_MOST = 1 << 60
_PLAUSIBLE = 1 << 50

_QUANTITY = re.compile(r"([+]?\d{1,18}(?:\.\d{0,12})?)\s*([A-Za-z/]*)")
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_TIMES = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "": 1.0}


def _size_factor(unit: str) -> int | None:
    low = unit.lower()
    if low in ("b", "byte", "bytes"):
        return 1
    if low and low[0] in _POWERS:
        power = _POWERS[low[0]]
        rest = low[1:]
        if rest in ("ib", "i"):
            return int(1024**power)
        if rest in ("b", ""):
            return int(1000**power)
    return None


def size_bytes(reading: Reading, *, bare: int, default: int = 0) -> int:
    """A size. ``bare`` is the unit, in bytes, of a number that carries none.

    A bare number of 1024 and more in GiB, as ``4096``, is no machine's: it is taken as MiB, with a warning.
    """
    written = reading.text().strip()
    if not written:
        return default
    match = _QUANTITY.fullmatch(written)
    factor = _size_factor(match[2]) if match and match[2] else bare
    if match is None or factor is None:
        reading.error(
            "unit-unknown", f"{reading.name}: {written[:40]!r} is not a size", "write a number and a unit, as 512 MiB"
        )
        return default
    if not match[2] and factor == GIB and float(match[1]) >= 1024:
        reading.warning(
            "unit-implausible", f"{reading.name}: {written} GiB is not plausible; taken as MiB", "the unit here is GiB"
        )
        factor = MIB
    found = int(float(match[1]) * factor)
    if not match[2] and found > _PLAUSIBLE:
        # A bare number this large can only be in bytes.
        found = int(float(match[1]))
    if found > _MOST:
        reading.error("value-range", f"{reading.name}: {written[:40]} is more than any machine has")
        return default
    return found


def seconds(reading: Reading, default: float = 0.0) -> float:
    """A time; a bare number is in seconds."""
    written = reading.text().strip()
    if not written:
        return default
    match = _QUANTITY.fullmatch(written)
    factor = _TIMES.get(match[2].lower()) if match else None
    if match is None or factor is None:
        reading.warning("unit-unknown", f"{reading.name}: {written[:40]!r} is not a time", "as 60 s")
        return default
    return float(match[1]) * factor


def bits_per_second(reading: Reading, default: int = 0) -> int:
    """A rate; a bare number is in bit/s. ``Kbps``, ``kbit/s``, ``Mibps`` and ``GBps`` (bytes) as in TOSCA §3.3.6.6."""
    written = reading.text().strip()
    if not written:
        return default
    match = _QUANTITY.fullmatch(written)
    factor = 1 if match and not match[2] else _rate_factor(match[2]) if match else None
    if match is None or factor is None:
        reading.warning("unit-unknown", f"{reading.name}: {written[:40]!r} is not a bit rate", "as 10 Mbps")
        return default
    return min(int(float(match[1]) * factor), _MOST)


def _rate_factor(unit: str) -> int | None:
    match = re.fullmatch(r"([kKmMgGtT]?)(i?)(bps|Bps|bit/s|bits/s|b/s|B/s)", unit)
    if match is None:
        return None
    scale = (1024 if match[2] else 1000) ** _POWERS.get(match[1].lower(), 0)
    return int(scale) * (8 if match[3].startswith("B") else 1)


def cpus(reading: Reading) -> int:
    """A number of virtual CPUs; Kubernetes' ``250m`` is rounded up, a machine has whole ones."""
    written = reading.text().strip()
    if match := re.fullmatch(r"(\d{1,6})m", written):
        number = max(1, -(-int(match[1]) // 1000))
        reading.info("cpu-rounded", f"{reading.name}: {written} rounded up to {number}, a machine has whole CPUs")
        return number
    if re.fullmatch(r"\d{1,4}\.\d*[1-9]\d*", written):
        number = int(float(written)) + 1
        reading.info("cpu-rounded", f"{reading.name}: {written} rounded up to {number}, a machine has whole CPUs")
        return number
    return reading.whole(1, least=1, most=4096)
