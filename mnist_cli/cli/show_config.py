"""`--show-config`: the options that would be used, and where each comes from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mnist_cli.config.program import Display
from mnist_cli.config.provenance import Setting, as_json, as_toml, settings_of
from mnist_cli.config.sources import Layer
from mnist_cli.runtime.files import write_standard_output

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def show_config(
    program: str,
    layers: list[Layer],
    display: Display,
    *configs: tuple["DataclassInstance", "DataclassInstance"],
    origins: Mapping[str, str] | None = None,
) -> None:
    """Write the options to standard output, as TOML or as a JSON object.

    `configs` are pairs: as it was asked for, and with its defaults resolved. `origins` tells where
    an option comes from that no layer decides, if not from its default.
    """
    listed: list[Setting] = []
    for asked, resolved in configs:
        listed += settings_of(asked, resolved, layers, origins or {})
    title = f"The options of {program}; save this in a file, and --config FILE takes them again."
    write_standard_output(as_json(listed) if display.json else as_toml(listed, title))
