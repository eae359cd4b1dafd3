"""What a training run would take, before anything is started: `tutelage train FILE.yaml --dry-run`.

```
 TrainConfig ─► architecture.build_on_meta ─► Architecture ─┬─► flops a token ──► hours at a given MFU
                                                            ├─► memory: weights, gradients, optimizer
 manifests ──► rows an epoch ─► steps, epochs a stream      │
                                                            └─► activations: one micro-batch run on
                                                                fake tensors, counting what is saved
```

| file | holds |
|---|---|
| gpus.py | memory and peak rate of known GPUs |
| activations.py | bytes that a forward pass keeps for the backward pass |
| memory.py | bytes of a GPU, part by part, alone, under DDP or FSDP2 |
| run_length.py | steps and tokens of a run, epochs over each stream |
| run_estimate.py | all of it together, for a person and as JSON |
"""
