"""The domain tasks of AdaptLLM and Instruction Pre-Training, one declaration each, by domain.

Rows come from the Hub sets AdaptLLM/medicine-tasks, finance-tasks and law-tasks, or from a directory in
their place (`--tasks-root`). Kinds, numbers of options and metrics are those of the papers.

Sources: Cheng et al. 2024, arXiv 2309.09530 and arXiv 2406.14491; the sets' own cards.
"""
