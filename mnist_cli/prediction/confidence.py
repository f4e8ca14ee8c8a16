"""Below which probability a reading is uncertain.

A threshold is the highest probability, in hundredths, below which at most 1 % of those held-out
samples fall that were read right. The samples are 10,000 of MNIST's training set, each model is
trained on the others with its defaults, and the test set had no say. The table is printed by
`python -m tests.drawn.threshold`. A model that was trained otherwise may be surer or less sure of
itself; `--uncertain-below` is for that.
"""

THRESHOLDS = {
    "linear": 0.49,  # 97.8% are above, of these 93.59% right; 18% of the mistakes below
    "mlp": 0.73,  # 98.3% are above, of these 99.15% right; 47% of the mistakes below
    "lenet": 0.68,  # 98.5% are above, of these 99.84% right; 77% of the mistakes below
    "cnn": 0.54,  # 98.7% are above, of these 99.82% right; 66% of the mistakes below
    "quick": 0.57,  # 98.5% are above, of these 99.69% right; 63% of the mistakes below
}


def threshold_of(model: str, given: float | None) -> float:
    """Return below which probability a reading by a model is uncertain, unless it is given.

    By a model whose threshold was not measured no reading is uncertain but one without a digit.
    """
    return THRESHOLDS.get(model, 0.0) if given is None else given
