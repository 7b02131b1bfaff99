"""LoRA fine-tuning (Hu et al. 2021, arXiv:2106.09685) of a sequence classifier, with peft and transformers' Trainer."""

import math
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunelane_components.etl.dataset import read_split, read_summary, read_taxonomy
from tunelane_components.etl.record import Record
from tunelane_components.evaluate.metrics import single_label_macro_f1
from tunelane_components.train.base_model import described, fetch_base_model
from tunelane_components.train.checkpoint import (
    CheckpointCard,
    Epoch,
    LossPoint,
    load_tokenizer,
    name_outputs,
    one_line,
    require_length,
    write_card,
)
from tunelane_components.train.environment import prepare_torch_environment
from tunelane_components.train.progress import Step, epoch_line, step_line
from tunelane_components.train.replicas import Replicas, find_replicas, torch_variables
from tunelane_serving.cores import usable_cores
from tunelane_serving.errors import InputError
from tunelane_serving.files import directory_written_atomically
from tunelane_serving.taxonomy import Taxonomy


@dataclass(frozen=True)
class LoraOptions:
    """How to train.

    `target_modules` is "all-linear" or comma-separated module names; `warmup_fraction` is the part of all steps during
    which the learning rate rises; `precision` is auto, bf16 or fp32 (auto: bf16 where the hardware multiplies it);
    `use_class_weights` weighs the loss of a row by the dataset's weight of its label, so that rare labels count more.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.1
    target_modules: str = "all-linear"
    epochs: int = 2
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_fraction: float = 0.1
    max_length_tokens: int = 128
    precision: str = "auto"
    use_class_weights: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "alpha", "epochs", "batch_size", "max_length_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be above 0 and finite, not {self.learning_rate}.")
        for name in ("dropout", "warmup_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must be at least 0 and below 2**32, not {self.seed}.")
        if self.precision not in ("auto", "bf16", "fp32"):
            raise InputError(f"precision must be auto, bf16 or fp32, not {self.precision!r}.")


def train_lora(dataset: Path, base_model: str, output: Path, options: LoraOptions) -> CheckpointCard:
    """Fine-tune `base_model` on the train split, keep the best epoch by validation macro-F1, merge, and save.

    Several replicas (see `replicas`) share the rows of each step and average their gradients; all give the same card.

    Args:
        dataset: a dataset directory as `build_dataset` writes it.
        base_model: a directory, a `gs://` URI or a hub id of an encoder.
        output: the checkpoint directory to write, atomically; written by the chief of several replicas alone.
        options: hyperparameters.

    Raises:
        InputError: the base model cannot be had, is not one that a sequence classifier can be made from, or training
            diverged, or the dataset has several labels a row, or a step's rows cannot be shared evenly.
    """
    replicas = find_replicas()
    if options.batch_size % replicas.count:
        raise InputError(
            f"batch_size {options.batch_size} cannot be shared by {replicas.count} replicas. Pass a multiple of that."
        )
    os.environ.update(torch_variables(replicas))
    prepare_torch_environment()
    import torch
    import transformers
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    torch.set_num_threads(usable_cores())
    taxonomy, summary = read_taxonomy(dataset), read_summary(dataset)
    if summary.options.multi_label:
        raise InputError(
            "The dataset has several labels a row, which train_lora cannot learn. Build it without multi_label."
        )
    train, valid = read_split(dataset, "train"), read_split(dataset, "valid")
    with (
        tempfile.TemporaryDirectory() as scratch,
        directory_written_atomically(_own_output(output, Path(scratch), replicas)) as checkpoint,
    ):
        source = fetch_base_model(base_model, Path(scratch) / "base_model")
        transformers.set_seed(options.seed)
        base, tokenizer = _with_head(source, taxonomy), load_tokenizer(source)
        require_length(base, tokenizer, options.max_length_tokens)
        model = _with_adapters(base, options)
        on_gpu = torch.cuda.is_available()
        history: list[Epoch] = []
        losses: list[LossPoint] = []
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(Path(scratch) / "trainer"),
                num_train_epochs=options.epochs,
                per_device_train_batch_size=options.batch_size // replicas.count,
                per_device_eval_batch_size=64,
                learning_rate=options.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=options.warmup_fraction,
                train_sampling_strategy="group_by_length",
                bf16=_uses_bf16(options.precision),
                use_cpu=not on_gpu,
                eval_strategy="epoch",
                save_strategy="epoch",
                save_total_limit=1,
                # Their disks are their own, and each goes back to its best epoch.
                save_on_each_node=replicas.count > 1,
                load_best_model_at_end=True,
                metric_for_best_model="macro_f1",
                greater_is_better=True,
                logging_steps=1 / (10 * options.epochs),  # of all steps: ten lines an epoch
                disable_tqdm=True,
                report_to="none",
                seed=options.seed,
            ),
            train_dataset=_encoded(train, tokenizer, taxonomy, options.max_length_tokens),
            eval_dataset=_encoded(valid, tokenizer, taxonomy, options.max_length_tokens),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda answer: {
                "macro_f1": single_label_macro_f1(answer.label_ids, answer.predictions.argmax(-1), len(taxonomy.labels))
            },
            callbacks=[_progress(history, losses)],
            compute_loss_func=_weighted_loss(summary.class_weights, taxonomy) if options.use_class_weights else None,
        )
        _drop_default_printer(trainer)
        trainer.train()
        merged = trainer.model.merge_and_unload()
        if not all(weight.isfinite().all() for weight in merged.parameters()):
            raise InputError(
                f"Training diverged: a weight is not finite. Lower learning_rate (now {options.learning_rate})."
            )
        name_outputs(merged, taxonomy)
        merged.save_pretrained(checkpoint)
        tokenizer.save_pretrained(checkpoint)
        best = max(history, key=lambda epoch: epoch.valid_macro_f1)
        card = CheckpointCard(
            taxonomy=taxonomy,
            base_model=described(base_model, source),
            max_length_tokens=options.max_length_tokens,
            data_digest=summary.digest,
            metrics={"valid_macro_f1": best.valid_macro_f1, "best_epoch": best.epoch, "train_rows": len(train)},
            options=asdict(options),
            history=tuple(history),
            losses=tuple(losses),
        )
        write_card(checkpoint, card)
    return card


def _own_output(output: Path, scratch: Path, replicas: Replicas) -> Path:
    """Where a replica writes: what all of them share is the chief's to write."""
    return output if replicas.is_chief else scratch / "not-the-chiefs"


def _with_head(source: Path, taxonomy: Taxonomy) -> Any:
    """Load the base model with a classification head: a new one, unless it has one of that many labels."""
    from transformers import AutoModelForSequenceClassification

    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            source,
            num_labels=len(taxonomy.labels),
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers, safetensors and torch each raise their own
        raise InputError(f"base_model {source} cannot be read as a classifier: {one_line(error)}") from error
    made_up = [*found["missing_keys"], *(mismatch[0] for mismatch in found["mismatched_keys"])]
    # Checkpoints of language models have no pooler; without any other weight of the encoder there is nothing to tune.
    encoder = f"{model.base_model_prefix}."
    lacking = sorted(name for name in made_up if name.startswith(encoder) and "pooler" not in name)
    if lacking:
        raise InputError(f"base_model {source} has no weights for {lacking[0]} ({len(lacking)} are missing).")
    return model


def _with_adapters(model: Any, options: LoraOptions) -> Any:
    """Put LoRA adapters on the model; they and the head are all that is trained."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    names = [name.strip() for name in options.target_modules.split(",")]
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear" if names == ["all-linear"] else names,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
        there = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise InputError(
            f"target_modules {options.target_modules!r}: no such module. Pass all-linear, or some of: {there}."
        ) from error


def _encoded(records: list[Record], tokenizer: Any, taxonomy: Taxonomy, max_length_tokens: int) -> list[dict[str, Any]]:
    """Token ids and label index of each record; padding is left to the collator, which pads a batch to its longest."""
    index = {name: position for position, name in enumerate(taxonomy.names)}
    encodings = tokenizer([record.text for record in records], truncation=True, max_length=max_length_tokens)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": index[record.labels[0]]}
        for record, ids, mask in zip(records, encodings["input_ids"], encodings["attention_mask"], strict=True)
    ]


def _uses_bf16(precision: str) -> bool:
    """Whether to train under bf16 autocast: auto means only where the hardware multiplies bf16 natively."""
    import torch

    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    flags = Path("/proc/cpuinfo").read_text(errors="replace") if Path("/proc/cpuinfo").exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def _weighted_loss(weights: Mapping[str, float], taxonomy: Taxonomy) -> Any:
    """Cross-entropy in which each row weighs as much as its label; a label without a weight has no rows to weigh."""
    import torch

    by_label = torch.tensor([weights.get(name, 1.0) for name in taxonomy.names])

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:  # noqa: ARG001  the Trainer passes it
        logits = outputs.logits
        weight = by_label.to(device=logits.device, dtype=logits.dtype)
        return torch.nn.functional.cross_entropy(logits, labels, weight=weight)

    return loss


def _drop_default_printer(trainer: Any) -> None:
    """Keep the Trainer from printing every log dict raw; `_progress` says the same in words."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def _progress(history: list[Epoch], losses: list[LossPoint]) -> Any:
    """Make a Trainer callback that logs step, loss, validation F1 and time left, and fills `history` and `losses`."""
    import logging

    from transformers import TrainerCallback

    logger = logging.getLogger(__name__)
    started_s = time.monotonic()
    epoch_losses: list[float] = []

    class Progress(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
        """One line a log step and one an epoch."""

        def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" not in logs:
                return
            epoch_losses.append(logs["loss"])
            losses.append(LossPoint(state.global_step, logs["loss"]))
            elapsed_s = time.monotonic() - started_s
            left_s = elapsed_s / max(state.global_step, 1) * (state.max_steps - state.global_step)
            logger.info(step_line(Step(state.global_step, state.max_steps, logs["loss"], left_s)))

        def on_evaluate(self, _args: Any, state: Any, _control: Any, metrics: dict[str, float], **_: Any) -> None:
            epoch = Epoch(
                epoch=round(state.epoch),
                train_loss=sum(epoch_losses) / len(epoch_losses),
                valid_macro_f1=metrics["eval_macro_f1"],
                elapsed_s=round(time.monotonic() - started_s, 1),
                step=state.global_step,
            )
            history.append(epoch)
            epoch_losses.clear()
            logger.info(epoch_line(epoch.epoch, epoch.valid_macro_f1, epoch.elapsed_s))

    return Progress()
