"""SGLang's own batch client: read a job as JSON on standard input, print seconds and tokens.

Runs under the interpreter of SGLang, started by `benchmarks/real_server.py`.
"""

import json
import sys
import time

import sglang as sgl


@sgl.function
def answer(s, prompt, max_new_tokens):  # SGLang requires this name
    s += prompt
    s += sgl.gen("answer", max_tokens=max_new_tokens, temperature=0)


def main() -> None:
    job = json.load(sys.stdin)
    sgl.set_default_backend(sgl.RuntimeEndpoint(job["url"]))
    arguments = [{"prompt": text, "max_new_tokens": job["max_new_tokens"]} for text in job["prompts"]]
    started = time.monotonic()
    states = answer.run_batch(arguments, num_threads=job["in_flight"], progress_bar=False)
    seconds = time.monotonic() - started
    metas = [state.get_meta_info("answer") for state in states]
    tokens = {name: sum(meta[name] for meta in metas) for name in ("prompt_tokens", "completion_tokens")}
    print(json.dumps({"seconds": seconds, "requests": len(metas), **tokens}))


if __name__ == "__main__":
    main()
