"""The app and its entry point."""

import io
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tunelane_pipelines.cli.compile import compile_command
from tunelane_pipelines.cli.data import data_app
from tunelane_pipelines.cli.doctor import doctor_command
from tunelane_pipelines.cli.models import models_app
from tunelane_pipelines.cli.predict import predict_command
from tunelane_pipelines.cli.run import run_command
from tunelane_pipelines.cli.runs import runs_app
from tunelane_pipelines.cli.samples import samples_app
from tunelane_pipelines.cli.schedule import schedule_app
from tunelane_pipelines.cli.serve import serve_command
from tunelane_pipelines.cli.submit import submit_command
from tunelane_pipelines.runs.masking import mask
from tunelane_serving.errors import TunelaneError

app = typer.Typer(
    name="tunelane",
    help="Labelled text to a deployed classifier, and keep it good.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"tunelane {version('tunelane')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """What goes before a command."""


app.command("run")(run_command)
app.command("submit")(submit_command)
app.add_typer(runs_app, name="runs")
app.add_typer(schedule_app, name="schedule")
app.command("compile")(compile_command)
app.add_typer(models_app, name="models")
# What it does not know itself is an option of the server.
app.command("serve", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve_command)
app.command("predict")(predict_command)
app.add_typer(data_app, name="data")
app.add_typer(samples_app, name="samples")
app.command("doctor")(doctor_command)


def main() -> None:
    """The entry point: whatever is wrong is one line on stderr and an exit code, never a traceback."""
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a tick must not end a run.
        sys.stdout.reconfigure(errors="replace")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        # Not standalone: typer would answer a wrong option in four lines.
        code = app(prog_name="tunelane", standalone_mode=False)
    except typer.TyperException as error:
        said = error.format_message()
        # Without a command what is said is the help.
        hint = f"tunelane: {said}{'' if said.endswith(('.', '?')) else '.'} See tunelane --help."
        typer.echo(said if said.startswith("Usage:") else hint, err=True)
        sys.exit(error.exit_code)
    except typer.Abort:
        # Ctrl-C or the end of the input at a question.
        sys.exit(130)
    except TunelaneError as error:
        # Many a message quotes a URI that was passed.
        typer.echo(f"tunelane: {mask(str(error))}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # Directories that may not be entered, names that are too long, full disks: no command looks for each of them.
        if error.strerror is None:  # a library's own error
            raise
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(f"tunelane: {mask(place)}{error.strerror}. Check the path, who may use it, and the disk.", err=True)
        sys.exit(1)
    # typer gives the code of an Exit, 130 after a Ctrl-C, or what the command returned: nothing.
    sys.exit(code)


def _open_closed_streams() -> None:
    """Put the null device where standard input, output or error is closed (`>&-`); Python has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - to the end of the process
