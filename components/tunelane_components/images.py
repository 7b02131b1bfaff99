"""Which container image each component runs in, and which extra of this distribution that image installs.

Names are logical: `tunelane compile --images` replaces them in the compiled pipeline, so nothing is read at import.
The server's image runs no component: it is what the lane's models are served by.
"""

TRAINER = "tunelane/trainer:python3.11"
PIPELINES = "tunelane/pipelines:python3.11"
SERVER = "tunelane/server:python3.11"

EXTRA_BY_IMAGE = {TRAINER: "train", PIPELINES: "pipelines", SERVER: "postgres"}

IMAGE_BY_COMPONENT = {
    # Where a team's own transformers are installed, too.
    "fingerprint_data": TRAINER,
    "build_dataset": TRAINER,
    "train_lora": TRAINER,
    "import_checkpoint": TRAINER,
    "export_onnx": TRAINER,
    "validate_parity": TRAINER,
    "evaluate_model": TRAINER,
    "gate_model": TRAINER,
    "report_verdict": TRAINER,
    "resolve_champion": PIPELINES,
    "register_candidate": PIPELINES,
    "deploy": PIPELINES,
    "smoke_test": PIPELINES,
    "confirm_champion": PIPELINES,
}
