"""Sections of the settings: the two clusters, and what stands in for parameters of the pipelines."""

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _not_true_for_1(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a truth value where a number is wanted, as the parameters of pipelines do."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = get_args(annotation) or (annotation,)
        if isinstance(value, bool) and bool not in kinds and {int, float} & set(kinds):
            raise ValueError("a truth value is not a number")
        return value


class GcpSettings(Section):
    """Google Cloud, for runs on Vertex AI."""

    project: str = ""
    """Project id."""

    region: str = ""
    """Where runs go, for instance europe-west4."""

    pipeline_root: str = ""
    """gs:// folder of the artifacts of runs; its bucket lies in the same region."""

    service_account: str = ""
    """E-mail address of the account that tasks run as; empty: the project's default."""

    network: str = ""
    """VPC network that tasks are peered with: projects/NUMBER/global/networks/NAME."""

    encryption_key: str = ""
    """Cloud KMS key: projects/P/locations/REGION/keyRings/R/cryptoKeys/K."""

    template_repository: str = ""
    """Artifact Registry repository of templates (format KFP): REGION-kfp.pkg.dev/PROJECT/REPOSITORY."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of every run, for bills and filters."""

    allow_other_regions: bool = False
    """Let parameters name buckets outside the region of the runs; the pipeline root and the key stay inside."""

    spot: bool = False
    """Train on spot machines: cheaper, and taken away when they are needed elsewhere."""

    boot_disk_type: Literal["pd-ssd", "pd-standard"] = "pd-ssd"
    """Boot disk of training. An L4 comes with pd-ssd alone."""

    boot_disk_gb: int = Field(default=100, ge=100, le=64000)
    """Size of that disk. Image, dataset and checkpoints lie on it."""

    training_replicas: int = Field(default=1, ge=1)
    """Machines that training is spread over, each with its own GPU."""


class KubeflowSettings(Section):
    """A Kubeflow Pipelines installation."""

    host: str = ""
    """URL of its API, for instance https://kubeflow.example.org/pipeline."""

    namespace: str = ""
    """The user's namespace; empty: an installation without users."""

    experiment: str = "Tunelane"
    """Experiment that runs belong to; made where it is missing."""

    token: SecretStr = SecretStr("")
    """Bearer token; empty: none, or the one in token_file."""

    token_file: Path | None = None
    """File with a bearer token, read anew for every call."""

    ca_file: Path | None = None
    """Certificates of the installation's authority."""

    pipeline_root: str = ""
    """Folder of artifacts; empty: the installation's own."""

    service_account: str = ""
    """Kubernetes service account that tasks run as; empty: the installation's own."""

    time_zone: str = "UTC"
    """Time zone that the installation reads cron expressions in: its CRON_SCHEDULE_TIMEZONE."""

    gpu_node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that tasks with a GPU go to, for instance cloud.google.com/gke-accelerator: nvidia-l4."""

    gpu_tolerations: tuple[str, ...] = ("nvidia.com/gpu:NoSchedule",)
    """Taints of those nodes, written as KEY:EFFECT or KEY=VALUE:EFFECT."""

    image_pull_secrets: tuple[str, ...] = ()
    """Secrets of the namespace that images are pulled with."""

    secret_environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of every task from Secrets of the namespace: VARIABLE: SECRET/KEY (in .env as JSON)."""

    volumes: dict[str, str] = Field(default_factory=dict)
    """Persistent volume claims of every task: MOUNT PATH: CLAIM."""


class ModelSettings(Section):
    """What is fine-tuned, and how. None, here and in the sections below: the pipeline's own default."""

    name: str | None = None
    """The registry's name for the classifier."""

    base_model: str | None = None
    """What a run fine-tunes, here or on a cluster: a sample, a path, a gs:// URI or a hub id."""

    max_length_tokens: int | None = None
    """Longest input in tokens."""

    rank: int | None = None
    """LoRA rank."""

    alpha: int | None = None
    """LoRA alpha."""

    dropout: float | None = None
    """LoRA dropout."""

    target_modules: str | None = None
    """Either all-linear, or module names separated by commas."""

    epochs: int | None = None
    """Passes over the training rows."""

    batch_size: int | None = None
    """Rows a step."""

    learning_rate: float | None = None
    """Peak learning rate."""

    warmup_fraction: float | None = None
    """Part of the steps during which the learning rate rises."""

    precision: str | None = None
    """auto, bf16 or fp32."""

    use_class_weights: bool | None = None
    """Let a row weigh as much as the dataset's weight of its label."""

    seed: int | None = None
    """Seed of training and bootstrap."""


class DataSettings(Section):
    """What is trained and judged on."""

    uri: str | None = None
    """Labelled text: a file, a folder or a pattern; a path or a gs:// URI."""

    test_uri: str | None = None
    """Rows that judge the model; empty: a part of the data does."""

    format: str | None = None
    """csv, tsv, json, jsonl, parquet or a transformer's name."""

    text_field: str | None = None
    """Column of the text, a path or a template."""

    label_field: str | None = None
    """Column or path that holds the label."""

    id_field: str | None = None
    """Column or path that holds the row's id."""

    source_field: str | None = None
    """Column or path that says where a row came from."""

    split_field: str | None = None
    """Column that says train, valid or test."""

    taxonomy: str | None = None
    """YAML or JSON file with the labels."""

    delimiter: str | None = None
    """Of CSV files."""

    encoding: str | None = None
    """Of text files."""

    mask_personal_data: bool | None = None
    """Replace e-mail addresses, phone numbers, URLs and @names."""

    max_characters: int | None = None
    """Longer texts are quarantined."""

    max_rejected_fraction: float | None = None
    """Stop if a larger share of the rows is quarantined."""

    near_duplicate_threshold: float | None = None
    """Drop training rows so similar to a validation or test row."""

    rows: int | None = None
    """Rows to use."""

    minimum_rows: int | None = None
    """Fewest usable rows to go on with."""

    valid_fraction: float | None = None
    """Part of the rows that chooses the best epoch."""

    test_fraction: float | None = None
    """Part of the rows that judges."""

    max_per_label: int | None = None
    """Most training rows a label."""

    min_per_label: int | None = None
    """Leave out inferred labels with fewer texts."""

    upload_root: str | None = None
    """Where to keep a copy of the dataset."""


class EvaluationSettings(Section):
    """What a model must reach."""

    minimum_f1: float | None = None
    """Macro-F1 that a first champion needs."""

    margin: float | None = None
    """Macro-F1 by which a challenger must surely be better than the champion."""

    minimum_support: int | None = None
    """Test rows that every label needs."""


class ServingSettings(Section):
    """The graphs that serve."""

    quantize: bool | None = None
    """Add an int8 graph and prefer it."""

    min_agreement: float | None = None
    """Least share of labels on which a graph must agree with PyTorch."""

    min_f1_delta: float | None = None
    """Lowest macro-F1 difference of a graph to PyTorch."""
