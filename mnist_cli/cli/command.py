"""Typer's commands, with a help that shows options and arguments as one types them."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose help names no Python types."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401
        """Return the parameters; a flag takes no value, and a text is what its metavar says."""
        return _plain(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """Return what stands behind the name of the program in the line of usage."""
        pieces = [self.options_metavar or ""]
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                pieces.append(f"{param.metavar}{'...' if param.nargs != 1 else ''}")
        return pieces


class Group(TyperGroup):
    """A program of several commands, with the same help."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401
        """Return the parameters; a flag takes no value."""
        return _plain(super().get_params(ctx))


def _plain(params: list[Any]) -> list[Any]:
    for param in params:
        if param.param_type_name == "argument":
            vars(param)["display_type_rich"] = _nothing
        elif param.metavar is None and param.is_flag:
            param.metavar = ""
    return params


def _nothing(ctx: Any = None) -> str:  # noqa: ANN401
    return ""
