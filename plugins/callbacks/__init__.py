"""Composer callbacks by name, for the `callbacks` section of a training YAML; some are Composer's own.

The registry imports a callback when it is used, so that `domain_eval` can be in the trainer's package.
"""

from plugins.registry import Registry

CALLBACKS = Registry(
    "callback",
    "tutelage.callbacks",
    {
        "domain_eval": "trainer.evaluation.callback:DomainEval",
        "hf_export": "plugins.callbacks.export_while_training:HuggingFaceExport",
        "lr_monitor": "composer.callbacks:LRMonitor",
        "memory_monitor": "composer.callbacks:MemoryMonitor",
        "optimizer_monitor": "composer.callbacks:OptimizerMonitor",
        "runtime_estimator": "composer.callbacks:RuntimeEstimator",
        "speed_monitor": "composer.callbacks:SpeedMonitor",
    },
)
