"""Learned state survives a restart; anything else is refused and changes nothing."""

from __future__ import annotations

import hashlib
import io
import json
import pickle

import numpy as np
import pytest

from manor.errors import PluginError
from manor_assurance.codec import MAGIC, VERSION, pack, unpack
from manor_assurance.config import CombinedConfig, LimitsConfig
from manor_assurance.detector import CombinedDetector
from manor_assurance.limits import LimitsDetector

from .conftest import DAY, batch_of


@pytest.mark.slow
def test_a_loaded_detector_goes_on_as_if_nothing_had_happened(learned, next_rows):
    rows = next_rows(2 * DAY)
    rows[300:320, 0] += 50
    straight = CombinedDetector(CombinedConfig())
    straight.load(learned)
    expected = straight.score(batch_of(rows, start=10 * DAY))
    first = CombinedDetector(CombinedConfig())
    first.load(learned)
    got = list(first.score(batch_of(rows[:310], start=10 * DAY)))
    second = CombinedDetector(CombinedConfig())
    second.load(first.dump())
    got += second.score(batch_of(rows[310:], start=10 * DAY + 310))
    assert [(s.verdict, s.value, s.threshold, s.blame, s.since_s) for s in got] == [
        (s.verdict, s.value, s.threshold, s.blame, s.since_s) for s in expected
    ]


def test_an_empty_detector_can_be_dumped_and_loaded():
    detector = CombinedDetector(CombinedConfig())
    detector.load(CombinedDetector(CombinedConfig()).dump())
    assert detector.names == ()


def _sealed(payload: bytes, version: bytes = b"%d" % VERSION) -> bytes:
    return MAGIC + version + b"\n" + hashlib.sha256(payload).digest() + payload


def _archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"not a state",
        pickle.dumps({"a": 1}),
        _sealed(b"garbage"),
        _sealed(_archive(meta=np.frombuffer(b'{"kind": "other"}', np.uint8))),
        _sealed(_archive(meta=np.frombuffer(b'{"kind": "combined"}', np.uint8))),
        _sealed(_archive(meta=np.frombuffer(b"[1", np.uint8))),
        _sealed(_archive(meta=np.array([{"kind": "combined"}], dtype=object))),
        _sealed(_archive(meta=np.frombuffer(b'{"kind": "combined"}', np.uint8)), version=b"1"),
    ],
)
def test_a_foreign_state_is_refused(foreign):
    with pytest.raises(PluginError) as caught:
        CombinedDetector(CombinedConfig()).load(foreign)
    assert caught.value.hint


def test_a_state_of_the_version_before_is_refused_by_its_number(learned):
    before = learned.replace(MAGIC + b"%d" % VERSION, MAGIC + b"%d" % (VERSION - 1), 1)
    with pytest.raises(PluginError, match=f"has version {VERSION - 1}, this plugin reads {VERSION}"):
        CombinedDetector(CombinedConfig()).load(before)


@pytest.mark.parametrize("cut", [10, 40, 1000, -1])
def test_a_truncated_state_is_refused_and_nothing_changes(trial, learned, cut):
    before = trial.detector.dump()
    with pytest.raises(PluginError):
        trial.detector.load(learned[:cut])
    assert trial.detector.dump() == before


def test_a_flipped_bit_is_noticed(learned):
    broken = bytearray(learned)
    broken[len(broken) // 2] ^= 1
    with pytest.raises(PluginError, match="hash"):
        CombinedDetector(CombinedConfig()).load(bytes(broken))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda meta, arrays: arrays.update({"level": arrays["level"][:-1]}),
        lambda meta, arrays: arrays.update({"model.spread": arrays["model.spread"] * 0}),
        lambda meta, arrays: arrays.update({"model.centre": arrays["model.centre"] * np.nan}),
        lambda meta, arrays: arrays.update({"notable": arrays["notable"] * np.nan}),
        lambda meta, arrays: arrays.update({"notable": arrays["notable"] - 1}),
        lambda meta, arrays: arrays.update({"memory.long": arrays["memory.long"].astype(np.float64)}),
        lambda meta, arrays: arrays.pop("decision.maxima"),
        lambda meta, arrays: meta["totals"].update({"memory.recent": 10**9}),
        lambda meta, arrays: meta["totals"].update({"memory.recent": -5}),
        lambda meta, arrays: meta.pop("names"),
        lambda meta, arrays: meta["numbers"].update({"rows_seen": "many"}),
        lambda meta, arrays: meta["shaping"].update({"smooth": 4}),
    ],
)
def test_a_well_hashed_state_that_does_not_fit_is_refused(learned, spoil):
    meta, arrays = unpack("combined", learned)
    spoil(meta, arrays)
    meta.pop("kind")
    with pytest.raises(PluginError):
        CombinedDetector(CombinedConfig()).load(pack("combined", meta, arrays))


def test_limits_keep_what_stands():
    config = LimitsConfig(above={"disk": 90})
    detector = LimitsDetector(config)
    names = ("disk",)
    detector.score(batch_of(np.array([[95.0]]), start=0, names=names))
    other = LimitsDetector(config)
    other.load(detector.dump())
    assert other.score(batch_of(np.array([[88.0]]), start=1, names=names))[0].since_s == 0.0
    for foreign in (b"", b"[]", b"\xff", json.dumps({"kind": "combined", "version": 1}).encode()):
        with pytest.raises(PluginError):
            other.load(foreign)
