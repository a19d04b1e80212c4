"""A merchant's world in one process and in virtual time, played from one seed against the real engine.

plot.py      what the world of a seed is: accounts, deposits, SKUs, the rule, its stock
world.py     that world: our sandbox Bling, our database, workers that take turns, all that can happen to them
loom.py      the turns: every worker is a strand that stops at each call, transaction and sleep
author.py    chooses, from the seed, what happens next; each action carries all it needs to be replayed alone
oracle.py    what must hold when everything has settled, and what must hold at every write
shrink.py    the shortest part of a story that still ends wrong
"""
