"""The emulated VFIO **device**: what it answers, without I/O.

A handler takes an ioctl's number, the address of its argument and a view of the target's
memory.  It returns an :class:`~harness.vfio.answer.Answer`: what to write, and where.
``harness.supervisor`` carries that out.  A file descriptor is a request to install one.
``device`` is the PCI function, ``arcs`` its migration states, ``transfer`` and ``state_bytes``
the state that it saves and loads, ``iommu`` its iommufd, ``config_space`` its registers, and
``uapi`` the kernel's numbers and structures.  Anchor file: ``device``.
"""
