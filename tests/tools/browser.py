"""Find the browser that the tests drive, or put one there: prints its path."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = ("Google Chrome.app/Contents/MacOS/Google Chrome", "Chromium.app/Contents/MacOS/Chromium")
WANTED = (
    "no Chromium or Chrome was found for the tests in a real JupyterLab; install one (Debian: apt install chromium; "
    "elsewhere: python -m playwright install chromium), or name it in I2V_LAB_CHROMIUM"
)


def playwrights_own() -> str | None:
    """The Chromium that `playwright install` fetched."""
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
    except Exception:  # Playwright is missing, or has no build for this system: then it has no browser either
        return None
    return path if Path(path).is_file() else None


def find_browser() -> str | None:
    """The browser's path, or None."""
    if named := os.environ.get("I2V_LAB_CHROMIUM"):
        return shutil.which(named)  # what a user names is used, or nothing
    in_path = (shutil.which(name) for name in NAMES)
    on_mac = (path for folder in ("/", Path.home()) for app in MAC if (path := f"{folder}/Applications/{app}"))
    return next(filter(None, in_path), None) or next(filter(os.path.isfile, on_mac), None) or playwrights_own()


def install() -> None:
    """Install Debian's Chromium, where we may."""
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        done = subprocess.run(["apt-get", "-q", *command], env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
        if done.returncode:
            return


def main() -> None:
    may = hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get")
    if find_browser() is None and may and not os.environ.get("I2V_LAB_CHROMIUM"):
        install()
    sys.exit(print(path) if (path := find_browser()) else f"error: {WANTED}")


if __name__ == "__main__":
    main()
