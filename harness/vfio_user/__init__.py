"""The **vfio-user** protocol: a device whose server is another process, behind a unix socket.

``messages`` is the codec and ``target`` the emulated device behind it, both without I/O; ``server``
serves a target on a socket.  ``client`` asks any server; ``function`` answers QEMU's ioctls with
it, as ``harness.vfio.device`` does for a device of its own, and ``iommu`` passes QEMU's DMA
mappings on.  So an unmodified QEMU migrates the device of a server: a change of state becomes
DEVICE_FEATURE, a read or write of ``data_fd`` becomes MIG_DATA_READ or MIG_DATA_WRITE.
It may import ``supervisor`` and ``vfio``.  Source: ``docs/interop/vfio-user.rst`` of QEMU.
"""
