"""``iso commands``: every command with its options, for programs, people and the reference page."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from iso_exchange.cli import output
from iso_exchange.cli.session import Json

PAGE_HEAD: Final = """# Command line

`iso` runs an exchange, trades on it and checks it. Global options come before the command:
`--as NAME` says who you are (default: `ISO_IDENTITY`), `--data DIR` where a local exchange
keeps its data (default: `ISO_DATA`, then `var`). `iso commands --markdown` writes this page.

- `--json` prints one JSON document to standard output and nothing else, also for errors
  (`{"error": {"code", "field", "advice", ...}}`); `watch` prints one document a line.
- Times carry their zone (`2026-10-06T09:00:00Z`, `2026-10-06 09:00Z`), durations are `48h`,
  `30m`, `120s`, prices are US dollars per chip-hour with up to six digits after the point.
  Nothing is guessed.
- Exit codes: 0 done, 1 failed or refused, 2 not understood, 3 not allowed, 4 nothing found or
  no eligible pool, 5 in conflict with what is there.
"""


def commands(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As the page docs/reference/cli.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List every command with its arguments and options."""
    found = catalogue()
    if markdown:
        print(page(found), end="")
        return
    rows = [(command["command"], command["summary"]) for command in found]
    output.answer({"commands": found}, output.table(("COMMAND", "WHAT"), rows), as_json=as_json)


def catalogue() -> list[dict[str, Any]]:
    """Every command, by name."""
    from iso_exchange.cli.main import app

    root = typer.main.get_command(app)
    found: list[dict[str, Any]] = []
    _collect(root, "iso", found)
    return sorted(found, key=lambda command: str(command["command"]))


def page(found: list[dict[str, Any]]) -> str:
    """Markdown page of a catalogue."""
    parts = [PAGE_HEAD]
    for command in found:
        parts.append(f"\n## {command['command']}\n\n{command['help']}\n")
        parts.append(f"\n```\n{command['usage']}\n```\n")
        rows = [
            f"| `{' '.join(item['names'])}` | {'yes' if item['required'] else ''} "
            f"| {'' if item['default'] is None else item['default']} | {_cell(item['help'])} |"
            for item in (*command["arguments"], *command["options"])
        ]
        if rows:
            parts.append("\n| option | required | default | meaning |\n|---|---|---|---|\n")
            parts.append("\n".join(rows) + "\n")
    return "".join(parts)


def _collect(command: Any, name: str, found: list[dict[str, Any]]) -> None:  # noqa: ANN401
    children = getattr(command, "commands", None)
    if children is not None:
        for child_name, child in children.items():
            _collect(child, f"{name} {child_name}", found)
        return
    arguments = [_parameter(item) for item in command.params if item.param_type_name == "argument"]
    options = [
        _parameter(item)
        for item in command.params
        if item.param_type_name == "option" and item.name != "help"
    ]
    text = " ".join((command.help or "").split())
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    required = [f"{item['names'][0]} {item['metavar']}" for item in options if item["required"]]
    words = [name, *(item["metavar"] for item in arguments), *required]
    if len(required) < len(options):
        words.append("[OPTIONS]")
    found.append(
        {
            "command": name,
            "summary": text.partition(". ")[0].removesuffix("."),
            "help": "\n\n".join(paragraphs),
            "usage": " ".join(words),
            "arguments": arguments,
            "options": options,
        }
    )


def _parameter(parameter: Any) -> dict[str, Any]:  # noqa: ANN401 - a typer parameter
    is_option = parameter.param_type_name == "option"
    default = parameter.default
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else []
    metavar = parameter.metavar or str(parameter.name).upper()
    flag = bool(getattr(parameter, "is_flag", False))
    value = getattr(default, "value", default)
    return {
        "names": names or [metavar],
        "metavar": "" if flag else metavar,
        "required": bool(parameter.required),
        "repeatable": bool(parameter.multiple) if is_option else parameter.nargs == -1,
        "flag": flag,
        "default": value if isinstance(value, str | int) and value not in ("", False) else None,
        "help": parameter.help or "",
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
