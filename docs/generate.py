"""Make the tables and pictures of the documentation from the code.

python docs/generate.py [--check]

What stands between `<!-- generated: NAME -->` and `<!-- end -->` in README.md and docs is written here, as are the
pictures and the collection of example requests; everything else is written by hand. `--check` writes nothing and names
the files that are not up to date.
"""

import argparse
import inspect
import json
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from postman import collection
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, SecretStr

from tunelane_components.images import EXTRA_BY_IMAGE, IMAGE_BY_COMPONENT
from tunelane_pipelines.catalog import MODULE_BY_PIPELINE, load_pipeline
from tunelane_pipelines.cli.main import app
from tunelane_pipelines.compiling.descriptions import described_component
from tunelane_pipelines.compiling.pipeline import load_components
from tunelane_pipelines.compiling.resources import (
    GPUS,
    KUBEFLOW,
    NEEDS_BY_COMPONENT,
    VERTEX,
    Machine,
    Needs,
    Training,
    resources_of,
)
from tunelane_pipelines.dag import read_dag
from tunelane_pipelines.drawing.picture import svg
from tunelane_pipelines.settings import Settings
from tunelane_serving.server import options as serve_options
from tunelane_serving.server.assembly import assemble
from tunelane_serving.server.exposition import render
from tunelane_serving.server.openapi import document
from tunelane_serving.server.routes.all import OPERATIONS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"

_OPTION_HEAD = ("option", "default", "meaning")
_OPENING = re.compile(r"^<!-- generated: ", re.MULTILINE)
_BLOCK = re.compile(r"^(<!-- generated: ([^>\n]+) -->\n)(.*?)^(<!-- end -->)$", re.DOTALL | re.MULTILINE)


class Problem(Exception):
    """What is wrong with a page, in one line."""


def main() -> int:
    """Write what is not up to date, or with `--check` say what it is; gives the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not up to date")
    is_check = parser.parse_args().check
    try:
        content_by_path = {**pages(), **pictures(), **requests()}
    except Problem as problem:
        typer.echo(f"docs/generate.py: {problem}", err=True)
        return 1
    stale = [path for path, content in content_by_path.items() if not path.exists() or path.read_text() != content]
    for path in stale:
        if is_check:
            typer.echo(f"{path.relative_to(ROOT)} is not up to date. Run: make docs", err=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content_by_path[path], encoding="utf-8")
            typer.echo(path.relative_to(ROOT))
    return 1 if is_check and stale else 0


def pages() -> dict[Path, str]:
    """Give every page of the documentation with its generated blocks as they must be."""
    return {path: filled(path) for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))}


def filled(path: Path) -> str:
    """Give a page with its generated blocks made anew; raises Problem where a block has no end or no such name."""
    text = path.read_text(encoding="utf-8")
    if len(_OPENING.findall(text)) != len(_BLOCK.findall(text)):
        raise Problem(f"{path.relative_to(ROOT)}: a generated block has no <!-- end -->")

    def block(match: re.Match[str]) -> str:
        kind, _, argument = match[2].partition(" ")
        if kind not in BLOCKS:
            raise Problem(f"{path.relative_to(ROOT)}: no block {kind!r}. There are: {', '.join(BLOCKS)}.")
        try:
            content = BLOCKS[kind](argument)
        except KeyError as error:
            raise Problem(f"{path.relative_to(ROOT)}: block {match[2]!r}: there is no {error}") from error
        return f"{match[1]}\n{content.strip()}\n\n{match[4]}"

    return _BLOCK.sub(block, text)


def pictures() -> dict[Path, str]:
    """Give the drawing of every pipeline."""
    return {DOCS / "pictures" / f"{name}.svg": svg(read_dag(load_pipeline(name))) for name in MODULE_BY_PIPELINE}


def requests() -> dict[Path, str]:
    """Give the collection of example requests, made from the server's OpenAPI document."""
    content = json.dumps(collection(document(OPERATIONS)), indent=2, ensure_ascii=False)
    return {DOCS / "api" / "tunelane.postman_collection.json": f"{content}\n"}


def table(head: Sequence[str], rows: Iterator[Sequence[object]]) -> str:
    """Give a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(text: object) -> str:
    """`text` as code, or nothing where there is no text."""
    return f"`{text}`" if str(text) else ""


def pipelines_table(_: str) -> str:
    """Every pipeline: its tasks and what it does."""
    dags = [read_dag(load_pipeline(name)) for name in MODULE_BY_PIPELINE]
    rows = ((code(dag.name), len(dag.tasks), dag.description) for dag in dags)
    return table(("pipeline", "tasks", "what it does"), rows)


def components_table(_: str) -> str:
    """Every component: what it does, and its image; in the order in which a run has them."""
    components = load_components()
    in_runs = [task.component for name in MODULE_BY_PIPELINE for task in read_dag(load_pipeline(name)).tasks]
    rows = (
        (code(name), first_sentence(components[name]), image_name(name))
        for name in dict.fromkeys([*in_runs, *components])
    )
    return table(("component", "what it does", "image"), rows)


def pipeline_block(name: str) -> str:
    """A pipeline's parameters."""
    inputs = load_pipeline(name).pipeline_spec.root.input_definitions.parameters
    signature = inspect.signature(load_pipeline(name).pipeline_func)
    rows = (
        (code(parameter.name), default_of(parameter), inputs[parameter.name].description)
        for parameter in signature.parameters.values()
    )
    return table(("parameter", "default", "meaning"), rows)


def component_block(name: str) -> str:
    """A component's interface: inputs, outputs, parameters, image, and what it is given on a cluster."""
    component = load_components()[name]
    root = described_component(component).root
    inputs, outputs = root.input_definitions, root.output_definitions
    parameters = inspect.signature(component.python_func).parameters.values()
    parts = [first_sentence(component)]
    artifacts = [
        (code(parameter.name), direction, kind_of(found.artifacts[parameter.name]), description(found, parameter.name))
        for direction, found in (("in", inputs), ("out", outputs))
        for parameter in parameters
        if parameter.name in found.artifacts
    ]
    if outputs.parameters:
        artifacts.append((code("Output"), "out", "text", "What it returns, for conditions and later tasks."))
    if artifacts:
        parts.append(table(("artifact", "", "kind", "what it is"), iter(artifacts)))
    rows = [
        (code(parameter.name), default_of(parameter), inputs.parameters[parameter.name].description)
        for parameter in parameters
        if parameter.name in inputs.parameters
    ]
    if rows:
        parts.append(table(("parameter", "default", "meaning"), iter(rows)))
    parts.append(f"Image: {code(IMAGE_BY_COMPONENT[name])}. On a cluster: {needs_in_words(name)}.")
    return "\n\n".join(parts)


def clusters_table(_: str) -> str:
    """What every component is given on a cluster."""

    def row(name: str) -> tuple[object, ...]:
        needs = NEEDS_BY_COMPONENT[name]
        return code(name), machine_of(needs), hours(needs.timeout_s), needs.retries, "yes" if needs.cacheable else "no"

    return table(
        ("component", "machine", "time for one try", "tries after the first", "may be cached"),
        (row(name) for name in NEEDS_BY_COMPONENT),
    )


def training_table(_: str) -> str:
    """What training is given for each choice of GPU."""

    def row(gpu: str) -> tuple[object, ...]:
        on_vertex, on_kubeflow = (resources_of("train_lora", target, Training(gpu)) for target in (VERTEX, KUBEFLOW))
        shape = f"{on_kubeflow.machine.cpu} cores, {on_kubeflow.machine.memory.removesuffix('G')} GB"
        return (
            code(gpu), code(on_vertex.custom_job_type), gpu_of(on_vertex.machine), shape, gpu_of(on_kubeflow.machine)
        )  # fmt: skip

    return table(
        ("`--gpu`", "machine on Vertex AI", "its GPU", "machine on Kubeflow", "its GPU"), (row(gpu) for gpu in GPUS)
    )


def gpu_of(machine: Machine) -> str:
    """Count and kind of the accelerators of a machine."""
    return f"{machine.accelerator_count} {code(machine.accelerator)}" if machine.accelerator else "none"


def images_table(_: str) -> str:
    """Every image: the extra that it installs, and what runs in it."""

    def row(image: str) -> tuple[object, ...]:
        runs = [code(name) for name, found in IMAGE_BY_COMPONENT.items() if found == image]
        return code(image), code(EXTRA_BY_IMAGE[image]), ", ".join(runs) or "the server"

    return table(("image", "extra", "what runs in it"), (row(image) for image in EXTRA_BY_IMAGE))


def settings_table(_: str) -> str:
    """Every setting, with its name in the environment."""
    rows = (
        (code(name), code(f"TUNELANE_{name.replace('.', '__').upper()}"), code(default or ""), meaning)
        for name, default, meaning in settings_of(Settings)
    )
    return table(("setting", "in the environment", "default", "meaning"), rows)


def settings_of(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any, str]]:
    """Give name, default and meaning of every setting; those of a section as section.name."""
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from settings_of(type(default), f"{name}.")
            continue
        if isinstance(default, SecretStr):
            default = ""
        shown = ", ".join(map(str, default)) if isinstance(default, tuple | dict) else default
        yield f"{above}{name}", shown, field.description or ""


def commands_block(_: str) -> str:
    """Every command of the command line: what it does, its arguments and options."""
    return "\n\n".join(commands_of(typer.main.get_command(app), "tunelane"))


def commands_of(command: Any, name: str) -> Iterator[str]:
    """Describe a command, and those below it; a group's options come before its commands."""
    found = getattr(command, "commands", {})
    context = command.make_context(name, [], resilient_parsing=True)
    parts = [f"## {name}", command.help]
    parameters = [parameter for parameter in command.params if "--help" not in parameter.opts]
    usage = [name, *(part for parameter in parameters for part in usage_of(parameter))]
    if not found:
        parts.append(f"```text\n{' '.join([*usage, '[OPTIONS]'])}\n```")
    rows = [option_row(parameter, context) for parameter in parameters]
    if rows:
        parts.append(table(("argument or option", "meaning"), iter(rows)))
    yield "\n\n".join(parts)
    for verb, below in found.items():
        yield from commands_of(below, f"{name} {verb}")


def option_row(parameter: Any, context: Any) -> tuple[str, str]:
    """An argument or option with what the help says of it."""
    shown, said = parameter.get_help_record(context)
    name = parameter.name.upper() if parameter.param_type_name == "argument" else shown
    return code(name), re.sub(r" {2,}", " ", said)


def usage_of(parameter: Any) -> list[str]:
    """How an argument stands in the usage; nothing for an option that may be left out."""
    if parameter.param_type_name == "argument":
        return [parameter.name.upper() if parameter.required else f"[{parameter.name.upper()}]"]
    return [f"{parameter.opts[0]} {parameter.metavar}"] if parameter.required else []


def serve_options_block(_: str) -> str:
    """Every option of `tunelane-serve`, by the groups of its help."""
    # Nothing of this machine's: no variable of its environment, and not the number of its cores.
    groups = serve_options.parser_of({}, hosted=False)._action_groups
    named = [group for group in groups if group.title not in ("positional arguments", "options")]
    unnamed = [group for group in groups if group not in named]
    parts = []
    # Those without a group of their own say more of what is served, so they stand behind it.
    for title, found in (
        (str(named[0].title), [named[0], *unnamed]),
        *((str(group.title), [group]) for group in named[1:]),
    ):
        actions = [action for group in found for action in group._group_actions if action.dest != "help"]
        parts.append(f"{title[0].upper()}{title[1:]}:\n\n{table(_OPTION_HEAD, map(serve_option_row, actions))}")
    return "\n\n".join(parts)


def serve_option_row(action: argparse.Action) -> tuple[str, str, str]:
    """An option, its default in words, and what the help says of it."""
    said, _, default = (action.help or "").partition(" (default: ")
    # How many cores this machine has, and what the variables say here, is nobody else's business.
    default = (
        default.removesuffix(")").replace(", here %(default)s", "").replace("; here %(default)s", "; else %(default)s")
    )
    values = {"default": action.default}
    metavar = action.metavar if isinstance(action.metavar, str) else "|".join(action.choices or (action.dest.upper(),))
    name = " ".join(filter(None, [action.option_strings[0], "" if action.nargs == 0 else metavar]))
    return code(name), default % values, sentence(said % values)


def serve_routes_table(_: str) -> str:
    """Every route of the server, and the right that an API key needs for it."""
    rows = (
        (code(f"{operation.method} {operation.path}"), sentence(operation.summary), code(operation.right or ""))
        for operation in OPERATIONS
    )
    return table(("route", "what it does", "right"), rows)


def serve_metrics_table(_: str) -> str:
    """Every metric that a running server has, but those of the process, which are the client library's."""
    with tempfile.TemporaryDirectory() as place:
        options = serve_options.parse(["--repository", "--home", place, "--answer-cache-bytes", "1"], {})
        assembly = assemble(options, {})
        text = render(assembly.services).decode()
        assembly.close()
    families = [family for family in text_string_to_metric_families(text) if family.name.startswith("tunelane_")]
    rows = (
        (code(f"{family.name}_total" if family.type == "counter" else family.name), family.type, family.documentation)
        for family in sorted(families, key=lambda family: str(family.name))
        if not family.name.endswith("_created")
    )
    return table(("metric", "kind", "what it is"), rows)


def sentence(text: str) -> str:
    """`text` as a sentence: a full stop, and a capital letter where it begins with a word."""
    head = text[0].upper() if text.split()[0].isalpha() else text[0]
    return f"{head}{text[1:]}{'' if text.endswith('.') else '.'}"


def failures_block(section: str) -> str:
    """The entries of a section of the page on troubleshooting."""
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    sections = {part.partition("\n")[0]: part.partition("\n")[2] for part in page.split("\n## ")[1:]}
    entries = sections[section]
    return entries[entries.index("- `") :]


def floor_block(_: str) -> str:
    """The package against the floor, three seeds."""
    result = json.loads((RESULTS / "floor.json").read_text())
    delta = result["delta"]
    rows = (
        (
            row["seed"],
            f"{row['package_macro_f1']:.3f}",
            f"{row['floor_macro_f1']:.3f}",
            f"{100 * (row['package_macro_f1'] - row['floor_macro_f1']):+.1f}",
        )
        for row in result["seeds"]
    )
    value, lower, upper = (f"{100 * delta[name]:+.1f}" for name in ("value", "lower", "upper"))
    said = f"Difference {value} points, 95 % interval {lower} to {upper} over rows and seeds."
    return f"{table(('seed', 'int8 macro-F1', 'baseline', 'points'), rows)}\n\n{said}"


def rows_block(_: str) -> str:
    """What more rows bring."""
    points = json.loads((RESULTS / "rows_curve.json").read_text())["points"]
    rows = (
        (
            point["rows"] or "all",
            f"{point['train_rows']:,}",
            f"{point['test_rows']:,}",
            f"{point['package_macro_f1']:.3f}",
            f"{point['floor_macro_f1']:.3f}",
            f"{point['train_cpu_s']:.0f}",
        )
        for point in points
    )
    return table(("rows", "trained on", "tested on", "int8 macro-F1", "baseline", "CPU s"), rows)


def waits_block(_: str) -> str:
    """Give what people wait for: commands, and what a run spends besides its stages' own work."""
    result = json.loads((RESULTS / "command_line.json").read_text())
    rows = ((code(timing["command"]), f"{timing['median_wall_s']:.2f}") for timing in result["commands"])
    overhead = result["run"]["overhead"]
    said = (
        f"Of a run's {result['run']['wall_s']:.0f} s (`make run`) {overhead['total_s']:.1f} were no stage's own work: "
        f"{overhead['start_s']:.1f} until its first task, {overhead['tasks_s']:.1f} for starting its tasks "
        f"(at most {overhead['longest_task_s']:.2f} for one), {overhead['exits_s']:.1f} for processes that hand back "
        f"their memory, {overhead['between_s'] + overhead['end_s']:.1f} for records and report."
    )
    return table(("command", "seconds"), rows) + "\n\n" + "\n".join(textwrap.wrap(said, 120))


def cloud_block(_: str) -> str:
    """Give what people wait for beside runs in the cloud, against what was to be reached."""
    result = json.loads((RESULTS / "cloud.json").read_text())
    rows = (
        (
            code(found["command"]),
            f"{'' if found['is_met'] else '**missed**: '}{found['median_wall_s']:.2f}",
            f"{found['cpu_s']:.2f}",
            f"below {found['bar_s']:.0f}",
        )
        for found in result["commands"]
    )
    found = table(("command", "seconds", "CPU s", "to be reached"), rows)
    if result["load_before"] < 1:
        return found
    said = (
        f"Measured beside other work (a load of {result['load_before']:.0f} on "
        f"{result['environment']['machine']['cores']} cores): the seconds of processors are the commands' own."
    )
    return found + "\n\n" + "\n".join(textwrap.wrap(said, 120))


def scale_block(_: str) -> str:
    """Give the ETL beside its alternatives on the largest file, and what its further work costs."""
    result = json.loads((RESULTS / "etl_scale.json").read_text())
    smallest, largest = result["sizes"][0], result["sizes"][-1]
    runs = {build["name"]: build["runs"][0] for build in largest["builds"]}
    rows = (
        (
            name,
            f"{largest['rows'] / run['wall_s']:,.0f}",
            f"{run['wall_s']:.0f}",
            f"{run['cpu_s']:.0f}",
            f"{run['peak_memory_bytes'] / 1e6:,.0f}",
            f"{run['peak_disk_bytes'] / 1e9:.1f}",
        )
        for name, run in runs.items()
    )
    ours = runs["tunelane"]
    small = smallest["builds"][0]["runs"][0]
    figures = {figure["name"]: figure["rows_per_s"] for figure in result["figures"]}
    near, tokens = figures["near-duplicates searched (0.8)"], figures["tokens counted (MiniLM)"]
    said = (
        f"Of the disk {ours['left_disk_bytes'] / 1e9:.1f} GB is the dataset; the rest is what exact deduplication "
        f"needs meanwhile. With {smallest['rows'] / 1e6:.0f} million rows the peak of memory is "
        f"{small['peak_memory_bytes'] / 1e6:,.0f} MB. pandas and datasets write the same rows, byte for byte; random "
        f"splits cannot. On 200,000 rows, where starting and reporting take a third of the time, the plain build does "
        f"{figures['plain']:,.0f} rows/s, with the search for near-duplicates {near:,.0f}, and counting tokens "
        f"{tokens:,.0f}."
    )
    head = ("build", "rows/s", "seconds", "CPU s", "peak MB", "disk GB")
    return table(head, rows) + "\n\n" + "\n".join(textwrap.wrap(said, 120))


def serving_block(_: str) -> str:
    """Give the servers side by side on the same package, and what was to be reached."""
    result = json.loads((RESULTS / "serving.json").read_text())
    names = {"tunelane": "this server", "naive": "FastAPI `def`, default session", "torch": "transformers + PyTorch"}
    rows = (
        (
            names.get(name, name),
            f"{loads['64 clients']['rps']:.0f}",
            f"{loads['64 clients']['cpu_ms']:.2f}",
            f"{loads['1 clients']['p50_ms']:.1f}",
            f"{loads['half load']['p99_ms']:.0f}",
        )
        for name, loads in sorted(result["medians"].items(), key=lambda row: -row[1]["64 clients"]["rps"])
    )
    head = ("server", "requests/s, 64 clients", "CPU ms a request", "p50 ms, 1 client", "p99 ms at half load")
    bars = "\n".join(f"- {'' if bar['is_met'] else '**missed**: '}{bar['claim']}" for bar in result["bars"])
    return f"{table(head, rows)}\n\n{bars}\n"


def first_sentence(component: Any) -> str:
    """The first line of a component's docstring."""
    return (inspect.getdoc(component.python_func) or "").partition("\n")[0]


def image_name(component: str) -> str:
    """An image's short name: trainer, pipelines."""
    return IMAGE_BY_COMPONENT[component].partition("/")[2].partition(":")[0]


def kind_of(artifact: Any) -> str:
    """What kind of artifact it is in KFP's words."""
    return str(artifact.artifact_type.schema_title).removeprefix("system.")


def description(definitions: Any, artifact: str) -> str:
    """What the docstring says of an artifact; components describe their inputs on the inner component alone."""
    return str(definitions.artifacts[artifact].description)


def default_of(parameter: inspect.Parameter) -> str:
    """A parameter's default as code, as `--set` takes it; nothing for an empty text."""
    default = parameter.default
    if default is inspect.Parameter.empty:
        return "required"
    return code(str(default).lower() if isinstance(default, bool) else default)


def needs_in_words(name: str) -> str:
    """What a component is given on a cluster, in a sentence."""
    needs = NEEDS_BY_COMPONENT[name]
    tries = f"{needs.retries + 1} tries of {hours(needs.timeout_s)}" if needs.retries else hours(needs.timeout_s)
    return f"{machine_of(needs)}, {tries}, {'its result may be reused' if needs.cacheable else 'never cached'}"


def machine_of(needs: Needs) -> str:
    """Cores, memory, and the GPU where one can be used."""
    cores = "1 core" if needs.machine.cpu == "1" else f"{needs.machine.cpu} cores"
    return f"{cores}, {needs.machine.memory.removesuffix('G')} GB{', a GPU' if needs.trains else ''}"


def hours(seconds: int) -> str:
    """Seconds as hours or minutes, whichever is whole."""
    return f"{seconds // 3600} h" if seconds % 3600 == 0 else f"{seconds // 60} min"


BLOCKS: dict[str, Callable[[str], str]] = {
    "pipelines": pipelines_table,
    "components": components_table,
    "pipeline": pipeline_block,
    "component": component_block,
    "clusters": clusters_table,
    "images": images_table,
    "training": training_table,
    "settings": settings_table,
    "commands": commands_block,
    "serve-options": serve_options_block,
    "serve-routes": serve_routes_table,
    "serve-metrics": serve_metrics_table,
    "failures": failures_block,
    "floor": floor_block,
    "rows": rows_block,
    "waits": waits_block,
    "cloud": cloud_block,
    "scale": scale_block,
    "serving": serving_block,
}


if __name__ == "__main__":
    sys.exit(main())
