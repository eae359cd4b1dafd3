"""The part of the wheel that pyproject.toml has no key for: tutelage.pth, which Python reads at its start."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# For `python -m trainer.train` beside a foreign `trainer` (tutelage.py); other programs import nothing.
START = (
    "import sys; a = sys.orig_argv; '-m' in a[:-1] and a[a.index('-m') + 1].partition('.')[0] "
    "in ('schemas', 'plugins', 'pipelines', 'trainer') and __import__('tutelage')\n"
)


class WithStart(build_py):
    """Copies the packages and adds the file, except for an editable install, whose path setuptools writes."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            Path(self.build_lib, "tutelage.pth").write_text(START, encoding="utf-8")


setup(cmdclass={"build_py": WithStart})
