"""A loss in which a short answer counts, beside a long one: TRL's SFTTrainer with weights on what is learnt.

A mean over tokens gives an answer the weight of its length: beside a decomposition of 190 tokens the one word that
tells a relation is next to nothing. Here a token weighs the length of its answer to the power `-normalization`: 0 is
TRL's own mean over tokens, 1 a mean over answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trl import SFTTrainer

if TYPE_CHECKING:
    from torch import Tensor


def answer_weights(learnt: Tensor, normalization: float, mean: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Weights of tokens, 1 on the mean of those that are learnt.

    Args:
        learnt: (rows, length) bool. Answers are what stands together in a row.
        normalization: 0 to 1, how far the length of answers is made up for.
        mean: of the weights before that, where other processes have more of them; None: these rows are all there are.

    Returns:
        (rows, length) float, 0 where nothing is learnt.
    """
    import torch

    before = torch.nn.functional.pad(learnt, (1, 0))[:, :-1]
    answer = (learnt & ~before).flatten().cumsum(0).view_as(learnt)[learnt] - 1
    weights = torch.bincount(answer)[answer].float() ** -normalization
    weights = weights / (mean or torch.mean)(weights)
    return torch.zeros(learnt.shape, device=learnt.device).masked_scatter(learnt, weights)


class AnswerTrainer(SFTTrainer):
    """TRL's trainer, whose loss counts short answers for more (`answer_weights`).

    Args:
        normalization: 0 to 1; the rest are SFTTrainer's own.
    """

    def __init__(self, *args: Any, normalization: float, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.normalization = normalization

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's own loss and figures, of log-probabilities that are weighted on their way to it."""

        def weighted(**inputs: Any) -> Any:
            outputs = model(**inputs)
            if inputs.get("fused_lm_head"):  # TRL's, which tells log-probabilities and not logits
                weights = answer_weights(outputs.label_mask, self.normalization, self._mean)
                outputs.log_probs = outputs.log_probs * weights
            return outputs

        return super().compute_loss(weighted, inputs, return_outputs, num_items_in_batch)

    def _mean(self, weights: Tensor) -> Tensor:
        """Over the tokens of all processes, as TRL's own loss is: their answers are of other lengths."""
        if self.accelerator.num_processes == 1:
            return weights.mean()
        sums = weights.new_tensor([weights.sum(), len(weights)])
        total, count = self.accelerator.reduce(sums, "sum")
        return total / count
