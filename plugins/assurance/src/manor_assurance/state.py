"""The combined detector's state, to arrays and back; every size is checked before anything is taken over."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from manor.errors import PluginError
from manor_assurance.codec import pack, unpack
from manor_assurance.model import BINS, CHANNELS, Model, lags_for
from manor_assurance.ring import Ring

if TYPE_CHECKING:
    from manor_assurance.detector import CombinedDetector

__all__ = ["dump_state", "load_state", "state_bytes"]

KIND = "combined"
_HINT = "start the detector without it; it learns anew"
_DETECTOR = ("rows_seen", "first_s", "last_s", "period_s", "step_s", "next_fit_s", "abnormal_s", "rows_since_gap")
_MEMORY = ("day", "next_long_s", "next_residual_s", "next_peak_s")
_DECISION = (
    "block_s",
    "block_max",
    "block_lasting",
    "young",
    "threshold",
    "ceiling",
    "ceiling_lasting",
    "raised",
    "since_s",
    "calm_s",
)
_MEMORY_RINGS = ("recent", "usable", "clock", "long", "long_clock", "residuals", "peaks", "days")
_DECISION_RINGS = ("window", "starts", "maxima", "raises")
_MEMORY_ARRAYS = ("peak", "sums", "counts")
_DETECTOR_ARRAYS = ("notable", "level", "variance", "excess")
_SHAPING = ("smooth", "threshold_days", "channels")
"""Settings that the stored arrays depend on."""


def _rings(detector: CombinedDetector) -> dict[str, Ring]:
    return {
        **{f"memory.{name}": getattr(detector.memory, name) for name in _MEMORY_RINGS},
        **{f"decision.{name}": getattr(detector.decision, name) for name in _DECISION_RINGS},
    }


def _numbers(detector: CombinedDetector) -> dict[str, tuple[Any, str]]:
    return {
        **{name: (detector, name) for name in _DETECTOR},
        **{f"memory.{name}": (detector.memory, name) for name in _MEMORY},
        **{f"decision.{name}": (detector.decision, name) for name in _DECISION},
    }


def _arrays(detector: CombinedDetector) -> dict[str, tuple[Any, str]]:
    return {
        **{f"memory.{name}": (detector.memory, name) for name in _MEMORY_ARRAYS},
        **{name: (detector, name) for name in _DETECTOR_ARRAYS},
    }


def dump_state(detector: CombinedDetector) -> bytes:
    """Everything learned, as bytes."""
    rings = _rings(detector)
    arrays = {name: ring.rows[: len(ring)] for name, ring in rings.items()}
    arrays.update({name: getattr(owner, field) for name, (owner, field) in _arrays(detector).items()})
    if detector.model is not None:
        arrays.update({f"model.{f.name}": getattr(detector.model, f.name) for f in fields(Model)})
    settings = detector.config.model_dump(mode="json")
    meta = {
        "names": list(detector.names),
        "shaping": {name: settings[name] for name in _SHAPING},
        "numbers": {name: getattr(owner, field) for name, (owner, field) in _numbers(detector).items()},
        "totals": {name: ring.total for name, ring in rings.items()},
    }
    return pack(KIND, meta, arrays)


def state_bytes(detector: CombinedDetector) -> int:
    """Room that everything learned takes in memory."""
    total = sum(ring.rows.nbytes for ring in _rings(detector).values())
    total += sum(getattr(owner, field).nbytes for owner, field in _arrays(detector).values())
    if detector.model is not None:
        total += sum(getattr(detector.model, f.name).nbytes for f in fields(Model))
    return int(total)


def load_state(detector: CombinedDetector, data: bytes) -> None:
    """Fill a detector that has learned nothing yet. Raises PluginError where anything does not fit."""
    meta, arrays = unpack(KIND, data)
    settings = detector.config.model_dump(mode="json")
    for name in _SHAPING:
        if meta.get("shaping", {}).get(name) != settings[name]:
            raise PluginError(f"the detector's state was learned with another {name}", hint=_HINT)
    try:
        detector.restart(tuple(str(name) for name in meta["names"]))
        for name, ring in _rings(detector).items():
            ring.total = int(meta["totals"][name])
            ring.rows[: len(ring)] = _fitting(arrays, name, (len(ring), *ring.rows.shape[1:]), ring.rows.dtype)
        for name, (owner, field) in _numbers(detector).items():
            setattr(owner, field, type(getattr(owner, field))(meta["numbers"][name]))
        for name, (owner, field) in _arrays(detector).items():
            now = getattr(owner, field)
            setattr(owner, field, _fitting(arrays, name, now.shape, now.dtype))
        if not (np.isfinite(detector.notable) & (detector.notable >= 0)).all():
            raise ValueError("a least change that means anything is negative, or not finite")
        if any(name.startswith("model.") for name in arrays):
            detector.adopt(_model(arrays, len(detector.names)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PluginError(f"the detector's state does not hold together: {error}", hint=_HINT) from error


def _fitting(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    array = arrays[name]
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} is {array.dtype}{array.shape}, not {dtype}{shape}")
    return array


def _model(arrays: dict[str, np.ndarray], width: int) -> Model:
    channels, inputs = len(CHANNELS), lags_for(width) * width
    few = arrays["model.factors"].shape[-1]
    bins = BINS if len(arrays["model.profile"]) else 0
    shapes: dict[str, tuple[int, ...]] = {
        "factors": (width, few),
        "weights": (inputs, width),
        "profile": (bins, width),
        "usual": (channels, width),
        "rare": (channels, width),
    }
    taken = {
        f.name: _fitting(arrays, f"model.{f.name}", shapes.get(f.name, (width,)), bool if f.name == "known" else float)
        for f in fields(Model)
    }
    if few > width or not all(np.isfinite(array).all() for array in taken.values()):
        raise ValueError("the model holds values that are not finite")
    if any((taken[name] <= 0).any() for name in taken if name.endswith("spread") or name in ("usual", "rare")):
        raise ValueError("the model holds a spread that is not positive")
    return Model(**taken)
