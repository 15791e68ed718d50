"""Reading a recorded profile: a Chrome trace and a memory record become a page of numbers.

Pure analysis without torch, for any process. Does not belong here: recording
(``in_process/recording.py``). Nothing here unpickles: ``snapshot.pickle`` is for PyTorch's own
viewer.
"""
