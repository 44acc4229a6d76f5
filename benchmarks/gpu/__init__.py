"""Everything there is to check and to time on one GPU, in one command of less than ten minutes.

``python -m benchmarks.gpu`` runs the parts of `parts.PARTS` in the order of their importance, in a process of its own
that is replaced when it dies or hangs, and writes ``results.json`` after each part and ``summary.md`` at the end. It
needs torch, numpy and csgnn_dgl, and no dgl. ``--device cpu --tiny`` tries it all out without a GPU.

Read in this order: `setting` (what is measured), `work` (one training step, one inference, in their variants), `clock`,
then the parts: `checks`, `speed`, `floor`, `operations`; `parts`, `worker` and `command` run them, `report` tells.
"""
