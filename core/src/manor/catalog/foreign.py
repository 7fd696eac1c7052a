"""Descriptor languages of plugins: recognised, translated to a SOL001 template, then read like any other."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from manor.api.records import DescriptorFormat
from manor.catalog.files import PackageFiles
from manor.catalog.nodes import Node
from manor.catalog.reading import plain
from manor.catalog.report import Report

__all__ = ["Overlay", "translate"]


class Overlay:
    """Package files with one of them in another wording."""

    def __init__(self, files: PackageFiles, name: str, data: bytes) -> None:
        self._files = files
        self._name = name
        self._data = data
        self.sizes: Mapping[str, int] = {**files.sizes, name: len(data)}

    def open(self, name: str) -> BinaryIO:
        """As :meth:`PackageFiles.open`."""
        return cast(BinaryIO, io.BytesIO(self._data)) if name == self._name else self._files.open(name)

    def close(self) -> None:
        """Close what is below."""
        self._files.close()


def translate(
    root: Node, name: str, formats: Sequence[DescriptorFormat], report: Report
) -> tuple[DescriptorFormat, bytes] | None:
    """The first format that recognises the document, and the document in SOL001; None where none does."""
    document = plain(root)
    if not isinstance(document, dict):
        return None
    for language in formats:
        try:
            if language.recognise(document, Path(name)):
                return language, json.dumps(language.translate(document, Path(name)), default=str).encode()
        except Exception as error:
            # A plugin's code may raise anything; that is a finding about it, not a traceback.
            report.error("format-failed", f"format {language.name} cannot read this: {error!r:.200}", file=name)
    return None
