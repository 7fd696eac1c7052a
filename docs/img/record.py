"""Draw docs/img/demo.svg from the output of a real ``make demo``: parts of it, word for word, nothing added.

    make demo 2>&1 | tee demo.log; python docs/img/record.py demo.log

An ellipsis stands where lines are left out.
"""

from __future__ import annotations

import io
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).parent
COLUMNS = 96
# The picture fetches no font: whoever looks at it may have no network, or wish to tell nobody.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
BLUE_TO_WHITE = ((96, 165, 250), (192, 132, 252), (103, 232, 249), (214, 222, 230))
THEME = TerminalTheme(
    (22, 27, 34),
    (214, 222, 230),
    [(22, 27, 34), (248, 113, 113), (74, 222, 128), (250, 204, 21), *BLUE_TO_WHITE],
)
PARTS = (
    (r"\$ manor ns plan", r"\d+ to create"),
    (r"\$ manor ns instantiate", r"\$ manor ns instantiate"),
    (r"[\d:]+  node client/client-0 \.\.\.", r"[\d:]+  node web/web-0 done"),
    (r"[\d:]+  verify vnf firewall done", r".*four machines"),
    (r"\$ manor ns topology", r"  client:cp -->"),
    (r"── Proof by traffic", r"── Proof by traffic"),
    (r"\$ manor vnf exec demo/client -- timeout 10", r".*an allowed request"),
    (r".*went through the firewall", r".*the very same packets"),
    (r"\$ manor vnf exec demo/client -- timeout 4", r".*does not arrive"),
    (r".*on the way there the firewall", r".*on the way there the firewall"),
    (r".*on the way back the monitor", r".*on the way back the monitor"),
    (r"\$ manor ns terminate", r"\$ manor ns terminate"),
    (r"TERMINATE demo COMPLETED", r"TERMINATE demo COMPLETED"),
    (r"── Proof that nothing is left", r"Every claim was true"),
)
"""First and last line of each part that is shown, in the order of the log."""


def excerpt(lines: list[str]) -> list[Text]:
    """The parts with their colours. Raises StopIteration where the log lacks one."""
    texts = [Text.from_ansi(line) for line in lines]
    shown: list[Text] = []
    at = 0
    for first, last in PARTS:
        begin = next(i for i in range(at, len(texts)) if re.match(first, texts[i].plain))
        end = next(i for i in range(begin, len(texts)) if re.match(last, texts[i].plain))
        if shown and begin > at:
            shown.append(Text("  …", style="dim"))
        for text in texts[begin : end + 1]:
            if "  note: " not in text.plain and (text.plain or shown[-1].plain):
                shown.append(text)
        at = end + 1
    return shown


def indented(svg: str) -> str:
    """The picture with leading spaces as distance: some viewers trim a text's first spaces."""
    ET.register_namespace("", "http://www.w3.org/2000/svg")
    root = ET.fromstring(svg)  # noqa: S314 - rich made it a moment ago
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        written = text.text or ""
        spaces = len(written) - len(written.lstrip("\u00a0"))
        if written and spaces and "textLength" in text.attrib:
            length = float(text.attrib["textLength"])
            text.attrib["x"] = f"{float(text.attrib['x']) + length * spaces / len(written):.1f}"
            text.attrib["textLength"] = f"{length * (len(written) - spaces) / len(written):.1f}"
            text.text = written[spaces:]
    return ET.tostring(root, encoding="unicode")


def main() -> None:
    """Write the picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text.assemble(("$ make demo", "bold")))
    console.print(Text("  …", style="dim"))
    for text in excerpt(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()):
        console.print(text, soft_wrap=True)
    svg = console.export_svg(title="make demo", theme=THEME, code_format=FORMAT, unique_id="demo")
    (HERE / "demo.svg").write_text(indented(svg) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
