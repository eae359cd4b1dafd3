"""Memory of one GPU at its fullest, part by part.

Weights, gradients and Adam's two moments are fp32 in every precision; frozen weights have neither gradients
nor moments. FSDP2 splits each parameter along its first dimension over the GPUs. Beside its share a GPU holds
gathered copies in the precision of the computation: the current decoder block and the next one, and all the
time the parameters outside the blocks; and their gradients until they are reduced. Under DDP every GPU holds
everything, and gradients twice, since their exchange needs buckets.

The peak is at the start of the backward pass, with all activations and logits, or at its end, when the
gradients outside the blocks are reduced; the larger one counts. `runtime` is an allowance for CUDA's context,
NCCL's buffers and the allocator, not a measurement.
"""

from __future__ import annotations

import dataclasses

from trainer.estimate.activations import Activations
from trainer.model.architecture import Architecture, count

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
        logits: Logits of a micro-batch, their fp32 log-softmax and its gradient.
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
) -> Memory:
    """Estimate the peak memory of a GPU.

    Args:
        architecture: The model.
        activations: Of one micro-batch.
        sharding: Of the run.
        micro_batch_tokens: Tokens of a micro-batch.
        mask_bytes: Additive attention mask of one block.
    """

    def held(shapes: tuple[tuple[int, ...], ...]) -> int:
        return sum(share(shape, sharding.num_gpus) for shape in shapes) if sharding.fsdp else count(shapes)

    trained = held(architecture.trained_shapes)
    num_layers = len(activations.blocks)
    masks = mask_bytes * (1 if sharding.checkpointing else num_layers)
    kept = (activations.checkpointed if sharding.checkpointing else activations.kept) + masks
    logits = (sharding.compute_bytes + 2 * _FP32) * micro_batch_tokens * architecture.vocab_size
    gathered, at_end = _gathered(architecture, sharding)
    return Memory(
        weights=_FP32 * held(architecture.parameter_shapes),
        gradients=_FP32 * trained,
        optimizer=2 * _FP32 * trained + _FP32 * len(architecture.trained_shapes),
        # At the end of the backward pass activations and logits are free again.
        gathered=max(gathered, at_end - kept - logits),
        activations=kept,
        logits=logits,
    )


def checkpoint_bytes(architecture: Architecture) -> int:
    """Return the size of a checkpoint: weights and Adam's moments in fp32, step counts, without a few MB.

    With adapters it holds trained weights alone; otherwise all weights, those for images included.
    """
    weights = architecture.trained_parameters if architecture.has_adapters else architecture.num_parameters
    moments = 2 * architecture.trained_parameters
    return _FP32 * (weights + moments + len(architecture.trained_shapes))


def share(shape: tuple[int, ...], num_gpus: int) -> int:
    """Count the elements of a parameter on the GPU with the largest share."""
    rows = shape[0] if shape else 1
    return -(-rows // num_gpus) * (count((shape,)) // max(1, rows))


def _gathered(architecture: Architecture, sharding: Sharding) -> tuple[int, int]:
    """Return the bytes of gathered copies at the start and at the end of the backward pass."""
    if not sharding.fsdp:
        buckets = _FP32 * architecture.trained_parameters if sharding.num_gpus > 1 else 0
        return buckets, 0
    root, block = architecture.root_parameters, architecture.block_parameters
    compute, reduced = sharding.compute_bytes, sharding.reduce_bytes
    weights = root + 2 * block if sharding.reshard else architecture.num_parameters
    trained_root, trained_block = architecture.trained_root_parameters, architecture.trained_block_parameters
    start = compute * weights + compute * trained_root + (compute + reduced) * trained_block
    end = compute * root + (compute + reduced) * trained_root
    return start, end
