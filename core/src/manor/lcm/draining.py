"""Functions that share their positions in chains are left out of them while their machines are made anew: no traffic
falls to them meanwhile, and the controller changes chains without losing any. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from manor.api.plan import Step, Undo, Verb
from manor.api.resources import ChainElement, ChainSpec
from manor.api.specs import spec_to_json

if TYPE_CHECKING:
    from manor.model.desired import DesiredResource

__all__ = ["Drains", "nodes_of", "shared"]

_CHAIN_S = 120.0


def nodes_of(element: ChainElement) -> frozenset[str]:
    """Keys of the machines whose ports an element is."""
    return frozenset(port.key.rpartition("/")[0] for port in (element.ingress, element.egress))


def without(spec: ChainSpec, nodes: Collection[str], down: Collection[str] = ()) -> ChainSpec | None:
    """The chain with these machines at none of its positions where others are that are not ``down``; None where there
    is no such position."""
    positions = tuple(
        dataclasses.replace(position, elements=others if _works(others, down) else position.elements)
        for position in spec.positions
        for others in [tuple(one for one in position.elements if nodes_of(one).isdisjoint(nodes))]
    )
    return dataclasses.replace(spec, positions=positions) if positions != spec.positions else None


def _works(elements: Collection[ChainElement], down: Collection[str]) -> bool:
    return any(nodes_of(one).isdisjoint(down) for one in elements)


def shared(wanted: Mapping[str, DesiredResource], changed: Iterable[str], in_turns: list[list[str]]) -> Drains:
    """The chains, but those ``changed`` by the plan itself, and those that machines of several turns are in: turns are
    taken at the same time."""
    chains = {key: one for key, one in wanted.items() if isinstance(one.spec, ChainSpec) and key not in set(changed)}
    turns_at = {
        key: sum(any(_is_at(one.spec, node) for node in turn) for turn in in_turns)
        for key, one in chains.items()
        if isinstance(one.spec, ChainSpec)
    }
    return Drains({key: one for key, one in chains.items() if turns_at[key] == 1})


def _is_at(chain: ChainSpec, node: str) -> bool:
    return any(node in nodes_of(one) for position in chain.positions for one in position.elements)


class Drains:
    """Steps that take machines out of these chains and put them back."""

    def __init__(self, chains: Mapping[str, DesiredResource]) -> None:
        self._chains = chains
        self.put_back: dict[str, str] = {}
        """Id of the last step that made a chain whole again, by its key."""
        self.pairs: set[tuple[str, str]] = set()
        """Keys of chain and machine, where the one did without the other."""

    def around(self, nodes: Collection[str], down: Collection[str] = ()) -> Iterator[tuple[Step, Step]]:
        """For each chain that can do without these machines, with others than those that are ``down``: the step that
        leaves them out, and that which puts them back.

        What they wait for is the caller's to say.
        """
        name = " and ".join(node.partition("/vnf/")[2] for node in nodes)
        for key, chain in self._chains.items():
            assert isinstance(chain.spec, ChainSpec)
            less = without(chain.spec, nodes, down)
            if less is None:
                continue
            whole, lacking = spec_to_json(chain.spec), spec_to_json(less)
            out = Step(
                id=f"ensure chain {key} without {name}",
                verb=Verb.ENSURE,
                kind=less.kind,
                key=key,
                endpoint=chain.endpoint,
                summary=f"turn chain {less.name} to others at the position of {name} meanwhile",
                change="check",
                spec=lacking,
                before=whole,
                undo=Undo.RESTORE,
                deadline_s=_CHAIN_S,
            )
            back = dataclasses.replace(
                out,
                id=f"ensure chain {key} with {name}",
                summary=f"turn chain {less.name} to {name} again",
                spec=whole,
                before=lacking,
            )
            self.put_back[key] = back.id
            self.pairs.update((key, node) for node in nodes if not _is_at(less, node))
            yield out, back
