"""Self-contained HTML pages: what is given is escaped, and nothing is loaded from elsewhere."""

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from jinja2.loaders import ChoiceLoader

SHARED = PrefixLoader({"shared": PackageLoader("darkroom.output", ".")})
"""What pages share: shared/page.css, their colours, letters and pictures under a slider."""


def find_pages(package: str) -> Environment:
    """Return the templates that lie in a package, set up to escape whatever they are given.

    They have the filters `base64`, for bytes in data addresses, and `integrity`, by which a page's
    security policy names an inline style or script.
    """
    pages = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_replace_surrogates,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(
        base64=lambda data: base64.b64encode(data).decode("ascii"), integrity=_name_integrity
    )
    return pages


def _replace_surrogates(value: Any) -> Any:
    """Show bytes of names that are no UTF-8 by their numbers."""
    if type(value) is str:  # not Markup, which is escaped already
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _name_integrity(code: str) -> str:
    """Return what a page's security policy calls an inline style or script."""
    digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
    return f"sha256-{digest}"
