"""Many runs, on the cores of one machine or on many machines. Read in this order: runs (a run is a pure function of its settings
to bytes), needs, processes, executors, parallel, conduct (nothing finished is lost), compare (the smallest sweep), plan, sweep,
collected, paired, report.
"""
