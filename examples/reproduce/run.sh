#!/usr/bin/env bash
# The commands of docs/reproduce.md in small: made data of the same formats, a random model of two layers,
# pairs by rules in place of the synthesizer, 4 steps. The scores mean nothing; the commands are the page's.
#
#   examples/reproduce/run.sh FOLDER [biomedicine] [finance]     # default: both; about a minute each
#
# Needs a checkout, and `tutelage` and `python` of its environment on PATH: . .venv/bin/activate
set -euo pipefail

usage() {
    echo "usage: ${0##*/} FOLDER [biomedicine] [finance]" >&2
    exit 2
}
[ $# -ge 1 ] || usage
for domain in "${@:2}"; do
    case $domain in biomedicine | finance) ;; *) usage ;; esac
done
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)

echo "== data and model"
(cd "$root" && python -B -m examples.reproduce.make_data "$folder") # -B: no bytecode among the examples
cd "$folder"
ln -sfn "$root/examples" examples # so that commands and paths are those of the page
ln -sfn "$root/trainer" trainer

# Arguments that make it small; all others are the page's.
small_corpus=(
    tokenizer.name=tiny pack.seq_len=512
    'variables.general=data/openorca/*.parquet'
)
rules=(synthesis.backend=mined synthesis.model=null 'synthesis.endpoints=[]')
small_run=(
    model.pretrained_model_name_or_path=tiny model.init_device=cpu precision=fp32 parallelism_config=null
    max_duration=4ba global_train_batch_size=4 scheduler.t_warmup=1ba save_interval=4ba
    callbacks.domain_eval.interval=4ba callbacks.domain_eval.tasks_root=data/tasks
    callbacks.domain_eval.max_new_tokens=8
)
small_scores=(--tasks-root data/tasks --max-new-tokens 8)

biomedicine() {
    echo "== biomedicine: the corpus with the authors' pairs"
    tutelage corpus build examples/reproduce/biomedicine-published.yaml corpus=runs/published/corpus \
        'variables.medicine=data/medicine/part-*/shard/*.jsonl' "${small_corpus[@]}"
    echo "== biomedicine: a corpus with pairs of one's own"
    tutelage corpus plan examples/reproduce/biomedicine.yaml --requests-per-sec 20 \
        "${small_corpus[@]}" "${rules[@]}"
    tutelage corpus build examples/reproduce/biomedicine.yaml "${small_corpus[@]}" "${rules[@]}"
    echo "== biomedicine: training"
    tutelage train trainer/yamls/llama3-8b-biomedicine.yaml variables.tasks=biomedicine "${small_run[@]}"
    echo "== biomedicine: the baseline"
    tutelage corpus build examples/reproduce/biomedicine.yaml streams.domain.synthesize=false \
        corpus=runs/biomedicine/raw-corpus "${small_corpus[@]}" "${rules[@]}"
    tutelage train trainer/yamls/llama3-8b-vanilla.yaml variables.tasks=biomedicine "${small_run[@]}"
    echo "== biomedicine: scores"
    tutelage eval --model tiny runs/llama3-8b-vanilla/export runs/llama3-8b-biomedicine/export \
        --tasks biomedicine --add-bos-token true --manifest runs/biomedicine/corpus \
        --output runs/biomedicine/scores.json "${small_scores[@]}"
}

finance() {
    echo "== finance: the corpus"
    tutelage corpus plan examples/reproduce/finance.yaml --requests-per-sec 20 "${small_corpus[@]}" "${rules[@]}"
    tutelage corpus build examples/reproduce/finance.yaml "${small_corpus[@]}" "${rules[@]}"
    echo "== finance: training"
    tutelage train trainer/yamls/llama3-8b-finance.yaml "${small_run[@]}"
    echo "== finance: the baseline"
    tutelage corpus build examples/reproduce/finance.yaml streams.domain.synthesize=false \
        corpus=runs/finance/raw-corpus "${small_corpus[@]}" "${rules[@]}"
    tutelage train trainer/yamls/llama3-8b-vanilla.yaml run_name=llama3-8b-vanilla-finance \
        variables.corpus=runs/finance/raw-corpus variables.tasks=finance "${small_run[@]}"
    echo "== finance: scores"
    tutelage eval --model tiny runs/llama3-8b-vanilla-finance/export runs/llama3-8b-finance/export \
        --tasks finance --add-bos-token true --manifest runs/finance/corpus \
        --output runs/finance/scores.json "${small_scores[@]}"
}

domains=("${@:2}")
for domain in "${domains[@]:-biomedicine finance}"; do
    for each in $domain; do
        "$each"
    done
done
