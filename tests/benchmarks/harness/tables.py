"""Pieces of a Markdown page."""

from statistics import median


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def spread(values, format_):
    """Median over the rounds, and the range they had."""
    if not values:
        return "unmeasured"
    text = format_.format(median(values))
    return text if len(values) == 1 else f"{text} ({format_.format(min(values))} – {format_.format(max(values))})"
