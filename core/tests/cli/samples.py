"""A service to draw: a client, a firewall, a monitor and a web server, the two in the middle chained."""

from __future__ import annotations

from manor.api import Subnet
from manor.model.topology import (
    ServiceTopology,
    TopologyChain,
    TopologyElement,
    TopologyHop,
    TopologyLink,
    TopologyPort,
    TopologyVnf,
    TopologyVnfc,
)

SID = "5ec0de01"


def port(vnf: str, name: str, link: str, address: str = "", n: int = 0) -> TopologyPort:
    return TopologyPort(
        key=f"{SID}/vnf/{vnf}/main-0/{name}",
        name=name,
        link=f"{SID}/vl/{link}",
        mac=f"02:00:5e:00:00:{n:02x}",
        addresses=(address,) if address else (),
        device=f"m{SID[:4]}{n:02d}",
    )


def vnf(name: str, host: str, *ports: TopologyPort, state: str = "active") -> TopologyVnf:
    return TopologyVnf(
        id=f"{SID}-{name}",
        name=name,
        vnfd_id=f"{name}-1.0",
        vnfm="generic",
        state="INSTANTIATED",
        vnfcs=(
            TopologyVnfc(
                key=f"{SID}/vnf/{name}/main-0",
                name="main-0",
                vdu_id="main",
                vim="lab",
                host=host,
                state=state,
                ports=ports,
            ),
        ),
    )


def at(name: str, cp: str) -> str:
    return f"{SID}/vnf/{name}/main-0/{cp}"


def secure_web() -> ServiceTopology:
    return ServiceTopology(
        id=SID,
        name="secure-web",
        nsd_id="secure-web-1.0",
        state="INSTANTIATED",
        vnfs=(
            vnf(
                "client",
                "kvm1",
                port("client", "eth0", "lan", "10.10.0.2/24", 1),
                port("client", "mgmt", "mgmt", "10.20.0.2/24", 2),
            ),
            vnf(
                "web",
                "kvm2",
                port("web", "eth0", "lan", "10.10.0.3/24", 3),
                port("web", "mgmt", "mgmt", "10.20.0.3/24", 4),
            ),
            vnf("firewall", "kvm1", port("firewall", "in", "lan", n=5), port("firewall", "out", "lan", n=6)),
            vnf(
                "monitor",
                "kvm2",
                port("monitor", "in", "lan", n=7),
                port("monitor", "out", "lan", n=8),
                state="degraded",
            ),
        ),
        links=(
            TopologyLink(
                key=f"{SID}/vl/lan",
                name="lan",
                sdn="ryu",
                subnets=(Subnet(cidr="10.10.0.0/24"),),
                mtu=1500,
                state="active",
            ),
            TopologyLink(
                key=f"{SID}/vl/mgmt",
                name="mgmt",
                sdn="ryu",
                subnets=(Subnet(cidr="10.20.0.0/24"),),
                mtu=1500,
                state="active",
            ),
        ),
        chains=(
            TopologyChain(
                key=f"{SID}/chain/inspect",
                name="inspect",
                link=f"{SID}/vl/lan",
                match=("tcp to 10.10.0.3/32 port 80",),
                sources=(at("client", "eth0"),),
                hops=(
                    TopologyHop(
                        name="filter",
                        elements=(TopologyElement(ingress=at("firewall", "in"), egress=at("firewall", "out")),),
                    ),
                    TopologyHop(
                        name="watch",
                        elements=(TopologyElement(ingress=at("monitor", "in"), egress=at("monitor", "out")),),
                    ),
                ),
                destinations=(at("web", "eth0"),),
                state="active",
            ),
        ),
    )
