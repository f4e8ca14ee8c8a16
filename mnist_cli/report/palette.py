"""Colours that the colour-blind can tell apart (Okabe & Ito 2008), darkened for lines."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6b6b6b", "#8a5a44")


def colour(place: int) -> str:
    """Return the colour of what has this place, from 0 on, in an order."""
    return COLOURS[place % len(COLOURS)]
