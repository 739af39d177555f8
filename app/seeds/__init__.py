"""Seeds in: a streamed body becomes lines, a line becomes seeds, seeds become rows and queue entries.

body.py      chunks of the request, decompressed, never held whole
ndjson.py    chunks -> lines                 (application/x-ndjson)
document.py  chunks -> items of `seeds`      (application/json)
parse.py     one line or item -> seeds, or an error that names line and field
marks.py     text that would take minutes to normalise
storing.py   one batch is stored while the next is read; turns
"""
