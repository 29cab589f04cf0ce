"""Trains Bee on the generated corpus. On two CPU cores this takes about an hour."""

import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from rbee.bee.recipe.batches import batches
from rbee.bee.recipe.model import Bee, Config
from rbee.bee.recipe.shipped import TOKENIZER

FILE = click.Path(path_type=Path)


@dataclass(frozen=True)
class Plan:
    """How long to train, and how fast at every step."""

    steps: int
    decay: float
    lr: float
    warm_steps: int

    def learning_rate(self, step: int) -> float:
        decay_from = int(self.steps * (1 - self.decay))
        warm = min(1.0, (step + 1) / self.warm_steps)
        return self.lr * warm * min(1.0, (self.steps - step) / max(1, self.steps - decay_from))

    def is_last(self, step: int) -> bool:
        return step + 1 == self.steps


@dataclass
class Progress:
    """What is told on the way: a running mean of the loss, and the speed."""

    started: float = field(default_factory=time.monotonic)
    average: float = 0.0
    seen: int = 0

    def add(self, step: int, tokens: int, loss: float) -> None:
        self.average = loss if step == 0 else 0.98 * self.average + 0.02 * loss
        self.seen += tokens

    def line(self, step: int, lr: float) -> str:
        spent = time.monotonic() - self.started
        speed = f"{self.seen / 1e6:.2f}M {self.seen / spent:.0f}/s {spent:.0f}s"
        return f"step {step} loss {self.average:.4f} lr {lr:.5f} tokens {speed}"


class Learner:
    """A model and its two optimizers: Muon for the hidden matrices, AdamW for the rest."""

    def __init__(self, model: Bee, lr: float) -> None:
        self.model = model
        named = list(model.named_parameters())
        hidden = [q for n, q in named if q.ndim == 2 and "embed" not in n]
        rest = [q for n, q in named if q.ndim == 1 or "embed" in n]
        muon = torch.optim.Muon(
            hidden, lr=lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )
        adamw = torch.optim.AdamW(rest, lr=lr, weight_decay=0.0, betas=(0.9, 0.98))
        self.optimizers: list[torch.optim.Optimizer] = [muon, adamw]

    def load(self, file: Path) -> None:
        state = torch.load(file)
        self.model.load_state_dict(state["model"])
        # An older file may hold no optimizers; they then start cold.
        for opt, saved in zip(self.optimizers, state.get("optimizers", []), strict=False):
            opt.load_state_dict(saved)

    def save(self, file: Path) -> None:
        optimizers = [opt.state_dict() for opt in self.optimizers]
        config = vars(self.model.cfg)
        state = {"model": self.model.state_dict(), "config": config, "optimizers": optimizers}
        torch.save(state, file)

    def step(self, tokens: Tensor, weights: Tensor, lr: float) -> float:
        """Learns one batch; the mean loss of its answers."""
        total, mean = loss_of(self.model, tokens, weights)
        (total / 1000).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for opt in self.optimizers:
            for group in opt.param_groups:
                group["lr"] = lr
            opt.step()
            opt.zero_grad()
        return float(mean.item())


def loss_of(model: Bee, tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted loss sum and the mean loss of the answer tokens."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model.logits(model(tokens[:, :-1]))
    wanted = tokens[:, 1:].flatten()
    losses = F.cross_entropy(logits.float().flatten(0, 1), wanted, reduction="none")
    w = weights[:, 1:].flatten()
    shown = losses.detach()
    answers = shown[w > w.max() * 0.3] if w.max() > 0 else shown
    return (losses * w).sum(), answers.mean()


def train(learner: Learner, plan: Plan, tok: Tokenizer, seed: int, out: Path) -> None:
    progress = Progress()
    source = batches(tok, seed, learner.model.cfg.context)
    for step, (tokens, weights) in enumerate(islice(source, plan.steps)):
        lr = plan.learning_rate(step)
        loss = learner.step(tokens, weights, lr)
        progress.add(step, tokens.numel(), loss)
        if step % 50 == 0 or plan.is_last(step):
            click.echo(progress.line(step, lr))
        if step % 200 == 199 or plan.is_last(step):
            learner.save(out)


@click.command(help=__doc__)
@click.option("--steps", default=3000, show_default=True)
@click.option("--decay", default=0.3, show_default=True, help="Part of the steps that slow to 0.")
@click.option("--lr", default=5e-3, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--tokenizer", type=FILE, default=TOKENIZER, help="By default the shipped one.")
@click.option("--out", type=FILE, default="bee.pt", show_default=True)
@click.option("--resume", type=FILE, help="The .pt file of an earlier run.")
def main(
    steps: int,
    decay: float,
    lr: float,
    seed: int,
    tokenizer: Path,
    out: Path,
    resume: Path | None,
) -> None:
    torch.manual_seed(seed)
    tok = Tokenizer.from_file(str(tokenizer))
    model = Bee(Config(vocab=tok.get_vocab_size()))
    learner = Learner(model, lr)
    if resume:
        learner.load(resume)
    click.echo(f"{sum(q.numel() for q in model.parameters()) / 1e6:.2f} M parameters")
    train(learner, Plan(steps, decay, lr, warm_steps=20 if resume else 100), tok, seed, out)


if __name__ == "__main__":
    main()
