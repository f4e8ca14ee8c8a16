"""Self-contained HTML pages, from jinja2 templates that stand beside the code that fills them."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render_page(template: Path, *folders: Path, **values: Any) -> str:  # noqa: ANN401 (a template takes anything)
    """Return a page: a template filled with values, which are escaped as HTML.

    The template includes its style and its script from files in its folder, or in one of the given
    folders. In it, `{{ data | tojson }}` is JSON that is safe inside a script element, and
    `{{ text | csp_hash }}` is the hash of an inline script or style for a Content-Security-Policy.
    Surrogates, which stand for undecodable bytes of a file name, become escapes.

    Raises:
        UndefinedError: the template uses a value that is not given.

    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["csp_hash"] = _csp_hash
    page = environment.get_template(template.name).render(values)
    return page.encode(errors="backslashreplace").decode()


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
