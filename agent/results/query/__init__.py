"""The query language that picks runs: the filter of the pages and every `--where`.

    state:pruned learning_rate>=1e-4 -variant:"QLoRA int4" (seed=1 or seed=2)

`search.find` is the whole of it: text and records in, places and notes out, or a `QueryError` with
the place of the wrong word. `completion.complete` says what may stand at a cursor.
"""
