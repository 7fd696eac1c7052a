"""What comparing what should be with what is costs ``manor serve``: 200 services, 10,000 machines with a disk each.

The endpoints' own answers are not in it, nor the database: they are the same for any look. CPU of one thread.
"""

import time

from figure import report

SERVICES, MACHINES, LOOKS = 200, 50, 5


def main() -> None:
    """CPU seconds for all of them, nothing of which differs, and the part of one core at the default period."""
    from manor.api import Disk, NodeSpec, Observed, Phase, ResourceRef, VolumeSpec, spec_hash
    from manor.assure.comparing import by_service, compared
    from manor.assure.looking import Seen
    from manor.assure.settings import AssuranceSettings
    from manor.assure.sight import Service
    from manor.model.desired import DesiredResource, DesiredState

    services, there = [], {}
    for number in range(SERVICES):
        sid = f"{number:08x}"
        specs: list[NodeSpec | VolumeSpec] = []
        for machine in range(MACHINES):
            key = f"{sid}/vnf/web/main-{machine}"
            disk = VolumeSpec(key=f"{key}/disk/data", owner="o", host="h", name="data", size_bytes=1 << 30)
            node = NodeSpec(
                key=key, owner="o", host="h", name="web", vcpus=1, memory_bytes=1 << 30, disks=(Disk(volume=disk.key),)
            )
            specs += [disk, node]
        state = DesiredState(
            service_id=sid,
            service_name=f"s{number}",
            resources=tuple(DesiredResource(spec=spec, endpoint="vim:lab") for spec in specs),
        )
        services.append(Service(id=sid, name=f"s{number}", nsd_id="n", desired=state, last_operation="o"))
        for spec in specs:
            there[spec.key] = Observed(
                ref=ResourceRef(kind=spec.kind, key=spec.key, host="h"),
                owner="o",
                native_id=spec.key,
                phase=Phase.ACTIVE,
                spec_hash=spec_hash(spec),
            )
    seen = Seen(observed={"vim:lab": there})
    known = dict.fromkeys((one.id for one in services), None)
    began = time.process_time()
    for look in range(LOOKS):
        own = by_service(seen)
        known = {one.id: compared(one, seen, own, known[one.id], 60.0 * look, 15.0) for one in services}
    took_s = (time.process_time() - began) / LOOKS
    assert not any(one.since_s or not one.is_whole for one in known.values() if one)
    report(
        "drift-10k",
        took_s,
        "s",
        None,
        resources=len(there),
        core_percent=round(100 * took_s / AssuranceSettings().drift_s, 2),
    )


if __name__ == "__main__":
    main()
