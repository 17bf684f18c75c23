"""Published versions of a model: the Registry, the champion, and the gate that stands before it."""

from job.registry.catalogue import Listed, names
from job.registry.championship import Published
from job.registry.integrity import Verification
from job.registry.publishing import Registry

__all__ = ["Listed", "Published", "Registry", "Verification", "names"]
