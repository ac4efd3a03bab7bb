"""What a forecaster's card says."""

from typing import Any

from models.network.forecaster import Forecaster
from training.card import CardParts, cell_name
from training.data.series import SeriesCorpus


def card_parts(model: Forecaster, corpus: SeriesCorpus, sizes: dict[str, int], details: dict[str, Any]) -> CardParts:
    """The task's part of the card.

    Args:
        model: the network that is published.
        corpus: the series.
        sizes: what was read.
        details: the comparison with ETS, where it was made.
    """
    config = model.config
    sections = {}
    if "drawn" in details:
        rows = [
            f"| {name} | {figures['mase']:.3f} | {figures['wql']:.4f} |"
            for name, figures in details["drawn"].items()
            if name != "forecasts"
        ]
        sections[f"Beside ETS, on {details['drawn']['forecasts']} drawn forecasts"] = "\n".join(
            ["| | MASE | WQL |", "|---|---|---|", *rows]
        )
    calendar = "" if corpus.has_dates else " The file has no dates, so the calendar is not among the inputs."
    return CardParts(
        what=f"A recurrent forecaster of series with the frequency {config.frequency}: the next {config.horizon} "
        "values, as nine quantiles and their mean.",
        data=f"- {corpus.origin.title} ({corpus.name}), from {corpus.origin.upstream}. Licence as the source states "
        f"it: {corpus.origin.licence}.\n- {sizes['series']:,} series: {sizes['train_values']:,} values for training, "
        f"{sizes['validation_values']:,} at the ends of the series for validation.{calendar}\n",
        architecture=f"Causal scaling by the average difference to {config.season} steps before; {config.num_layers} x "
        f"{cell_name(config.kind)}, hidden size {config.hidden_size}; a layer of {config.head_size} "
        f"over it and the latest {config.window} values; a head of {config.horizon} x 9 quantiles",
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        measured=f"From {sizes['validation_forecasts']:,} places, {config.horizon} steps apart, in the validation "
        "part, with the weights as they are published, by PyTorch; each series read from its beginning. MASE is the "
        "mean absolute error of the median, divided by the mean absolute difference of "
        f"{config.season} step{'s' if config.season > 1 else ''} in the series' training part (Hyndman & Koehler "
        "2006), averaged over the forecasts; WQL is the quantile loss, doubled, over the sum of the absolute values, "
        "averaged over the nine quantiles. The mean is the average of the quantiles. Seasonal naive repeats the last "
        "season.",
        sections=sections,
        limits="It knows series like those it was trained on. It does not know what is not in the past of the series: "
        "holidays, prices, a pandemic. Quantiles are calibrated on average, not for each series. Numbers are float32: "
        "of a series whose changes are below a millionth of its level, little is seen. Do not decide on it alone where "
        "somebody may come to harm.",
    )
