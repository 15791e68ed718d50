"""The artifact store: assets pass artifacts by name, never half-written.

``resource.py`` is what assets hold, ``artifact.py`` what they get from it; the rest is how.
"""

from resources.store.artifact import Artifact, Draft
from resources.store.lease import Holder, Lease, LeaseLostError, this_holder
from resources.store.manifest import Manifest, ManifestFile
from resources.store.resource import ArtifactStore

__all__ = [
    "Artifact",
    "ArtifactStore",
    "Draft",
    "Holder",
    "Lease",
    "LeaseLostError",
    "Manifest",
    "ManifestFile",
    "this_holder",
]
