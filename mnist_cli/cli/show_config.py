"""`--show-config`: the options that would be used, and where each comes from."""

from typing import TYPE_CHECKING

from mnist_cli.cli.options import Display
from mnist_cli.files import write_standard_output
from mnist_cli.origins import DEFAULT, Setting, as_json, as_toml, settings_of
from mnist_cli.settings import Layer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def show_config(
    program: str,
    layers: list[Layer],
    display: Display,
    *configs: tuple["DataclassInstance", "DataclassInstance"],
    base: str = DEFAULT,
) -> None:
    """Write the options to standard output, as TOML or as a JSON object.

    `configs` are pairs: as it was asked for, and with its defaults resolved. What `base` names
    decides what no layer does.
    """
    listed: list[Setting] = []
    for asked, resolved in configs:
        listed += settings_of(asked, resolved, layers, base)
    title = f"The options of {program}; save this in a file, and --config FILE takes them again."
    write_standard_output(as_json(listed) if display.json else as_toml(listed, title))
