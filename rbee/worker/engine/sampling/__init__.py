"""From a row of logits to a token: `params` says what may be asked, `penalties`, `dry` (with its
`breakers`) change logits by what was said before (`history`), `candidates` and `chain` narrow the
choice, `draw` makes it (`few` both at once, in the usual case), `sampler` is all of it in order,
`logprobs` tells how likely a token was.
"""

from rbee.worker.engine.sampling.candidates import best_token
from rbee.worker.engine.sampling.draw import uniform
from rbee.worker.engine.sampling.logprobs import LEAST_LOGPROB, logprobs_of
from rbee.worker.engine.sampling.params import Sampling
from rbee.worker.engine.sampling.sampler import Sampler

__all__ = [
    "LEAST_LOGPROB",
    "Sampler",
    "Sampling",
    "best_token",
    "logprobs_of",
    "uniform",
]
