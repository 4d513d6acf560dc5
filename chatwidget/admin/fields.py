"""Form fields for lists and texts that the models keep as JSON: one entry per line."""

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.template.defaultfilters import linebreaksbr
from django.utils.safestring import SafeString
from django.utils.text import slugify

from ..origins import normalise_origin
from .text import visible


class LinesField(forms.Field):
    """A list of texts, one per line; empty lines and repetitions are dropped."""

    widget = forms.Textarea

    def __init__(self, *, rows: int = 4, placeholder: str = "", **kwargs: Any) -> None:
        attrs = {"rows": rows, "placeholder": placeholder, "class": "lines", "spellcheck": "false"}
        super().__init__(required=False, widget=forms.Textarea(attrs=attrs), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, list | dict):
            return "\n".join(self.lines_of(value))
        return value  # what the operator typed, shown again

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value if value is not None else self.of_lines([])
        lines = dict.fromkeys(line.strip() for line in value.splitlines())
        return self.of_lines([line for line in lines if line])

    def lines_of(self, value: Any) -> list[str]:
        """Return the stored value as lines."""
        return [str(entry) for entry in value]

    def of_lines(self, lines: list[str]) -> Any:
        """Return what is stored of the lines typed. Raises ValidationError."""
        return lines


class OriginsField(LinesField):
    """Web origins, kept in the form in which a browser sends them."""

    def of_lines(self, lines: list[str]) -> Any:
        complaints = [complaint for line in lines if (complaint := complain_of_origin(line))]
        if complaints:
            raise ValidationError(complaints[:8])
        return list(dict.fromkeys(normalise_origin(line) for line in lines))


def complain_of_origin(line: str) -> str:
    """Return what is wrong with a line that should be an origin, and what to write instead."""
    if normalise_origin(line):
        return ""
    shown = f"“{line[:80]}”"
    if line.lower() == "null":
        return f"{shown} is what sandboxed pages send; anyone can send it, so it is not allowed."
    if "*" in line:
        return f"{shown}: a wildcard is not possible. List each site on a line of its own."
    if "://" not in line:
        if meant := normalise_origin(f"https://{line.lstrip('/').partition('/')[0]}"):
            return f"{shown}: the scheme is missing. Write {meant}"
        return f"{shown} is not the address of a site. Write it as https://www.example.com"
    if not line.lower().startswith(("http://", "https://")):
        return f"{shown}: only https:// and http:// sites can show the widget."
    try:
        parts = urlsplit(line)
        meant = normalise_origin(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    except ValueError:
        meant = None
    if meant:
        return f"{shown}: only scheme, host and port count. Write {meant}"
    return f"{shown} is not the address of a site. Write it as https://www.example.com"


class ReasonsField(LinesField):
    """Reasons to choose from, as `key: label`; a line with a label alone gets its key from it."""

    def lines_of(self, value: Any) -> list[str]:
        return [f"{reason.get('key')}: {reason.get('label')}" for reason in value]

    def of_lines(self, lines: list[str]) -> Any:
        reasons = []
        for line in lines:
            key, colon, label = (part.strip() for part in line.partition(":"))
            label = label if colon else line
            key = key if colon else slugify(line)
            if not key or not label:
                raise ValidationError(f"“{line[:80]}”: write it as key: label")
            reasons.append({"key": key, "label": label})
        keys = [reason["key"] for reason in reasons]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ValidationError(f"The key “{twice}” is there twice.")
        return reasons


class TextsField(LinesField):
    """Texts by name, as `name: text`; a line break within a text is written \\n."""

    def lines_of(self, value: Any) -> list[str]:
        one_line = {name: str(text).replace("\n", r"\n") for name, text in value.items()}
        return [f"{name}: {text}" for name, text in one_line.items()]

    def of_lines(self, lines: list[str]) -> Any:
        texts = {}
        for line in lines:
            name, _colon, text = (part.strip() for part in line.partition(":"))
            if not name or not text:
                raise ValidationError(f"“{line[:80]}”: write it as name: text")
            texts[name] = text.replace(r"\n", "\n")
        return texts


def in_lines(form: type[forms.BaseForm], name: str) -> Any:
    """Return a read-only display of what `form` has typed in lines, under the field's label."""
    field = form.base_fields[name]  # type: ignore[attr-defined]  # every form class has them
    assert isinstance(field, LinesField)

    @admin.display(description=field.label or name)
    def lines(_page: Any, row: Any) -> SafeString:
        return linebreaksbr(visible("\n".join(field.lines_of(getattr(row, name)))))

    return lines


class ColorInput(forms.TextInput):
    """The browser's own colour picker."""

    input_type = "color"
