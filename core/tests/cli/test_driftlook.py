"""What ``ns drift`` says of single rules."""

from __future__ import annotations

from typing import Any

from manor.api import Observed, Phase, ResourceKind, ResourceRef
from manor.cli.driftlook import drift_lines, read_flows

NOW = 1_000_000.0


def seen(kind: ResourceKind, key: str, **detail: Any) -> Observed:
    return Observed(
        ref=ResourceRef(kind=kind, key=key), owner="manor/t", native_id="0x1", phase=Phase.DEGRADED, spec_hash="",
        detail=detail,
    )  # fmt: skip


def test_rules_are_named_by_what_is_wrong_and_repairs_of_the_last_day_are_told_newest_first() -> None:
    rules = [
        {"host": "kvm1", "state": state, "note": f"path: {state} one"} for state in ("active", "missing", "altered")
    ]
    extra = [{"host": "kvm2", "table": 50, "priority": 9, "match": ""}]
    repairs = [
        {"time_s": NOW - ago, "host": "kvm1", "rules": 4, "what": ["missing: a", "b", "c", "d"]}
        for ago in (90_000, 3600, 5)
    ]
    flows = read_flows(
        [
            seen(ResourceKind.CHAIN, "s/chain/path", rules=rules),
            seen(ResourceKind.SEGMENT, "s/vl/lan", extra=extra, repairs=repairs),
            seen(ResourceKind.SEGMENT, "s/vl/wan"),
        ],
        ["net: the agent does not answer"],
        now_s=NOW,
    )
    lines = drift_lines(flows, NOW)
    assert lines[1:4] == [
        "  missing  chain path on kvm1: path: missing one",
        "  altered  chain path on kvm1: path: altered one",
        "  foreign  link lan on kvm2: table 50, priority 9, any frame",
    ]
    assert lines[4].startswith(
        "put right by the controller 5 s ago: link lan on kvm1, 4 of its rules (missing: a; b; c; …)"
    )
    assert "60 min ago" in lines[5]
    assert lines[6:] == ["rules not seen: net: the agent does not answer"]


def test_nothing_amiss_says_nothing() -> None:
    assert drift_lines(read_flows([seen(ResourceKind.CHAIN, "s/chain/path", rules=[])], now_s=NOW), NOW) == []
