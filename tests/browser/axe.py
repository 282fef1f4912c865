"""axe-core (npm, version 4, MPL-2.0), which looks for what people with disabilities trip over."""

from pathlib import Path
from typing import Any

SCRIPT = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
RUN = """async () => (await axe.run()).violations.flatMap(
  (each) => each.nodes.map((node) => `${each.id}: ${node.html}`))"""


def violations(page: Any) -> list[str]:
    """What it finds on a page, as it is now."""
    page.evaluate(SCRIPT)
    found: list[str] = page.evaluate(RUN)
    return found
