"""The boundary to the teacher. No other module knows HTTP.

pool.py chooses among the replicas of one teacher; replica.py keeps each at its level (concurrency.py, climb.py) and
leaves it alone after faults (breaker.py); client.py makes the call, and replies.py reads what came.
"""
