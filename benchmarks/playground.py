"""Script time of the playground's frames, in the browser that a reader has.

Run as ``python benchmarks/playground.py [--frames N]`` on the built site (`make book`). It plays
each of the six experiments in headless Chromium and prints, in milliseconds, the median, the 95th
percentile and the largest time that a frame spends in the page's script: steps of both networks,
scores and drawing. The project promises at most 16 at default settings, which is the first row.
On a busy machine the browser's process is interrupted, and the largest times are the machine's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PAGE = Path(__file__).parents[1] / "_build" / "html" / "chapters" / "playground.html"
PHONE = {"width": 360, "height": 740}
LIMIT = 16.0

COLLECT = """async ([settings, frames]) => {
  const game = bnPlay.game, times = [];
  game.change(settings);
  if (!game.playing) game.toggle();
  game.target = 1e9;
  while (times.length < frames) {
    game.spent = null;
    await new Promise(requestAnimationFrame);
    if (game.spent !== null && game.spent !== undefined) times.push(game.spent);
  }
  game.toggle();
  return times;
}"""


def measure(tab: Page, settings: dict[str, object], frames: int) -> list[float]:
    """Milliseconds of script in each of `frames` frames while playing."""
    times: list[float] = tab.evaluate(COLLECT, [settings, frames])
    return sorted(times)


def main() -> int:
    """Measure and print; 1 if a default frame is longer than promised, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300, help="frames per experiment")
    frames = parser.parse_args().frames
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not PAGE.is_file() or program is None:
        print("This needs the built site (`make book`) and Chromium.")
        return 2
    print(f"load average {os.getloadavg()[0]:.1f}; {frames} frames each; milliseconds of script")
    print(f"{'':12}{'median':>8}{'95%':>8}{'largest':>9}")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport=PHONE, device_scale_factor=3)
        tab.goto(PAGE.as_uri())
        presets = tab.evaluate(
            "() => [['default', {}], ...bnPlay.presets.ALL.map(({ id, to }) => [id, to])]"
        )
        start = tab.evaluate("() => bnPlay.state.START")
        slow = False
        for name, changes in presets:
            times = measure(tab, start | changes, frames)
            usual = times[int(0.95 * len(times))]
            print(f"{name:12}{statistics.median(times):8.1f}{usual:8.1f}{times[-1]:9.1f}")
            slow |= name == "default" and usual > LIMIT
        browser.close()
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main())
