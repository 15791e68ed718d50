"""Training in one process, on transformers' Trainer: on the CPU, or LoRA on one GPU.

Only the training process imports these modules; they load torch.
"""
