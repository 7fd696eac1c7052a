"""Images that several send at once, on a real libvirtd, which lets a file be deleted and made anew while it is sent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from manor.api import CallContext, DiskFormat, ImageSpec, Phase, spec_hash
from manor.testing.lab import LabHost
from manor.testing.vim_specs import ref_of
from manor_vim_libvirt.driver import LibvirtVim
from manor_vim_libvirt.names import Sort, StoredName
from manor_vim_libvirt.pool import InUse

pytestmark = [pytest.mark.real, pytest.mark.slow]

OWNER = "manor/test"
PATIENCE_S = 120.0


@pytest.fixture
def vim(lab: LabHost, connect: Callable[..., LibvirtVim]) -> LibvirtVim:
    return connect(uri=lab.uri, name="lab", ovsdb=lab.ovsdb, pool_dir=str(lab.pool_dir), accel="tcg")


@pytest.fixture
def image(vim: LibvirtVim, tmp_path: Path) -> Iterator[ImageSpec]:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1 << 20) * 16)
    data = file.read_bytes()
    spec = ImageSpec(
        key="image/large@lab", owner=OWNER, host="lab", name="large", sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data), format=DiskFormat.RAW, source=str(file),
    )  # fmt: skip
    yield spec
    vim.remove(ref_of(spec), ctx())


def ctx() -> CallContext:
    return CallContext.within(PATIENCE_S)


class OtherNode:
    """Sends an image as a node on another machine does, which shares no lock: a part whenever the test lets it."""

    def __init__(self, lab: LabHost, vim: LibvirtVim, image: ImageSpec) -> None:
        self.data = Path(image.source).read_bytes()
        self.name = StoredName.of(Sort.IMAGE, OWNER, image.key, spec_hash(image))
        self.path = lab.pool_dir / str(self.name)
        self.pool = next(iter(vim._hosts.values())).pool(OWNER)
        self.turns, self.sent = SimpleQueue[None](), SimpleQueue[int]()

    def send(self, parts: int) -> int:
        """The inode of the file that is there in the end."""
        size = len(self.data) // parts

        def chunks() -> Iterator[bytes]:
            for number in range(parts):
                yield self.data[number * size : (number + 1) * size]
                self.sent.put(number)
                self.turns.get(timeout=PATIENCE_S)

        self.pool.upload(self.name, chunks(), len(self.data), ctx=ctx())
        return self.path.stat().st_ino


def test_what_another_node_sends_slowly_is_waited_for(
    lab: LabHost, vim: LibvirtVim, image: ImageSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manor_vim_libvirt.images.QUIET_S", 6.0)  # longer than a busy machine lets the other one wait
    other = OtherNode(lab, vim, image)
    with ThreadPoolExecutor(2) as threads:
        sending = threads.submit(other.send, 16)
        other.sent.get(timeout=PATIENCE_S)
        first = other.path.stat().st_ino
        mine = threads.submit(vim.ensure, image, ctx())
        for _ in range(15):
            with pytest.raises(TimeoutError):
                mine.result(timeout=0.5)
            other.turns.put(None)
            other.sent.get(timeout=PATIENCE_S)
        other.turns.put(None)
        assert sending.result(timeout=PATIENCE_S) == first, "nobody has made another file of it meanwhile"
        assert mine.result(timeout=PATIENCE_S).phase is Phase.ACTIVE
    assert hashlib.sha256(other.path.read_bytes()).hexdigest() == image.sha256


def test_who_was_taken_for_dead_does_not_call_half_of_anothers_whole(
    lab: LabHost, vim: LibvirtVim, image: ImageSpec
) -> None:
    frozen, other = OtherNode(lab, vim, image), OtherNode(lab, vim, image)
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(frozen.send, 2)
        frozen.sent.get(timeout=PATIENCE_S)
        another = threads.submit(other.send, 2)
        other.sent.get(timeout=PATIENCE_S)
        for _ in range(2):
            frozen.turns.put(None)
        with pytest.raises(InUse):
            one.result(timeout=PATIENCE_S)
        for _ in range(2):
            other.turns.put(None)
        another.result(timeout=PATIENCE_S)
    assert hashlib.sha256(other.path.read_bytes()).hexdigest() == image.sha256
    assert vim.ensure(image, ctx()).phase is Phase.ACTIVE
