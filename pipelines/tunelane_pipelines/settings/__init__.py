"""Where things lie and what is wanted: one `Settings`, read from a profile, variables and the command line."""

from tunelane_pipelines.settings.settings import (
    LOCAL,
    Settings,
    load_settings,
    local_deployment,
    place_of,
    section_types,
)

__all__ = ["LOCAL", "Settings", "load_settings", "local_deployment", "place_of", "section_types"]
