"""The main pipeline: labelled text in, and a new champion out if it earns it."""

from kfp import dsl

from tunelane_components.deploy.component import confirm_champion, deploy, smoke_test
from tunelane_components.etl.component import build_dataset, fingerprint_data
from tunelane_components.evaluate.component import evaluate_model
from tunelane_components.export.component import export_onnx
from tunelane_components.gate.component import gate_model, report_verdict
from tunelane_components.parity.component import validate_parity
from tunelane_components.registry.component import register_candidate, resolve_champion
from tunelane_components.train.component import train_lora
from tunelane_pipelines.tasks import named


@dsl.pipeline(
    name="train-classifier",
    display_name="Train classifier",
    description="Labelled text to a served classifier: fine-tune, export to ONNX, gate against the champion, deploy.",
)
def train_classifier(
    data: str,
    registry_uri: str,
    deployment_uri: str,
    base_model: str = "sentence-transformers/all-MiniLM-L6-v2",
    model_name: str = "classifier",
    text_field: str = "text",
    label_field: str = "label",
    id_field: str = "",
    source_field: str = "",
    split_field: str = "",
    test_data: str = "",
    taxonomy: str = "",
    source_format: str = "",
    delimiter: str = "",
    encoding: str = "utf-8",
    mask_personal_data: bool = False,
    max_characters: int = 100000,
    max_rejected_fraction: float = 0.1,
    near_duplicate_threshold: float = 0.8,
    rows: int = 0,
    minimum_rows: int = 50,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_per_label: int = 0,
    min_per_label: int = 0,
    upload_root: str = "",
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
    quantize: bool = True,
    min_agreement: float = 0.95,
    min_f1_delta: float = -0.03,
    minimum_f1: float = 0.85,
    margin: float = 0.0,
    minimum_support: int = 5,
    seed: int = 0,
) -> None:
    """Train, judge and, where it wins, deploy a text classifier.

    Args:
        data: Labelled text: a CSV, TSV, JSON, JSONL or Parquet file, a folder or a pattern; a path or a gs:// URI.
        registry_uri: The model registry, which decides who is champion.
        deployment_uri: Where the champion is served from.
        base_model: The encoder to fine-tune: a directory, a gs:// URI or a Hugging Face hub id.
        model_name: The registry's name for this classifier; one name, one taxonomy.
        text_field: Column of the text, a path (note.body), or a template ({title}: {note}).
        label_field: Column or path that holds the label.
        id_field: Column or path that holds the row's id; empty: made from the text.
        source_field: Column or path that says where a row came from, reported as a slice; empty: none.
        split_field: Column that says train, valid or test; where it is empty, the hash of the text decides.
        test_data: Files like data whose rows judge the model; empty: a part of data does.
        taxonomy: YAML or JSON file with the labels; empty: inferred from the data and written out.
        source_format: csv, tsv, json, jsonl, parquet or a transformer's name; empty: by each file's ending.
        delimiter: Of CSV files; empty: found.
        encoding: Of text files.
        mask_personal_data: Replace e-mail addresses, phone numbers, URLs and @names before anything is written.
        max_characters: Longer texts are quarantined; 0 allows any.
        max_rejected_fraction: Stop if a larger share of the rows is quarantined.
        near_duplicate_threshold: Drop training rows so similar to a validation or test row; 0 looks for none.
        rows: Rows to use, the same ones every time; 0 for all.
        minimum_rows: Fewest usable rows to go on with.
        valid_fraction: Part of the rows that chooses the best epoch.
        test_fraction: Part of the rows that judges.
        max_per_label: Most training rows a label; 0 for all.
        min_per_label: Leave out inferred labels with fewer texts; with a taxonomy, stop.
        upload_root: Where to keep a copy of the dataset, below training-data/; empty: nowhere.
        rank: LoRA rank.
        alpha: LoRA alpha.
        dropout: LoRA dropout.
        target_modules: "all-linear", or module names separated by commas.
        epochs: Passes over the training rows.
        batch_size: Rows a step.
        learning_rate: Peak learning rate.
        warmup_fraction: Part of the steps during which the learning rate rises.
        max_length_tokens: Longest input in tokens; longer texts are cut.
        precision: auto, bf16 or fp32.
        use_class_weights: Let a row weigh as much as the dataset's weight of its label.
        quantize: Add an int8 graph and prefer it.
        min_agreement: Least share of labels on which a graph must agree with PyTorch.
        min_f1_delta: Lowest macro-F1 difference of a graph to PyTorch.
        minimum_f1: Macro-F1 that a first champion needs.
        margin: Macro-F1 by which a challenger must surely be better than the champion.
        minimum_support: Test rows that every label needs.
        seed: Seed of training and bootstrap.
    """
    champion = resolve_champion(model_name=model_name, registry_uri=registry_uri)
    named(champion, "Resolve champion")
    fingerprinted = fingerprint_data(
        data=data,
        test_data=test_data,
        taxonomy=taxonomy,
        source_format=source_format,
        tokenizer=base_model,
        upload_root=upload_root,
    )
    # The champion is pinned before anything else is done: it is what this run will be compared with.
    named(fingerprinted.after(champion), "Fingerprint data")
    dataset = build_dataset(
        data=data,
        text_field=text_field,
        label_field=label_field,
        id_field=id_field,
        source_field=source_field,
        split_field=split_field,
        test_data=test_data,
        taxonomy=taxonomy,
        source_format=source_format,
        delimiter=delimiter,
        encoding=encoding,
        mask_personal_data=mask_personal_data,
        max_characters=max_characters,
        # The report says how many texts training will cut.
        tokenizer=base_model,
        max_length_tokens=max_length_tokens,
        max_rejected_fraction=max_rejected_fraction,
        near_duplicate_threshold=near_duplicate_threshold,
        rows=rows,
        minimum_rows=minimum_rows,
        valid_fraction=valid_fraction,
        test_fraction=test_fraction,
        max_per_label=max_per_label,
        min_per_label=min_per_label,
        upload_root=upload_root,
        data_fingerprint=fingerprinted.output,
    )
    named(dataset, "Build dataset")
    trained = train_lora(
        dataset=dataset.outputs["dataset"],
        base_model=base_model,
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
    named(trained, "Fine-tune with LoRA")
    exported = export_onnx(model=trained.outputs["model"], quantize=quantize)
    named(exported, "Export to ONNX")
    checked = validate_parity(
        model=trained.outputs["model"],
        dataset=dataset.outputs["dataset"],
        draft=exported.outputs["package"],
        min_agreement=min_agreement,
        min_f1_delta=min_f1_delta,
    )
    named(checked, "Validate parity")
    package = checked.outputs["package"]
    evaluated = evaluate_model(
        dataset=dataset.outputs["dataset"],
        package=package,
        champion=champion.outputs["champion"],
        seed=seed,
    )
    named(evaluated, "Evaluate")
    gate = gate_model(
        predictions=evaluated.outputs["predictions"],
        minimum_f1=minimum_f1,
        margin=margin,
        minimum_support=minimum_support,
        seed=seed,
    )
    named(gate, "Gate")
    with dsl.If(gate.outputs["Output"] == "promote", name="promote"):
        candidate = register_candidate(
            package=package,
            verdict=gate.outputs["verdict"],
            model_name=model_name,
            registry_uri=registry_uri,
        )
        named(candidate, "Register candidate")
        deployed = deploy(
            package=package, model_name=model_name, model_version=candidate.output, deployment_uri=deployment_uri
        )
        named(deployed, "Deploy")
        smoked = smoke_test(
            package=package, model_name=model_name, model_version=candidate.output, deployment_uri=deployment_uri
        )
        named(smoked.after(deployed), "Smoke test")
        confirmed = confirm_champion(
            package=package,
            model_name=model_name,
            model_version=candidate.output,
            expected_version=champion.outputs["Output"],
            registry_uri=registry_uri,
            deployment_uri=deployment_uri,
        )
        named(confirmed.after(smoked), "Confirm champion")
    with dsl.Else(name="otherwise"):
        named(report_verdict(verdict=gate.outputs["verdict"]), "Report verdict")
