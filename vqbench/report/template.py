"""Our templates: every name, text and reason that is put into one is escaped."""

from __future__ import annotations

import jinja2

from vqbench.report import format as fmt


def render_template(name: str, **values: object) -> str:
    """Fills in a template; `fmt` is there for it. What no file should carry is replaced: control characters and such.

    Args:
        name: a file in `templates`.
        values: what the template names; one that it names and does not get is a bug.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vqbench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return fmt.clean(environment.get_template(name).render(fmt=fmt, **values)) + "\n"
