import os
import sys

if sys.argv[:1] == ["-m"]:  # Python looks for the module that it will run
    import tutelage  # noqa: F401  # our packages before others of their names; in a checkout nothing has done it yet

    if sys.path[0] == os.getcwd() != os.path.dirname(os.path.dirname(__file__)):
        del sys.path[0]  # nor may a folder `datasets` or `tokenizers` there be taken for a library

from trainer.startup import newer_libraries as compat

compat.arrange()  # before anything of this package imports Composer or Streaming
