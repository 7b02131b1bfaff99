"""The KFP components of this stage."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from tunelane_components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def train_lora(
    dataset: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    base_model: str,
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.1,
    target_modules: str = "all-linear",
    epochs: int = 2,
    batch_size: int = 32,
    learning_rate: float = 0.001,
    warmup_fraction: float = 0.1,
    max_length_tokens: int = 128,
    precision: str = "auto",
    use_class_weights: bool = False,
    seed: int = 0,
) -> None:
    """Fine-tune an encoder with LoRA, keep the best epoch by validation macro-F1, and merge the weights.

    Args:
        dataset: The dataset directory of build_dataset.
        model: The merged checkpoint with its tokenizer and card.
        metrics: Best validation macro-F1, its epoch, training rows.
        report: The learning curve and the options as a page.
        base_model: A directory, a gs:// URI or a Hugging Face hub id.
        rank: LoRA rank.
        alpha: LoRA alpha; the update is scaled by alpha / rank.
        dropout: Dropout on the adapters' input.
        target_modules: "all-linear", or module names separated by commas.
        epochs: Passes over the training rows.
        batch_size: Rows a step.
        learning_rate: Peak learning rate; it falls linearly to 0.
        warmup_fraction: Part of the steps during which the learning rate rises.
        max_length_tokens: Longest input in tokens; longer texts are cut.
        precision: auto, bf16 or fp32.
        use_class_weights: Let a row weigh as much as the dataset's weight of its label.
        seed: Seed of head, shuffling and dropout.
    """
    from pathlib import Path

    from tunelane_components.leaving import leave_quickly
    from tunelane_components.train.lora import LoraOptions
    from tunelane_components.train.lora import train_lora as train
    from tunelane_components.train.replicas import find_replicas
    from tunelane_components.train.report import render

    leave_quickly()
    options = LoraOptions(
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        target_modules=target_modules,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_fraction=warmup_fraction,
        max_length_tokens=max_length_tokens,
        precision=precision,
        use_class_weights=use_class_weights,
        seed=seed,
    )
    card = train(Path(dataset.path), base_model, Path(model.path), options)
    # All of several replicas end here; what they share is the chief's to write, and kfp holds to the same.
    if not find_replicas().is_chief:
        return
    model.metadata["taxonomy_digest"] = card.taxonomy.digest
    model.metadata["base_model"] = card.base_model.uri
    for name, value in card.metrics.items():
        metrics.log_metric(name, value)
    Path(report.path).write_text(render(card), encoding="utf-8")


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def import_checkpoint(
    model: Output[Model],
    checkpoint: str,
    taxonomy: str = "",
    base_model: str = "",
    max_length_tokens: int = 128,
) -> str:
    """Bring a classifier that was trained elsewhere into the form that export reads; returns the taxonomy's URI.

    Args:
        model: The checkpoint with its tokenizer and card.
        checkpoint: A directory saved by transformers, or a .pt file with a state dict; local or gs://.
        taxonomy: A taxonomy file with the labels in the order of the outputs; empty: the checkpoint's own labels.
        base_model: For a .pt file: directory, gs:// URI or hub id with the architecture's config and tokenizer.
        max_length_tokens: Longest input in tokens; longer texts are cut.
    """
    import tempfile
    from pathlib import Path

    from tunelane_components.etl.taxonomy import load_taxonomy
    from tunelane_components.leaving import leave_quickly
    from tunelane_components.storage import local_copy
    from tunelane_components.train.checkpoint import TAXONOMY
    from tunelane_components.train.importing import import_checkpoint as bring_in

    leave_quickly()
    with tempfile.TemporaryDirectory() as scratch:
        given = load_taxonomy(local_copy(taxonomy, Path(scratch), what="taxonomy")) if taxonomy else None
    bring_in(checkpoint, Path(model.path), taxonomy=given, base_model=base_model, max_length_tokens=max_length_tokens)
    return f"{model.uri}/{TAXONOMY}"
