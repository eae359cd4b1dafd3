"""Choice tasks: our one pass per row against the reference's one pass per option, in one run.

    tutelage models fetch smollm2-135m
    python -m benchmarks.evaluation              # about 10 minutes on one core, 4 GB of memory
    python -m benchmarks.evaluation --heads      # about 5 minutes: rows that begin with the same examples

A seeded generator makes the rows in the shapes of the papers' choice tasks: the same number of options,
similar wording, and prompts as long in tokens as theirs with few-shot examples. Both sides score the same
rows with the same weights in fp32 on the same threads, one after the other:

    reference   one sequence per option: the whole prompt and the option, right-padded; logits and
                log-softmax of all positions, as in inference.py of microsoft/LMOps
    ours        trainer.evaluation, with the batches that it makes

Each side runs at every batch size on the list, and its best one counts. The report gives CPU seconds of all
cores beside wall-clock seconds, because CPU seconds vary less when other work runs. It also gives the number
of equal predictions and the largest difference between two scores. Tokens are those that pass through the
model, without padding.

With `--heads`, rows have ChemProt's options and share a prefix of the given number of tokens. Both sides are
ours: all rows together, in the groups that trainer.evaluation makes, and each row by itself.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from plugins.tasks.rows import ChoiceRow
from plugins.tokenizers import load_tokenizer, pad_token_id
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.causal_model import CausalModel, as_causal_model, evaluating
from trainer.evaluation.scoring.choice import plan_choices, run_choices
from trainer.evaluation.scoring.encoding import right_pad

_SEED = 29
_REFERENCE_BATCHES = (1, 8)  # sequences
_OUR_BATCHES = (1024, 8192)  # tokens
_TEXT = (
    "the patient was given a dose of aspirin and pressure fell after two weeks while the court held that no "
    "company may change its terms without notice to users in which shares of the bank rose by more than gold "
    "protein binds to receptor cells and trial groups were compared with placebo for pain at one year"
)
_WORDS = _TEXT.split()
_SENTIMENT = ("negative", "neutral", "positive")
_RELATIONS = (
    *("part of", "regulator", "upregulator or activator", "downregulator or inhibitor", "agonist"),
    *("antagonist", "modulator", "cofactor", "substrate", "product of", "indirect regulator"),
    *("undefined relation", "no relation"),
)
_ISSUES = (
    *("criminal procedure", "civil rights", "first amendment", "due process", "privacy", "attorneys"),
    *("unions", "economic activity", "judicial power", "federalism", "interstate relations"),
    *("federal taxation", "miscellaneous"),
)
_TERMS = (
    *("limitation of liability", "unilateral termination", "unilateral change", "content removal"),
    *("contract by using", "choice of law", "jurisdiction", "arbitration", "none of these"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Shape of a task's rows: tokens of a prompt, tokens or words of its options."""

    prompt_tokens: int
    options: tuple[str, ...] = ()
    option_words: int = 0
    num_options: int = 0
    has_inputs: bool = False
    num_rows: int = 2


SHAPES = {
    "MQP": Shape(prompt_tokens=500, options=("Yes", "No")),
    "PubMedQA": Shape(prompt_tokens=400, options=("yes", "no", "maybe")),
    "USMLE": Shape(prompt_tokens=200, num_options=4, option_words=6),
    "RCT": Shape(prompt_tokens=400, options=("background", "objective", "methods", "results", "conclusions")),
    "ChemProt": Shape(prompt_tokens=550, options=_RELATIONS, num_rows=1),
    "FPB": Shape(prompt_tokens=200, options=_SENTIMENT),
    "FiQA_SA": Shape(prompt_tokens=160, options=_SENTIMENT),
    "Headline": Shape(prompt_tokens=160, options=("Yes", "No")),
    "SCOTUS": Shape(prompt_tokens=600, options=_ISSUES, num_rows=1),
    "UNFAIR_ToS": Shape(prompt_tokens=260, options=_TERMS),
    "CaseHOLD": Shape(prompt_tokens=160, num_options=5, option_words=25, has_inputs=True),
}


HEADS = ((400, 150), (1200, 150), (150, 400))
"""Tokens that rows have in common at their beginning, and tokens of their own."""


def make_rows(name: str, shape: Shape, num_rows: int, head_tokens: int = 0) -> list[ChoiceRow]:
    """Rows of a shape with a common prefix; a word of the list is about one token."""
    generator = random.Random(f"{_SEED}:{name}")

    def words(count: int) -> str:
        return " ".join(generator.choices(_WORDS, k=count))

    rows = []
    head = f"{words(head_tokens)}\n" if head_tokens else ""
    for number in range(num_rows):
        prompt = f"{head}{words(round(shape.prompt_tokens * generator.uniform(0.8, 1.2)))}\nAnswer:"
        options = shape.options or tuple(words(shape.option_words) for _ in range(shape.num_options))
        inputs = (prompt,) * len(options)
        if shape.has_inputs:
            inputs = tuple(f"{prompt} {option}." for option in options)
            options = (" This is the holding cited.",) * len(options)
        rows.append(
            ChoiceRow(
                row_id=f"{name}:{number}",
                position=f"{name}:{number}",
                inputs=inputs,
                options=options,
                gold=(0,),
                separator="" if shape.has_inputs else " ",
            )
        )
    return rows


def score_by_option(
    rows: Sequence[ChoiceRow], model: Any, tokenizer: Any, batch_size: int
) -> tuple[list[list[float]], int]:
    """Mean log-probabilities of each row's options, one sequence each, and the number of tokens."""
    pad = pad_token_id(tokenizer)
    sequences, starts = [], []
    for row in rows:
        for prompt, option in zip(row.inputs, row.options, strict=True):
            sequences.append(tokenizer(prompt + row.separator + option, add_special_tokens=False).input_ids)
            starts.append(len(tokenizer(prompt, add_special_tokens=False).input_ids))
    found: list[float] = []
    for at in range(0, len(sequences), batch_size):
        batch = sequences[at : at + batch_size]
        tokens_BT, mask_BT = right_pad(batch, pad, model.device)
        logits_BTV = model(input_ids=tokens_BT, attention_mask=mask_BT).logits
        logprobs_BTV = logits_BTV[:, :-1].float().log_softmax(-1)
        logprobs_BT = logprobs_BTV.gather(-1, tokens_BT[:, 1:, None])[..., 0]
        found += [
            float(logprobs_BT[row, start - 1 : len(ids) - 1].mean())
            for row, (ids, start) in enumerate(zip(batch, starts[at : at + batch_size], strict=True))
        ]
    scores = iter(found)
    return [[next(scores) for _ in row.options] for row in rows], sum(map(len, sequences))


def score_rows(
    rows: Sequence[ChoiceRow], model: CausalModel, tokenizer: Any, batch_tokens: int
) -> tuple[list[list[float]], int]:
    """The same by trainer.evaluation."""
    plan = plan_choices(rows, model, tokenizer, add_bos=False, batch_tokens=batch_tokens)
    answers = run_choices(plan, model, tokenizer, num_passes=plan.num_passes)
    return [list(answer.option_scores) for answer in answers if isinstance(answer, Answer)], plan.num_tokens


def best(score: Any, sizes: Sequence[int]) -> dict[str, Any]:
    """Run at the fastest batch size: seconds, CPU seconds, tokens and scores."""
    runs = []
    for size in sizes:
        started, cpu_started = time.perf_counter(), time.process_time()
        scores, tokens = score(size)
        runs.append(
            {
                "sec": time.perf_counter() - started,
                "cpu_sec": time.process_time() - cpu_started,
                "batch": size,
                "tokens": tokens,
                "scores": scores,
            }
        )
    return min(runs, key=lambda run: float(run["sec"]))


def compare(rows: Sequence[ChoiceRow], model: Any, causal: CausalModel, tokenizer: Any) -> dict[str, Any]:
    """Compare both sides on one task's rows."""
    ours = best(lambda size: score_rows(rows, causal, tokenizer, size), _OUR_BATCHES)
    reference = best(lambda size: score_by_option(rows, model, tokenizer, size), _REFERENCE_BATCHES)
    pairs = list(zip(reference["scores"], ours["scores"], strict=True))
    same = sum(a.index(max(a)) == b.index(max(b)) for a, b in pairs)
    return {
        "rows": len(rows),
        "options": len(rows[0].options),
        "reference_sec": round(reference["sec"], 2),
        "reference_cpu_sec": round(reference["cpu_sec"], 2),
        "reference_batch": reference["batch"],
        "reference_tokens": reference["tokens"],
        "our_sec": round(ours["sec"], 2),
        "our_cpu_sec": round(ours["cpu_sec"], 2),
        "our_batch_tokens": ours["batch"],
        "our_tokens": ours["tokens"],
        "times_faster": round(reference["sec"] / ours["sec"], 2),
        "times_less_cpu": round(reference["cpu_sec"] / ours["cpu_sec"], 2),
        "times_fewer_tokens": round(reference["tokens"] / ours["tokens"], 2),
        "same_predictions": f"{same} of {len(pairs)}",
        "largest_difference": max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True)),
    }


def compare_heads(rows: Sequence[ChoiceRow], causal: CausalModel, tokenizer: Any) -> dict[str, Any]:
    """Score rows with a common prefix together, then each by itself."""

    def apart(size: int) -> tuple[list[list[float]], int]:
        found = [score_rows([row], causal, tokenizer, size) for row in rows]
        return [scores for each, _ in found for scores in each], sum(tokens for _, tokens in found)

    alone = best(apart, _OUR_BATCHES[-1:])
    together = best(lambda size: score_rows(rows, causal, tokenizer, size), _OUR_BATCHES[-1:])
    pairs = list(zip(alone["scores"], together["scores"], strict=True))
    same = sum(a.index(max(a)) == b.index(max(b)) for a, b in pairs)
    return {
        "rows": len(rows),
        "alone_sec": round(alone["sec"], 2),
        "alone_cpu_sec": round(alone["cpu_sec"], 2),
        "alone_tokens": alone["tokens"],
        "together_sec": round(together["sec"], 2),
        "together_cpu_sec": round(together["cpu_sec"], 2),
        "together_tokens": together["tokens"],
        "times_faster": round(alone["sec"] / together["sec"], 2),
        "times_less_cpu": round(alone["cpu_sec"] / together["cpu_sec"], 2),
        "times_fewer_tokens": round(alone["tokens"] / together["tokens"], 2),
        "same_predictions": f"{same} of {len(pairs)}",
        "largest_difference": max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True)),
    }


def main() -> None:
    """Print a line of JSON for each task and one for all tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="models/smollm2-135m")
    parser.add_argument("--tasks", nargs="+", choices=[*SHAPES], default=[*SHAPES], metavar="TASK")
    parser.add_argument("--times-rows", type=int, default=1, help="this many times as many rows")
    parser.add_argument("--heads", action="store_true", help="measure rows that begin alike instead")
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(arguments.model)
    model: Any = AutoModelForCausalLM.from_pretrained(arguments.model, torch_dtype=torch.float32)
    found = {}
    with evaluating(model):
        causal = as_causal_model(model)
        assert not causal.no_trees, causal.no_trees
        warm_up = make_rows("warm-up", Shape(prompt_tokens=50, options=_SENTIMENT), 2)
        score_rows(warm_up, causal, tokenizer, 1024)
        score_by_option(warm_up, model, tokenizer, 2)
        for head, own in HEADS if arguments.heads else ():
            shape = Shape(prompt_tokens=own, options=_RELATIONS)
            rows = make_rows("ChemProt", shape, 8 * arguments.times_rows, head_tokens=head)
            measured = compare_heads(rows, causal, tokenizer)
            print(json.dumps({"head_tokens": head, "own_tokens": own, **measured}), flush=True)
        if arguments.heads:
            return
        for name in arguments.tasks:
            shape = SHAPES[name]
            rows = make_rows(name, shape, shape.num_rows * arguments.times_rows)
            found[name] = compare(rows, model, causal, tokenizer)
            print(json.dumps({"task": name, **found[name]}), flush=True)
    for label, names in (("all", list(found)), ("all but CaseHOLD", [n for n in found if n != "CaseHOLD"])):
        total = {
            key: round(sum(found[name][key] for name in names), 2)
            for key in (
                *("reference_sec", "our_sec", "reference_cpu_sec", "our_cpu_sec"),
                *("reference_tokens", "our_tokens"),
            )
        }
        if names:
            total["times_faster"] = round(total["reference_sec"] / total["our_sec"], 2)
            total["times_less_cpu"] = round(total["reference_cpu_sec"] / total["our_cpu_sec"], 2)
            total["times_fewer_tokens"] = round(total["reference_tokens"] / total["our_tokens"], 2)
            print(json.dumps({"tasks": label, "threads": torch.get_num_threads(), **total}), flush=True)


if __name__ == "__main__":
    main()
