"""Loads a page in headless Chromium."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
_PROBE = """<script>
addEventListener("load", () => {
  const images = [...document.images].filter(image => !image.complete || !image.naturalWidth).length
  const asked = performance.getEntriesByType("resource").map(entry => entry.name).filter(n => !n.startsWith("data:"))
  const over = document.documentElement.scrollWidth - innerWidth
  const seen = [...document.querySelectorAll("figure svg")].filter(s => s.getBoundingClientRect().height > 50).length
  const ink = getComputedStyle(document.body).color
  document.title = JSON.stringify({broken: images, asked, over, seen, ink})
})
</script>"""
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,900")


def look(page: Path, scratch: Path, *flags: str) -> tuple[dict[str, Any], list[str]]:
    """Returns properties of the loaded page and the lines of its console."""
    assert CHROMIUM
    watched = page.with_name("watched.html")
    watched.write_text(page.read_text().replace("</body>", f"{_PROBE}</body>"))
    command = [CHROMIUM, *_FLAGS, *flags, f"--user-data-dir={scratch}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run([*command, watched.as_uri()], capture_output=True, text=True, timeout=120)
    watched.unlink()
    found = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert found, done.stderr
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(unescape(found[1])), console
