"""What each backend receives of the ``training`` block: a table per backend.

A table has a rule for every parameter of the block, so that none can be ignored: it is passed on
under the backend's own name, done by the platform, or refused for anything but a stated value.
"""
