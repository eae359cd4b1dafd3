"""The transforms of an increment, in the order of the flow that `pipelines/increment.py` draws."""
