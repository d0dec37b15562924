"""Restored pictures and their fitted networks as files other runtimes read; installed as ``dipedge.export``.

Nothing can be exported yet. What will live here, one file each:

    frozen.py       a fitted network with its picture's own BN statistics folded in
    onnx.py         that network as ONNX, in standard operators only
    torchscript.py  the same as TorchScript, kept apart because PyTorch deprecates it
    program.py      the same as a ``torch.export`` program
    fit_step.py     one whole optimiser step as a graph, so that a stock runtime can do the fitting
    verify.py       compares what a written file computes with what dipedge computed

``Session.export`` will import this package lazily: nothing in the core may need torch or onnx.
"""
