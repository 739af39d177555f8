"""Limbeck: distils an open-weights teacher into an instruction dataset.

The flow, and where each step lives:

 1. seed in    app/seeds        REST, line by line, normalised, deduplicated
 2. queue      app/queue        a narrow lease row beside each wide seed row
 3. claim      app/queue        SKIP LOCKED, a fresh lease token
 4. render     workers/stages   recipe + seed -> chat messages
 5. generate   workers/teacher  one teacher call an attempt, no session held
 6. parse      workers/stages   reply -> reasoning + answer, or a typed reject
 7. curate     app/curation     keep, or reject with a counted reason
 8. store      workers/stages   sample and state change, fenced by the token
 9. export     app/exports      streamed in the format that the trainer wants
"""

__version__ = "0.1.0"
