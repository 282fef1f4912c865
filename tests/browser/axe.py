"""axe-core (npm, version 4, MPL-2.0) checks whether people with disabilities can use a page."""

from pathlib import Path
from typing import Any

SCRIPT = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
RUN = """async () => (await axe.run()).violations.flatMap(
  (each) => each.nodes.map((node) => `${each.id}: ${node.html}`))"""


def violations(page: Any) -> list[str]:
    """Return the accessibility problems that axe-core finds on a page as it is now."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(SCRIPT)
    found: list[str] = page.evaluate(RUN)
    return found
