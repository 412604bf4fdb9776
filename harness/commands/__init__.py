"""What each command of ``vfio-multifd`` takes, and whom it calls; one file for each group.

A file has ``add(commands)``, which ``harness.cli`` calls; what a command needs is imported
when it is called, so that none pays for the others.
"""
