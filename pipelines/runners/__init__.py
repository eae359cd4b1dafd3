"""Beam's runners: choosing one, running a pipeline to its end, progress."""
