"""Names and values in two columns: what a run came to."""

import typer

_STYLE_BY_VALUE = {"promote": "bold green", "reject": "yellow", "insufficient": "yellow"}


def print_rows(rows: list[tuple[str, str]], *, is_plain: bool) -> None:
    """Print names and values; a row without a name goes on with the one above.

    Args:
        rows: names and values; at least one.
        is_plain: a value stays on its line however long it is, as a pipe wants it; else it is wrapped and coloured.
    """
    if is_plain:
        width = max(len(name) for name, _ in rows) + 2
        for name, value in rows:
            typer.echo(f"{name:{width}}{value}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value, _STYLE_BY_VALUE.get(value, "")))
    Console().print(table)
