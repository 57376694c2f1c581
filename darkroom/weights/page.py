"""Web pages that come instead of a file: what they say, and the form that leads to the file."""

from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

STARTS = (b"<!doctype", b"<html")


def looks_like_page(start: bytes) -> bool:
    """Tell from a body's first bytes whether it is HTML, whatever its headers claim."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith(STARTS)


def printable(words: str) -> str:
    """Return foreign words as one line that cannot drive a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())


class Page(HTMLParser):
    """A web page's title and its download form, such as Google Drive puts before large files."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notice the title, the form and its fields."""
        given = {key: value or "" for key, value in attrs}
        if tag == "title":
            self._inside = tag
        elif tag == "form" and given.get("id") == "download-form":
            self._inside, self.action = tag, given.get("action", "")
        elif tag == "input" and self._inside == "form" and given.get("name"):
            self.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Leave the title or the form."""
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        """Collect the title."""
        if self._inside == "title":
            self.title += data

    def submit(self, base: str) -> str | None:
        """Return the URL that the form asks for; None without a form, or if it leaves the site."""
        if self.action is None:
            return None
        target = urlsplit(urljoin(base, self.action))
        if target[:2] != urlsplit(base)[:2]:
            return None
        return target._replace(query=urlencode(self.fields), fragment="").geturl()

    def titled(self) -> str:
        """Return the title for a message, printable and short, or nothing."""
        words = printable(self.title)
        return f" ({words[:60]!r})" if words else ""
