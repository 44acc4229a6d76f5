"""What the package costs: contenders timed side by side, the roof above them, memory, mapping, spheres, start-up.

Read in this order: `sizes` (what is measured), `composition` (whom we are measured against), `contenders` (one training
step, one inference), `worker` and `timing` (processes that take turns), `roof` (what the machine could do), `speed`
(all of it together); then `memory`, `mapping`, `loading`, `spheres`, `startup` and `regression`, which each measure
one thing more; `machine`, `tables` and `figures` write it down. ``python -m pipelines.benchmark`` runs them.
"""
