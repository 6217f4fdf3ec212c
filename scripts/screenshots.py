"""Makes the pictures of the README anew: seeds a database, serves its pages, and looks at them in Chromium.

Run as `python -m scripts.screenshots [FOLDER]`; with `--all`, every page at three widths in both themes, to be looked at.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from scripts.shop import seeded
from tests.browser.chromium import ABSENT, chromium, flags
from tests.browser.looks import EMPTY
from tests.browser.looks import seeded as odd
from tests.browser.served import Site, working

IMAGES = Path(__file__).parents[1] / "docs/images"
THEMES = ("light", "dark")
WIDTHS = (1440, 768, 375)


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=IMAGES)
    parser.add_argument("--all", action="store_true", help="every page of the tests, as large as it is")
    options = parser.parse_args()
    path = chromium()
    if path is None:
        sys.exit(ABSENT)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags())
        (_all if options.all else _of_the_shop)(browser, Path(folder), options.folder)
        browser.close()


def _of_the_shop(browser: Browser, folder: Path, to: Path) -> None:
    from scripts import shop  # noqa: PLC0415  # the workflows are in the same module

    with Site(f"sqlite:///{folder}/shop.db", "stepwell", workflows=[shop]) as site, working(site, "worker-1", Path(shop.__file__)):
        addresses = seeded(site)
        door = site.door()
        for name, path in addresses.items():
            for theme in THEMES:
                _take(browser, door.url + path, to / f"{name}-{theme}.png", 1200, theme, whole=False)


def _all(browser: Browser, folder: Path, to: Path) -> None:
    with Site(f"sqlite:///{folder}/odd.db", "stepwell") as site, working(site):
        addresses = odd(site, folder / "gate")
        _take_all(browser, site.door().url, addresses, to)
    with Site(f"sqlite:///{folder}/empty.db", "stepwell", workflows=[]) as site:
        _take_all(browser, site.door().url, {f"empty-{name}": path for name, path in EMPTY.items()}, to)


def _take_all(browser: Browser, url: str, addresses: dict[str, str], to: Path) -> None:
    for name, path in addresses.items():
        for width in WIDTHS:
            for theme in THEMES:
                _take(browser, url + path, to / f"{name}-{width}-{theme}.png", width, theme, whole=True)


def _take(browser: Browser, address: str, picture: Path, width: int, theme: str, *, whole: bool) -> None:
    context = browser.new_context(viewport={"width": width, "height": 760}, reduced_motion="reduce")
    context.add_cookies([{"name": "stepwell_theme", "value": theme, "url": address}])
    page = context.new_page()
    page.goto(address, wait_until="load")
    page.locator("[data-live][data-state=live]").wait_for()
    page.locator("[data-chart]:not([data-keep])").wait_for(state="detached")
    page.screenshot(path=picture, full_page=whole, animations="disabled")
    context.close()
    print(picture)


if __name__ == "__main__":
    main()
