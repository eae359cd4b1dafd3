import os
import sys

if sys.argv[:1] == ["-m"] and sys.path[0] == os.getcwd() != os.path.dirname(os.path.dirname(__file__)):
    del sys.path[0]  # `python -m trainer.train` must not take a folder `plugins` that lies there for ours

from trainer.startup import newer_libraries as compat

compat.arrange()  # before anything of this package imports Composer or Streaming
