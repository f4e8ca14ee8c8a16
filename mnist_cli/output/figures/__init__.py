"""Figures, drawn by matplotlib, and the colours that web pages share with them."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6b6b6b", "#8a5a44")


def colour(index: int) -> str:
    """Return the colour of the series with an index."""
    return COLOURS[index % len(COLOURS)]
