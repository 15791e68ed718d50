"""A version that was made before from the same: it becomes the current one, and nothing is done.

Data can come back (a drop is overwritten and put back), and so can a parameter. Belongs here:
finding that version and putting it in force. Does not belong here: what makes two versions the
same, which each asset knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ft_assets.assets.step import Step
from ft_assets.lineage import SHORT
from resources.errors import UserError
from resources.store import Artifact, ArtifactStore


def made_before(
    this: Step, store: ArtifactStore, is_this: Callable[[Artifact], bool]
) -> Artifact | None:
    """The version of this step's asset and drop that ``is_this`` knows; it is then the current one.

    The current version is asked first and the others from the newest on, so that a run with
    nothing new reads one manifest.
    """
    for artifact in known_versions(this, store):
        if is_this(artifact) and in_force(this, store, artifact):
            return artifact
    return None


def has(fingerprint: str) -> Callable[[Artifact], bool]:
    """Knows a version by the fingerprint of all that it was made from."""
    return lambda artifact: artifact.manifest.metadata.get("fingerprint") == fingerprint


def known_versions(this: Step, store: ArtifactStore) -> Iterator[Artifact]:
    """The current version of this step's asset and drop, and then the others, newest first."""
    current = store.find(this.key, this.partition)
    if current is not None:
        yield current
    for artifact in store.versions(this.key, this.partition):
        if current is None or artifact.digest != current.digest:
            yield artifact


def in_force(this: Step, store: ArtifactStore, artifact: Artifact) -> bool:
    """Make a version current where it is not yet; False when its files are no longer there."""
    log = this.context.log.info
    fingerprint = str(artifact.manifest.metadata.get("fingerprint"))[:SHORT]
    current = store.find(this.key, this.partition)
    if current is not None and current.digest == artifact.digest:
        log(f"Up to date: fingerprint {fingerprint}")
        return True
    try:
        store.reinstate(artifact, guard=this.confirm_leases)
    except UserError as error:  # it has to be made again, as if it had never been
        this.context.log.warning(f"An earlier version would be up to date: {error}")
        return False
    log(
        f"Up to date: an earlier version is in force again: fingerprint {fingerprint}, made "
        f"{artifact.manifest.created_at}, digest {artifact.digest[:SHORT]}"
    )
    return True


def unchanged(before: Artifact | None, after: Artifact) -> bool:
    """Whether making an asset again gave the same data."""
    return before is not None and before.data_version == after.data_version
