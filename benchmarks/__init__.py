"""What the package costs: contenders timed side by side, the roofline above them, memory, mapping, spheres, start-up.

Read in this order: `sizes` (what is measured), `composition` (whom we are measured against), `contenders` (one training
step, one inference, one layer), `harness` (processes that take turns), `roofline` (what the machine could do), `suite`
(the commands); then `surroundings` (what is around the model), `ratios` and `report`, which judge and write it down,
and `gpu`, all of it in one call. ``python -m pipelines.benchmark`` runs the commands.
"""
