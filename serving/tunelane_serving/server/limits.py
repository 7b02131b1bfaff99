"""What one request, and all of them together, may take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds, each with its unit in its name. `tunelane-serve` has an option for each."""

    max_body_bytes: int = 1 << 20
    max_texts: int = 128
    max_text_chars: int = 10_000
    max_products: int = 200
    max_waiting: int = 256
    max_connections: int = 1000
    inference_timeout_s: float = 30.0
    max_upload_bytes: int = 1 << 30
    max_unpacked_bytes: int = 4 << 30
    max_unpacked_files: int = 200
    max_models: int = 10
    max_model_bytes: int = 4 << 30
