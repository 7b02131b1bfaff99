"""The frame of every page: one file that loads nothing, light and dark, for screens, phones and paper."""

from tunelane_components.report.templating import fill, style


def page(title: str, body: str, *, head: str = "") -> str:
    """Wrap a whole HTML document around the sections in `body`.

    Its policy lets nothing be loaded and no script run.

    Args:
        title: plain text; the document's title and its first heading.
        body: HTML that is safe already, as `section` of a stage's report gives it.
        head: more HTML for the document's head, such as a style of the caller's own.
    """
    return fill("page.html", title=title, body=body, head=head, style=style())
