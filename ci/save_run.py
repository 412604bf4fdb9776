#!/usr/bin/env python3
"""Copy what judging needs of a run into tests/data, with this machine's paths taken out.

Usage: ci/save_run.py RUN tests/data/good/NAME | tests/data/violated/REQUIREMENT/NAME
"""

import re
import sys
from pathlib import Path

from harness.history.rundir import HISTORY, MANIFEST, SCENARIO, load
from harness.vm import guest_image


def main(run: Path, target: Path) -> None:
    """Copy ``run`` to ``target``, and prove that it can still be loaded."""
    manifest = load(run).manifest
    target.mkdir(parents=True)
    for name in (MANIFEST, SCENARIO, HISTORY):
        text = (run / name).read_text()
        for build in (manifest.source.path, manifest.destination.path):
            text = text.replace(build, "/usr/bin/qemu-system-x86_64")
            folder = re.escape(str(Path(build).parent))
            text = re.sub(folder, "/usr", text) if build.startswith("/") else text
        text = text.replace(str(run.absolute()), f"/runs/{target.name}")
        text = text.replace(str(guest_image.CACHE), "/usr/share/guest")
        (target / name).write_text(text)
    load(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
