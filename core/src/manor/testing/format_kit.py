"""The descriptor format contract, as tests: it knows its own, and what it makes of it is data that core reads."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from manor.api import DescriptorFormat, Severity
from manor.testing.conformance import Conformance

__all__ = ["FormatConformance", "FormatSpecs"]

STRANGERS: Mapping[str, Any] = {
    "SOL001": {"tosca_definitions_version": "tosca_simple_yaml_1_3", "topology_template": {"node_templates": {}}},
    "SOL001 as core writes it": {"tosca_definitions_version": "tosca_simple_yaml_1_2", "imports": []},
    "SOL006 VNFD": {"vnfd": {"id": "x", "product-name": "x", "df": []}},
    "SOL006 as OSM has it": {"vnfd:vnfd-catalog": {"vnfd": [{"id": "x"}]}},
    "SOL006 NSD": {"nsd": {"nsd": [{"id": "x"}]}},
    "nothing": {},
    "a CSAR manifest": {"metadata": {"vnf_product_name": "x"}},
    "odd values": {"id": None, "name": [], "version": {"a": 1}, "memory": -1, "": ""},
    "Kubernetes": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}},
}


@dataclass(kw_only=True)
class FormatSpecs:
    """Documents in the format."""

    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By file name, as parsed; each is a descriptor that has to be accepted."""


class FormatConformance(Conformance):
    """Subclass it, and give the fixtures ``language``, the record, and ``specs``."""

    @pytest.fixture
    def language(self) -> DescriptorFormat:
        """The format's record."""
        raise NotImplementedError("give a fixture 'language' that returns the DescriptorFormat")

    @pytest.fixture
    def specs(self) -> FormatSpecs:
        """What to show it."""
        raise NotImplementedError("give a fixture 'specs' that returns FormatSpecs with documents")

    @pytest.fixture
    def documents(self, specs: FormatSpecs) -> Mapping[str, Mapping[str, Any]]:
        """The specs' documents."""
        assert specs.documents, "specs.documents is empty"
        return specs.documents

    def test_its_own_is_recognised(
        self, language: DescriptorFormat, documents: Mapping[str, Mapping[str, Any]]
    ) -> None:
        for name, document in documents.items():
            assert language.recognise(document, Path(name)) is True, name

    @pytest.mark.parametrize("stranger", STRANGERS)
    def test_strangers_are_not_recognised(self, language: DescriptorFormat, stranger: str) -> None:
        assert language.recognise(copy.deepcopy(STRANGERS[stranger]), Path("descriptor.yaml")) is False

    def test_translation_is_pure(self, language: DescriptorFormat, documents: Mapping[str, Mapping[str, Any]]) -> None:
        for name, document in documents.items():
            before = copy.deepcopy(document)
            language.recognise(document, Path(name))
            first = language.translate(document, Path(name))
            assert document == before, "the document was changed"
            assert language.translate(document, Path(name)) == first, "equal input gave another template"

    def test_translation_is_plain_data(
        self, language: DescriptorFormat, documents: Mapping[str, Mapping[str, Any]]
    ) -> None:
        for name, document in documents.items():
            template = language.translate(document, Path(name))
            assert json.loads(json.dumps(template)) == template, "JSON values only: no dates, no tuples, no objects"

    def test_core_accepts_it(
        self, language: DescriptorFormat, documents: Mapping[str, Mapping[str, Any]], tmp_path: Path
    ) -> None:
        for name, document in documents.items():
            (item,) = _read(language, document, tmp_path / Path(name).name)
            wrong = [f"{f.code}: {f.message}" for f in item.findings if f.severity is Severity.ERROR]
            assert item.accepted, wrong or f"{name}: core takes the translation for no descriptor"

    def test_broken_documents_are_findings(
        self, language: DescriptorFormat, documents: Mapping[str, Mapping[str, Any]], tmp_path: Path
    ) -> None:
        """Hostile input: whatever a document lacks or holds, core gets a template or an exception to report."""
        for name, document in documents.items():
            every = list(_broken(document))
            for broken in every[:: len(every) // _MOST + 1]:
                _read(language, broken, tmp_path / Path(name).name)


def _read(language: DescriptorFormat, document: Mapping[str, Any], path: Path) -> list[Any]:
    from manor.catalog.validate import validate

    path.write_text(json.dumps(document))
    return list(validate([path], formats=[language]))


def _broken(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The document with each value in turn away, or of another kind."""
    for path in _paths(document):
        for value in (_AWAY, None, [], {}, "", "../../etc/passwd", -1, 1e308, "\0", {"a": [1, {"b": None}]}):
            broken = copy.deepcopy(dict(document))
            spot: Any = broken
            for step in path[:-1]:
                spot = spot[step]
            if value is _AWAY:
                del spot[path[-1]]
            else:
                spot[path[-1]] = value
            yield broken


_AWAY = object()
_MOST = 300
"""Of a document, so many are tried."""


def _paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        yield (*at, step)
        yield from _paths(inner, (*at, step))
