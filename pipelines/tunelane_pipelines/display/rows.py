"""Names and values in two columns: what a run came to."""

import typer

_STYLE_BY_VALUE = {"promote": "bold green", "reject": "yellow", "insufficient": "yellow"}
_COMMANDS = ("Next", "Go on", "By", "Line")


def print_rows(rows: list[tuple[str, str]], *, is_plain: bool) -> None:
    """Print names and values; a row without a name goes on with the one above.

    Args:
        rows: names and values; at least one.
        is_plain: a value stays on its line however long it is, as a pipe wants it; else it is coloured, and a sentence
            is wrapped.
    """
    width = max(len(name) for name, _ in rows) + 2
    if is_plain:
        for name, value in rows:
            typer.echo(f"{name:{width}}{value}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for name, value in rows:
        head, text = Text(f"{name:{width}}", "bold"), Text(value, _STYLE_BY_VALUE.get(value, ""))
        if name in _COMMANDS or " " not in value:
            # A command, a path or a link is copied: only the terminal itself can wrap it and still know it for one.
            console.print(head + text, soft_wrap=True)
            continue
        row = Table.grid()
        row.add_column(width=width)
        row.add_column(overflow="fold")
        row.add_row(head, text)
        console.print(row)
