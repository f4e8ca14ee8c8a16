"""The checks of `python -m mnist_cli doctor`."""
