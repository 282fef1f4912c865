"""Where Debian's Chromium is, and how to start it on a machine without a screen or a network.

The headless shell is Chromium without windows. It takes a third of Chromium's processor time.
"""

import shutil

PROGRAM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.site.test 127.0.0.1",
]
