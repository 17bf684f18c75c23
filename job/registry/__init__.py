"""Published versions of a model, and which one is champion: the Registry and its parts."""

from job.registry.catalogue import Listed, names
from job.registry.championship import Published
from job.registry.integrity import Verification
from job.registry.publishing import Registry

__all__ = ["Listed", "Published", "Registry", "Verification", "names"]
