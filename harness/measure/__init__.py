"""The figures of runs and of series of runs: timeline, downtime, rates, statistics.

Nothing is rendered here (``report`` does) and nothing is judged (``check`` does).
"""
