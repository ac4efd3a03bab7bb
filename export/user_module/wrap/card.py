"""The card of a wrapped bundle: what is known of it, and that nothing else is."""

from collections.abc import Mapping

from export.user_module.wrap.options import WrapOptions


def wrapped_card(options: WrapOptions, way: str, reason: str, num_parameters: int, facts: Mapping[str, str]) -> str:
    """Markdown.

    Args:
        options: what the user asked for.
        way: "native" or "wrapped".
        reason: why that way.
        num_parameters: of the module.
        facts: more lines of the table.
    """
    name = options.to.name
    rows = {
        "task": options.task,
        "made of": f"`{options.reference}`, trained elsewhere",
        "parameters": f"{num_parameters:,}",
        "bundle": f"{way}: {reason}",
        **facts,
    }
    if options.labels:
        rows["labels"] = ", ".join(options.labels)
    if options.languages is not None:
        rows["languages"] = f"{options.languages.source} to {options.languages.target}"
    lines = [f"# {name}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    parity = "Its graphs answer as PyTorch does with the module's own forward; the figures are in each set's manifest."
    unknown = "Data, licence, metrics and limits are not known here: whoever trained the model knows them."
    return "\n".join([*lines, "", parity, "", unknown, ""])
