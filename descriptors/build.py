#!/usr/bin/env python3
"""Build a service's packages: ``descriptors/build.py secure-web --out build/secure-web``.

Makes the VNF image from Debian packages (a few seconds once, then kept) and one CSAR for each package folder of the
service, ready for ``manor package onboard``. Prints the archives, one a line.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from csar import pack
from images.alone import alone_in
from images.debs import BuildError
from images.vnf import build_image

HERE = Path(__file__).resolve().parent


def services() -> list[str]:
    """Names of the services: folders with packages in them."""
    return sorted({meta.parents[2].name for meta in HERE.glob("*/*/TOSCA-Metadata/TOSCA.meta")})


def build(service: str, out: Path, images: Path) -> list[Path]:
    """The archives of ``service``, VNFs first and the NSD last. Raises BuildError."""
    image = build_image(images)
    folders = [meta.parents[1] for meta in HERE.glob(f"{service}/*/TOSCA-Metadata/TOSCA.meta")]
    archives = []
    with alone_in(out):
        for folder in sorted(folders, key=lambda folder: (folder.name == "nsd", folder.name)):
            archive = out / f"{folder.name}.csar"
            pack(folder, image, archive)
            archives.append(archive)
    return archives


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the packages of a service.")
    parser.add_argument("service", choices=services())
    parser.add_argument("--out", type=Path, help="folder for the archives (default: build/SERVICE)")
    parser.add_argument(
        "--images", type=Path, default=HERE.parent / "build" / "images", help="folder where images are kept"
    )
    arguments = parser.parse_args()
    out = arguments.out or HERE.parent / "build" / arguments.service
    try:
        for archive in build(arguments.service, out, arguments.images):
            print(archive)
    except BuildError as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
