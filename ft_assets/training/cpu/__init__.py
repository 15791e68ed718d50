"""The ``cpu`` backend: supervised fine-tuning in one process, on transformers' Trainer.

Only the training process imports these modules; they load torch.
"""
