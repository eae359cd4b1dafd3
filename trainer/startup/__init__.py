"""From a YAML to a Composer Trainer: checks first, then the heavy imports."""
