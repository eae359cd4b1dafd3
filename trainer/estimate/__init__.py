"""Estimate of a training run before it starts: `tutelage train FILE.yaml --dry-run`.

```
 TrainConfig ─► architecture.build_on_meta ─► Architecture ─┬─► flops a token ──► hours at a given MFU
                                                            ├─► memory: weights, gradients, optimizer
 manifests ──► rows an epoch ─► steps, epochs a stream      │
                                                            └─► activations: one micro-batch run on
                                                                fake tensors, counting saved bytes
```

| file | holds |
|---|---|
| dry_run.py | options and checks of the command |
| gpus.py | memory and peak rate of known GPUs |
| activations.py | bytes that a forward pass saves for the backward pass |
| memory.py | bytes of a GPU, part by part, alone, under DDP or FSDP2 |
| run_estimate.py | all figures together, for a person and as JSON |
"""
