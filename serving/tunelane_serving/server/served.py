"""A loaded model under the names it serves by."""

from dataclasses import dataclass
from functools import cached_property

from tunelane_serving.models.model import Model
from tunelane_serving.package import LABEL_TASKS


@dataclass(frozen=True)
class Served:
    """A loaded model, its name and version. Never changed: another version is another Served."""

    model: Model
    name: str
    version: str

    @cached_property
    def is_fallback(self) -> bool:
        """Whether keyword rules answer because no model could be loaded."""
        return self.model.manifest.framework == "rules" and bool(self.model.fallback_reason)

    @cached_property
    def is_text_model(self) -> bool:
        """Whether it takes texts."""
        return self.model.manifest.task != "tensors"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels in taxonomy order; none for other tasks."""
        manifest = self.model.manifest
        return manifest.taxonomy.names if manifest.taxonomy is not None and manifest.task in LABEL_TASKS else ()

    @cached_property
    def gives_one_label(self) -> bool:
        """Whether an answer has exactly one label."""
        return self.model.manifest.task == "single_label"
