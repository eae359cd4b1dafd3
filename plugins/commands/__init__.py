"""Commands of `tutelage` by name; the list imports none of their modules."""

from plugins.registry import Registry

COMMANDS = Registry(
    "command",
    "tutelage.commands",
    {
        "chat": "trainer.chat:main",
        "check": "plugins.commands.check:main",
        "completion": "plugins.commands.completion:main",
        "corpus": "pipelines.command:main",
        "demo": "plugins.commands.demo:main",
        "eval": "trainer.evaluation.command:main",
        "export": "trainer.export:main",
        "init": "plugins.commands.init:main",
        "models": "plugins.models.models_command:main",
        "pull": "plugins.hub_copies.command:pull_main",
        "push": "plugins.hub_copies.command:push_main",
        "report": "plugins.report.command:main",
        "tasks": "pipelines.task_making.command:main",
        "tokenizer": "plugins.extend_tokenizer:main",
        "train": "trainer.train:main",
    },
)
