"""``manor plugin``: what is installed, what each provides, what keeps one out; and the tools of who writes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manor.cli.exits import ExitCode
from manor.cli.names import resolve
from manor.cli.session import new_app, session
from manor.errors import UsageError

if TYPE_CHECKING:
    from manor.plugin import PluginInfo, Plugins

__all__ = ["app"]

_DEEPEST = 3
"""How far into settings within settings to look; a model may hold itself."""

app = new_app("Plugins: what is installed, what it provides, what is wrong with it; write, check and try one.")


def _provides(info: PluginInfo) -> str:
    parts = []
    for hook, names in info.provides.items():
        what = hook.removeprefix("manor_").replace("_", "-")
        parts.append(f"{what}: {', '.join(names)}" if names else what)
    return "; ".join(parts)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the plugins with what they provide; what keeps one from running is said below the list."""
    s = session(ctx)
    found = s.runtime.plugins.listing()

    def show() -> None:
        s.out.table(
            ("name", "distribution", "version", "api", "state", "provides"),
            [(i.name, i.distribution, i.version, i.api, i.state, _provides(i)) for i in found],
            empty="no plugin is installed",
        )
        for info in found:
            if info.error:
                s.out.line(f"{info.name}: {info.error}")
                if info.hint:
                    s.out.line(f"    hint: {info.hint}")
            for notice in info.notices:
                s.out.line(f"{info.name}: {notice}")

    s.out.result(found, show)


@app.command()
def show(
    ctx: typer.Context, name: Annotated[str, typer.Argument(help="Name of a plugin, or of something it provides.")]
) -> None:
    """Show one plugin with the settings that its drivers take."""
    s = session(ctx)
    plugins = s.runtime.plugins
    found = {info.name: info for info in plugins.listing()}
    owners = {record: info.name for info in found.values() for names in info.provides.values() for record in names}
    wanted = owners.get(name, name) if name not in found else name
    info = found[resolve(wanted, [(each, "") for each in found], what="plugin", listing="manor plugin list")]
    records = _records(plugins, info)

    def human() -> None:
        s.out.fields(
            [
                ("name", info.name),
                ("distribution", f"{info.distribution} {info.version}".strip()),
                ("api", info.api),
                ("state", info.state),
                ("process", "its own (MANOR_PLUGINS_ISOLATE)" if info.isolated else ""),
                ("error", info.error),
                ("hint", info.hint),
            ]
        )
        for record in records:
            s.out.line()
            s.out.line(f"{record['provides']} {record['name']}: {record['summary']}", style="bold")
            if record["settings"]:
                s.out.table(
                    ("setting", "type", "default", "meaning"),
                    [(x["name"], x["type"], x["default"], x["description"]) for x in record["settings"]],
                )

    s.out.result({"plugin": info, "records": records}, human)


@app.command()
def new(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(help="vim, sdn, vnfm, detector, heal-policy, telemetry, placement or format.")],
    name: Annotated[str, typer.Argument(help="What operators will call it.")],
    directory: Annotated[Path, typer.Option("--dir", help="Where to write the repository.")] = Path("."),
) -> None:
    """Write the repository of a new plugin: it installs, passes its tests and can be published as it is."""
    from manor.authoring import new_plugin

    s = session(ctx)
    root, *files = new_plugin(kind, name, directory)

    def human() -> None:
        s.out.line(f"{root}: {len(files)} files")
        s.out.line(f"next: cd {root} && pip install -e '.[test]' && pytest && manor plugin check .")

    s.out.result({"directory": str(root), "files": [str(path) for path in files]}, human)


@app.command()
def check(
    ctx: typer.Context, plugin: Annotated[str, typer.Argument(help="Folder of a distribution, or an installed plugin.")]
) -> None:
    """Check a plugin without using it: does it load, is its import quick and harmless, are its records sound.

    Ends with 1 where something is wrong.
    """
    from manor.authoring.check import check_plugin, find_subject

    s = session(ctx)
    answers = list(check_plugin(find_subject(plugin)))
    rows = [("ok" if answer.ok else "WRONG", answer.name, answer.detail) for answer in answers]
    s.out.result(answers, lambda: s.out.table(("", "check", "found"), rows))
    if not all(answer.ok for answer in answers):
        raise typer.Exit(ExitCode.GENERAL)


@app.command()
def conform(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(help="A kind that 'manor plugin new' knows, as vim.")],
    name: Annotated[str, typer.Argument(help="Name of the driver: manor plugin list.")],
    option: Annotated[list[str] | None, typer.Option("-o", "--option", metavar="KEY=VALUE", help="A setting.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings.")] = None,
    spec: Annotated[
        list[str] | None, typer.Option("--spec", metavar="KEY=VALUE", help="What to ask it for, as kernel=PATH.")
    ] = None,
    only: Annotated[str, typer.Option("-k", metavar="EXPRESSION", help="Only tests whose names match.")] = "",
    report: Annotated[
        Path | None, typer.Option(help="Save the report there, as JSON; default: reports/ in Manor's home.")
    ] = None,
) -> None:
    """Run the conformance kit against a live endpoint, under an owner tag of its own. Needs manor[testing].

    It makes and removes real things there. Ends with 1 where a test fails.
    """
    import json

    from manor.authoring.conform import conform as run
    from manor.cli.settings import settings

    s = session(ctx)
    told = run(
        kind,
        name,
        config=settings(config, option or ()),
        specs=settings(None, spec or (), option="--spec"),
        say=s.out.stderr,
        only=only,
    )
    saved = report or s.home / "reports" / f"{kind}-{name}.json"
    try:
        if report is None:
            saved.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        saved.write_text(json.dumps(told.to_json(), indent=2) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {saved}: {error.strerror}", hint="choose --report") from error
    rows = [(x["outcome"], x["test"], " ".join(x["reason"].split())[:100]) for x in told.results]
    counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(told.counts.items()))

    def human() -> None:
        s.out.table(("outcome", "test", "reason"), rows)
        s.out.line(f"{kind} {name} ({told.provenance}), kit {told.kit}: {counted}")
        s.out.line(f"report: {saved}")

    s.out.result(told.to_json(), human)
    if not told.ok:
        raise typer.Exit(ExitCode.GENERAL)


def _records(plugins: Plugins, info: PluginInfo) -> list[dict[str, Any]]:
    found = []
    for hook in info.provides:
        lister = getattr(plugins, hook.removeprefix("manor_"), None)
        for provided in lister().values() if lister and info.provides[hook] else ():
            if provided.plugin == info.name:
                record = provided.record
                found.append(
                    {
                        "provides": hook.removeprefix("manor_").rstrip("s").replace("_", " "),
                        "name": record.name,
                        "summary": getattr(record, "summary", "") or getattr(record, "help", ""),
                        "settings": _settings(getattr(record, "config", None)),
                    }
                )
    return found


def _settings(config: Any) -> list[dict[str, str]]:
    if config is None:
        return []
    schema = config.model_json_schema()
    return _rows(schema, schema.get("$defs", {}), "", 0)


def _rows(schema: dict[str, Any], known: dict[str, Any], above: str, depth: int) -> list[dict[str, str]]:
    """The settings of a model, each followed by those of what it is made of: ``hosts``, ``hosts[].uri``."""
    wanted = set(schema.get("required", ()))
    rows = []
    for name, field in schema.get("properties", {}).items():
        rows.append(
            {
                "name": f"{above}{name}",
                "type": _type(field, known),
                "default": "(required)" if name in wanted else str(field.get("default", "")),
                "description": " ".join(field.get("description", "").split()),
            }
        )
        is_list = field.get("type") == "array"
        inner = _meant(field.get("items", {}) if is_list else field, known)
        if depth < _DEEPEST:
            rows += _rows(inner, known, f"{above}{name}{'[]' if is_list else ''}.", depth + 1)
    return rows


def _meant(field: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The definition that a field refers to, or the field itself."""
    return known.get(str(field.get("$ref", "")).rpartition("/")[2], field)


def _type(field: dict[str, Any], known: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option, known) for option in field["anyOf"])
    if "enum" in _meant(field, known):
        return "|".join(map(str, _meant(field, known)["enum"]))
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), known)}"
    return str(field.get("format") or field.get("type") or field.get("$ref", "any").rpartition("/")[2])
