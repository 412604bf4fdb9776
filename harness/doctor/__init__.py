"""The **doctor**: whether this machine can run the main job, and how to mend what it lacks.

Nothing is inferred where it can be tried: the seccomp filter is installed in a thread
that ends at once, a child's memory is read, each QEMU is started and asked.  ``check`` has
what is found out about one thing; ``machine``, ``sandbox``, ``qemu``, ``passthrough`` and
``kernel_vfio`` find out; ``examination`` calls all of them and prints.
"""
