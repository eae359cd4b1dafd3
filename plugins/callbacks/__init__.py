"""Composer callbacks by name, as a training YAML's `callbacks` section gives them.

`lr_monitor` and its kin are Composer's own. A target is only a name until it is loaded, so that
`domain_eval` can live beside the scoring it calls.
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
