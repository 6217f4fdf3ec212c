"""The engine in a simulated world: workers, clients and an operator over one store, in one thread, from one seed.

`loop` is its time, `weather` and `link` what goes wrong between the engine and the store, `processes` are workers that crash, freeze and
come back, `people` start runs and act on them, `workflows` is what is executed, `watch` sees every change of the store, `ledger` every step
that is begun, `timetable` is what comes by itself, `keeper` who acts on that, `almanac` accounts for every slot, `ending` what must be so
when all is over, `world` joins them, `mutations` switches rules off that the simulation must miss.
`python -m tests.simulation --seeds 1000` runs it at length; `--seed N --store sqlite` replays one, with a trace.
"""
