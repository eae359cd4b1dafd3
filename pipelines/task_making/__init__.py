"""Task making: evaluation tasks about what a corpus says, `tutelage tasks make`.

    published corpus ─► documents drawn by seed ──┐                       ┌─► cloze.py: rules, without a model
    held-out documents (`holdout:`) ──────────────┴─► texts ─► questions ─┤
             │                                                            └─► written.py: any synthesizer
             │                                                                        │
             │                                    verify.py: refused, with a reason ◄─┤
             │                                                                        ▼
             │                                     wrong options of other documents (options.py)
             │                                                                        ▼
             │                            refused if a base model answers without the text
             │                                                                        ▼
             └─► perplexity ──────────────────────────► rows (rows.py) ─► task directory and card (folder.py)

Every choice comes from the corpus's seed or from a hash, so that equal inputs and answers give equal bytes.
"""
