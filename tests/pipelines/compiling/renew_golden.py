"""Write the golden files: `python tests/pipelines/compiling/renew_golden.py`. Look at the difference before you commit.

Each is a pipeline's IR for one target, Kubeflow's second document within it, every image pinned by a digest, without
what says nothing about its meaning: the version of kfp, descriptions, and the source text of components.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tunelane_components.images import IMAGE_BY_COMPONENT
from tunelane_pipelines.compiling.files import compile_files

_GOLDEN = Path(__file__).parent / "golden"


def meaning(ir: Any) -> Any:
    """What of an IR is compared."""
    if isinstance(ir, list):
        return [meaning(item) for item in ir]
    if not isinstance(ir, dict):
        return ir
    kept = {name: meaning(item) for name, item in ir.items() if name != "sdkVersion" and not _is_text(name, item)}
    if "command" in kept:
        # `timeout` with its arguments, and the shell; then come the launcher and the component as text.
        command = kept["command"]
        kept["command"] = command[: command.index("-ec") + 1] if "-ec" in command else command
    if "--payload" in kept.get("args", ()):
        kept["args"] = [meaning(json.loads(part)) if part.startswith('{"') else part for part in kept["args"]]
    return kept


def _is_text(name: str, item: Any) -> bool:
    return name == "description" and isinstance(item, str)


def write_golden(directory: Path) -> None:
    """Compile everything and write `<target>-<pipeline>.json` for each."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch) / "images.json"
        pinned = {
            name: f"registry.example/{name.partition(':')[0]}@sha256:{number:064x}"
            for number, name in enumerate(sorted(set(IMAGE_BY_COMPONENT.values())))
        }
        images.write_text(json.dumps(pinned))
        for path in compile_files(Path(scratch) / "compiled", images=images):
            if path.parent.name == "pipelines":
                ir, *manifests = yaml.safe_load_all(path.read_text())
                for manifest in manifests:
                    ir.update(manifest)
                content = json.dumps(meaning(ir), indent=1, sort_keys=True)
                (directory / f"{path.parent.parent.name}-{path.stem}.json").write_text(content + "\n")


if __name__ == "__main__":
    write_golden(Path(sys.argv[1]) if len(sys.argv) > 1 else _GOLDEN)
