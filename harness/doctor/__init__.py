"""The **doctor**: whether this machine can run the main job, and how to fix what it lacks.

What can be tried is tried, not inferred: the seccomp filter is installed in a thread that ends
at once, a child's memory is read, each QEMU is started and queried.  ``check`` is the result of
one check; ``machine``, ``sandbox``, ``qemu``, ``passthrough`` and ``kernel_vfio`` make them;
``examination`` runs all of them and prints the results.
"""
