from trainer import compat

compat.arrange()  # before anything of this package imports Composer or Streaming
