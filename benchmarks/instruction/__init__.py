"""Study: how much do instruction pairs add to plain text, for equal tokens?

    seed ─► 12 drugs that do not exist, 6 facts each ─► 4 texts a drug, pairs, questions          domain.py
              │
    arm ─► corpus YAML ─► tutelage corpus build ─► training YAML ─► tutelage train                arms.py
              │                            one unit: an arm of a seed                             unit.py
              ▼
    seed-N/ARM.json ─► answers by drug at six points of the training                              measures.py
              │
              ▼
    results.json, report.md, curves.svg: means over seeds, differences, intervals                 report.py

The pairs of the arm `instruction-half` ask about three facts of each drug, drawn by seed ("asked"). Only the
texts state the other three ("told"). The questions of the evaluation have wordings that no pair has.

The primary measure was fixed before the first run: accuracy on questions about asked facts, 12 options, after
the last step, `instruction-half` minus `plain`, with a t-interval over seeds.
"""
