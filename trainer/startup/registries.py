"""Optimizers, schedulers, algorithms and loggers by name; listing names imports nothing heavy."""

from plugins.registry import Registry

OPTIMIZERS = Registry(
    "optimizer",
    "tutelage.optimizers",
    {
        # Multiplies weights by 1 - weight_decay·(lr/lr_max) a step: 1e-5 is usual, 0.1 ruins the model.
        "decoupled_adamw": "trainer.model.decoupled_adamw:DecoupledAdamW",
        # Multiplies weights by 1 - weight_decay·lr a step: papers mean this by a weight decay of 0.1.
        "adamw": "torch.optim:AdamW",
    },
)

SCHEDULERS = Registry(
    "scheduler",
    "tutelage.schedulers",
    {
        "constant_with_warmup": "composer.optim:ConstantWithWarmupScheduler",
        "cosine_with_warmup": "composer.optim:CosineAnnealingWithWarmupScheduler",
        "linear_decay_with_warmup": "composer.optim:LinearWithWarmupScheduler",
    },
)

ALGORITHMS = Registry(
    "algorithm", "tutelage.algorithms", {"gradient_clipping": "composer.algorithms:GradientClipping"}
)

LOGGERS = Registry(
    "logger",
    "tutelage.loggers",
    {
        "file": "composer.loggers:FileLogger",
        "jsonl": "trainer.reporting.metrics_jsonl:MetricsFile",
        "tensorboard": "composer.loggers:TensorboardLogger",
        "wandb": "composer.loggers:WandBLogger",
    },
)
