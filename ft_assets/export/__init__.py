"""A model leaves the store: a folder that a hub takes, a manifest that serves it. No Dagster.

- ``subject``: which model is meant, and everything that is known of it.
- ``folder``: the folder, written beside its place and renamed at the end.
- ``kserve``: the manifest of an InferenceService.  ``gguf``: llama.cpp's own format.
"""
