"""Sphinx: `make docs` builds the site, every warning an error."""

import importlib.metadata
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from generate_reference import generate  # noqa: E402

generate(HERE / "reference")

project = "Tutelage"
copyright = "The Tutelage authors, Apache-2.0"
version = release = importlib.metadata.version("tutelage")

extensions = ["myst_parser"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"Tutelage {release}"
