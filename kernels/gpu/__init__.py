"""What the Triton kernels are written with; ``simd/`` is the same for the C++ ones.

Words and layouts that all of them share:

- A launch works on B fits at once, each with weights of its own; B is the first axis of every tensor and the
  last axis of every grid. One picture is B = 1.
- A *cell* is what a channel of an activation takes: float32 or bfloat16. Pictures are [B, H, W, S] of cells,
  S = ``channel_stride(C)``: rows of whole 16 bytes in bfloat16. What lies in the surplus is never used.
- A ``Layer`` is stored as its convolution's raw output y, with the four numbers per channel that normalise it
  ([B, 4, C] float32: mean, rstd, scale, shift). Its reader computes act(scale y + shift) while it loads.
- The gradient of a layer is stored as g, by the normalised value (LeakyReLU's derivative is in it), with two
  numbers per channel ([B, 2, C]: mean of g, mean of g h, h = (y - mean) rstd). Its reader makes the gradient
  by y on the fly: scale (g - mean g - h mean gh).
- Convolution weights lie as [B, O, k, k, I], a view into one flat float32 vector of all parameters, with a
  copy of that vector in cells for the products.
- Statistics and sums: every program adds up its own pixels, writes one row of partial sums, and the program
  that finishes last adds the rows in order. So no sum depends on who came first, nothing is added atomically,
  and no second launch is needed. Programs are at most ``MAX_PROGRAMS``, each of which walks over its tiles.

Under Triton's interpreter (TRITON_INTERPRET=1 before anything of this is imported) all of it runs on CPU
tensors, program after program: that is how the arithmetic is tested without a GPU.
"""
