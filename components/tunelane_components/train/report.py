"""The training for people: the learning curve, the base model and the options."""

from tunelane_components.report.charts import Chart, chart, padded
from tunelane_components.report.page import page
from tunelane_components.report.templating import fill
from tunelane_components.train.checkpoint import CheckpointCard, Epoch


def section(card: CheckpointCard) -> str:
    """Show a checkpoint as an HTML fragment; one that was trained elsewhere has no learning curve."""
    best = max(card.history, key=lambda epoch: epoch.valid_macro_f1, default=None)
    return fill(
        "training.html",
        card=card,
        best=best,
        losses=[(float(point.step), point.loss) for point in card.losses],
        loss_chart=_loss_chart(card),
        scores=[(float(epoch.epoch), epoch.valid_macro_f1) for epoch in card.history],
        score_chart=_score_chart(card.history),
    )


def render(card: CheckpointCard) -> str:
    """Show a checkpoint as a whole page."""
    return page(f"Fine-tuned from {card.base_model.uri}" if card.history else card.base_model.uri, section(card))


def _loss_chart(card: CheckpointCard) -> Chart | None:
    if not card.losses:
        return None
    steps = [point.step for point in card.losses] + [epoch.step for epoch in card.history]
    # From 0: how much of the loss is gone is the point.
    return chart((0, max(steps)), (0, 1.05 * max(point.loss for point in card.losses)), whole_x=True)


def _score_chart(history: tuple[Epoch, ...]) -> Chart | None:
    if not history:
        return None
    epochs = [epoch.epoch for epoch in history]
    low, high = padded(epoch.valid_macro_f1 for epoch in history)
    return chart((min(epochs) - 0.5, max(epochs) + 0.5), (max(low, 0), min(high, 1)), whole_x=True)
