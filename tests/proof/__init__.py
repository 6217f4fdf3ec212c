"""The proof of replay: random workflow programs, crashed at every commit and replayed under other latencies.

`programs` makes them, `world` is what happens around them, `lives` crashes and replays a run, `oracle` says what must come of it,
`edits` changes a program between two lives, `checks` tries single rules, `mutations` switches rules of the engine off, `versions`
replays histories of one CPython on another. `python -m tests.proof --seeds 2000` runs it at length, and so do `python -m
tests.proof.edits`, `.mutations` and `.versions`.
"""
