"""What a state looks like, kept in `baselines/`, and compared by the browser itself.

`make baselines` takes them anew, to be looked at before they are committed. Pictures of another
Chromium or other fonts differ everywhere, so with those nothing is compared.
"""

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

BASELINES = Path(__file__).with_name("baselines")
MADE_WITH = BASELINES / "made-with.json"
RENEW = os.environ.get("BASELINES") == "renew"
LOUD, FEW = 48, 150
"""A pixel differs where a channel differs by more than LOUD of 255; up to FEW pixels may."""

LOOKS = {
    (size, scheme): viewport
    for size, viewport in {"desktop": (1280, 800), "phone": (360, 640)}.items()
    for scheme in ("light", "dark")
}


def _source(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def side_by_side(table: Page, pictures: list[bytes]) -> bytes:
    """Return the pictures as one. `table` is an empty page of the same browser."""
    images = "".join(f'<img src="{_source(picture)}">' for picture in pictures)
    style = "margin:0;display:flex;gap:8px;background:#888;width:max-content;align-items:start"
    table.set_content(f'<!doctype html><body style="{style}">{images}</body>')
    table.evaluate("Promise.all([...document.images].map((one) => one.decode()))")
    return table.locator("body").screenshot(animations="disabled")


def made_with(table: Page) -> dict[str, Any]:
    """Return what decides how letters are drawn: the browser, and how wide its fonts are."""
    browser = table.context.browser
    assert browser
    table.set_content("<body></body>")
    widths = table.evaluate(
        """() => {
          const context = document.createElement('canvas').getContext('2d');
          return ['16px system-ui', '650 16px sans-serif', '13px monospace'].map((font) => {
            context.font = font;
            return Math.round(context.measureText('Hamburgefonstiv مرحبا שלום').width * 100) / 100;
          });
        }"""
    )
    return {"chromium": browser.version.split(".")[0], "widths": widths}


def differing(table: Page, one: bytes, other: bytes) -> int:
    """Return how many pixels differ; -1 where the sizes do."""
    count: int = table.evaluate(
        """async ([sources, loud]) => {
          const [a, b] = await Promise.all(sources.map(async (source) => {
            const image = new Image();
            image.src = source;
            await image.decode();
            const canvas = new OffscreenCanvas(image.width, image.height);
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            return context.getImageData(0, 0, image.width, image.height);
          }));
          if (a.width !== b.width || a.height !== b.height) return -1;
          let count = 0;
          for (let i = 0; i < a.data.length; i += 4) {
            count += [0, 1, 2].some((j) => Math.abs(a.data[i + j] - b.data[i + j]) > loud);
          }
          return count;
        }""",
        [[_source(one), _source(other)], LOUD],
    )
    return count


def compare(table: Page, name: str, picture: bytes) -> None:
    """Hold `picture` to the one that is kept; fail and leave it somewhere, or skip."""
    kept = BASELINES / f"{name}.png"
    now = made_with(table)
    if RENEW:
        BASELINES.mkdir(exist_ok=True)
        kept.write_bytes(picture)
        MADE_WITH.write_text(json.dumps(now, indent=2) + "\n")
        return
    then = json.loads(MADE_WITH.read_text())
    if now != then:
        pytest.skip(f"the pictures were made with {then}, here is {now}")
    count = differing(table, kept.read_bytes(), picture)
    if not 0 <= count <= FEW:
        seen = Path(tempfile.mkdtemp(prefix="chatwidget-look-")) / f"{name}.png"
        seen.write_bytes(picture)
        pytest.fail(f"{name} looks different in {count} pixels: compare {seen} with {kept}")
