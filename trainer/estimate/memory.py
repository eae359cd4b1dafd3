"""Memory of one GPU at its fullest, part by part.

Weights, gradients and Adam's two moments are fp32 in every precision; frozen weights have neither gradients
nor moments. FSDP2 splits each parameter along its first dimension over the GPUs. Beside its share a GPU holds
gathered copies in the precision of the computation: the current decoder block and the next one, and all the
time the parameters outside the blocks; and their gradients until they are reduced. Under DDP every GPU holds
everything, and gradients twice, since their exchange needs buckets.

The peak is at the start of the backward pass, with all activations and logits, or at its end, when the
gradients outside the blocks are reduced; the larger one counts. A loss in chunks needs the logits of one
chunk, the sum of the output layer's gradients, and the chunk's own. `runtime` is an allowance for CUDA's
context, NCCL's buffers and the allocator, not a measurement.
"""

from __future__ import annotations

import dataclasses

from trainer.estimate.activations import Activations
from trainer.model.architecture import Architecture, Shape, count
from trainer.model.chunked_loss import chunk_tokens

_FP32 = 4
_RUNTIME_BYTES = 2 << 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """Sharding and precision of a run.

    Attributes:
        num_gpus: GPUs of the run.
        fsdp: Whether FSDP2 splits weights, gradients and optimizer; else each GPU holds them whole.
        reshard: Whether gathered blocks are freed after the forward pass.
        compute_bytes: Bytes of a number in computations.
        reduce_bytes: Bytes of a gradient in FSDP2's reduction.
        checkpointing: Whether the backward pass runs blocks again.
    """

    num_gpus: int
    fsdp: bool
    reshard: bool
    compute_bytes: int
    reduce_bytes: int
    checkpointing: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one GPU.

    Attributes:
        weights: fp32 parameters.
        gradients: fp32 gradients.
        optimizer: Both moments of Adam, and a step count for each parameter.
        gathered: Copies that FSDP2 gathers, and gradients before their reduction; DDP's buckets.
        activations: Activations of one micro-batch.
        logits: Logits of a micro-batch or chunk, their fp32 log-softmax and its gradient; of chunks also the
            gradients of the output layer.
        runtime: Allowance for CUDA, NCCL and the allocator.
    """

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int
    logits: int
    runtime: int = _RUNTIME_BYTES

    @property
    def total(self) -> int:
        """Return the sum."""
        return sum(dataclasses.astuple(self))


def estimate_memory(
    architecture: Architecture,
    activations: Activations,
    sharding: Sharding,
    *,
    micro_batch_tokens: int,
    mask_bytes: int = 0,
    chunked_loss: bool = False,
) -> Memory:
    """Estimate the peak memory of a GPU; `mask_bytes` is the additive attention mask of one block."""

    def held(shapes: tuple[Shape, ...]) -> int:
        return sum(share(shape, sharding.num_gpus) for shape in shapes) if sharding.fsdp else count(shapes)

    trained = held(architecture.trained.shapes)
    num_layers = len(activations.blocks)
    masks = mask_bytes * (1 if sharding.checkpointing else num_layers)
    kept = (activations.checkpointed if sharding.checkpointing else activations.kept) + masks
    logits = _logits(architecture, sharding, micro_batch_tokens, chunked_loss=chunked_loss)
    gathered, at_end = _gathered(architecture, sharding)
    return Memory(
        weights=_FP32 * held(architecture.parameters.shapes),
        gradients=_FP32 * trained,
        optimizer=2 * _FP32 * trained + _FP32 * len(architecture.trained.shapes),
        # At the end of the backward pass activations and logits are free again.
        gathered=max(gathered, at_end - kept - logits),
        activations=kept,
        logits=logits,
    )


def checkpoint_bytes(architecture: Architecture) -> int:
    """Return the size of a checkpoint: weights and Adam's moments in fp32, step counts, without a few MB.

    With adapters it holds trained weights alone; otherwise all weights, those for images included.
    """
    trained = architecture.trained
    weights = trained if architecture.has_adapters else architecture.parameters
    return _FP32 * (weights.total + 2 * trained.total + len(trained.shapes))


def share(shape: Shape, num_gpus: int) -> int:
    """Count the elements of a parameter on the GPU with the largest share."""
    rows = shape[0] if shape else 1
    return -(-rows // num_gpus) * (count((shape,)) // max(1, rows))


def _logits(architecture: Architecture, sharding: Sharding, num_tokens: int, *, chunked_loss: bool) -> int:
    head = architecture.trained_head_parameters
    compute = sharding.compute_bytes
    chunk = num_tokens
    if chunked_loss:
        chunk = chunk_tokens(
            num_tokens, "cuda", hidden_size=architecture.hidden_size, head_is_trained=head > 0
        )
    logits = (compute + 2 * _FP32) * chunk * architecture.vocab_size
    if chunk >= num_tokens:
        return logits
    # Autocast computes a gradient in the precision of the computation, and casts it.
    of_chunk = compute if sharding.fsdp or compute == _FP32 else compute + _FP32
    return logits + (_FP32 + of_chunk) * head


def _gathered(architecture: Architecture, sharding: Sharding) -> tuple[int, int]:
    """Return the bytes of gathered copies at the start and at the end of the backward pass."""
    if not sharding.fsdp:
        return (_FP32 * architecture.trained.total if sharding.num_gpus > 1 else 0), 0
    parameters, trained = architecture.parameters, architecture.trained
    compute, reduced = sharding.compute_bytes, sharding.reduce_bytes
    weights = parameters.root + 2 * parameters.block if sharding.reshard else parameters.total
    start = compute * (weights + trained.root) + (compute + reduced) * trained.block
    end = compute * parameters.root + (compute + reduced) * trained.root
    return start, end
