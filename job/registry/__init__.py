"""Published versions of a model: the Registry, the champion, and the gate that stands before it."""

from job.registry.championship import Published
from job.registry.integrity import Verification
from job.registry.publish import Registry
from job.registry.versions import Listed, names

__all__ = ["Listed", "Published", "Registry", "Verification", "names"]
