"""What the base of `tiny` is pre-trained to: to see what lies under patches, to tell it, and to know what texts say.

Batches are those of `stream`; all are means of cross-entropies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t2i_judge.local.packing import IGNORED

from .architecture import GRID
from .stream import CELLS, DENSE_CLASSES, FACTS

if TYPE_CHECKING:
    from torch import Tensor, nn

_HARD = {"defect": 3.0, "grade": 3.0}  # weights of what the tower learns last: scratches are a pixel wide


def see_loss(model: Any, heads: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of what lies under the patches; patches with nothing on them count little, there are so many."""
    from torch.nn.functional import cross_entropy

    classes = batch["classes"]
    tower = model.model.vision_tower
    embedded = tower.embeddings(batch["pixel_values"], [[GRID, GRID]] * len(classes))
    hidden, _ = tower(list(embedded.split(GRID * GRID)))
    there = (classes[..., 0] > 0).float()
    total = hidden.new_zeros(())
    for index, (name, logits) in enumerate(zip(DENSE_CLASSES, heads(hidden).split(list(DENSE_CLASSES.values()), -1))):
        losses = cross_entropy(logits.transpose(1, 2), classes[..., index], reduction="none")
        on, off = (losses * there).sum() / there.sum(), (losses * (1 - there)).mean()
        total = total + _HARD.get(name, 1.0) * (on + (0.5 if index == 0 else 0.05) * off)
    return total


def tell_loss(
    model: Any, batch: dict[str, Tensor], tag_weight: float, readers: Any = None, places: bool = True
) -> Tensor:
    """Next-token loss of what is said of pictures, that of texts, and `tag_weight` times that of image tokens' words.

    Each is a mean of its own: what is said of a picture is a word or two, and would drown in lists of facts. With
    `readers`, also that of what they read of texts (`fact_loss`) and, with `places`, of pictures (`place_loss`).
    """
    from torch.nn.functional import cross_entropy

    batch = dict(batch)
    labels, tags = batch.pop("labels")[:, 1:], batch.pop("tag_labels")
    cells, said = batch.pop("cell_labels"), batch.pop("fact_labels")
    without_picture = (batch["segment_ids"] == batch["prefix_ids"])[:, 1:]
    output = model.model(**batch, output_hidden_states=readers is not None)
    hidden = output.last_hidden_state

    def loss(states: Tensor, wanted: Tensor) -> Tensor:
        learnt = wanted != IGNORED
        return cross_entropy(model.lm_head(states[learnt]), wanted[learnt])

    pictures = loss(hidden[:, :-1], labels.masked_fill(without_picture, IGNORED))
    texts = loss(hidden[:, :-1], labels.masked_fill(~without_picture, IGNORED))
    told = pictures + texts + tag_weight * loss(hidden, tags)
    if readers is None:
        return told
    told = told + fact_loss(readers, output.hidden_states[-3:-1], said)
    return told + place_loss(readers, output.hidden_states[-2], hidden, cells) if places else told


def fact_loss(readers: Any, states: Sequence[Tensor], said: Tensor) -> Tensor:
    """A quarter of the cross-entropy of `stream.fact_labels`, read where the last two layers can make use of it.

    At the nouns of a text from behind the second layer, where they come again from behind the third. Left to itself
    the base tells the trait of one of two nouns hardly better than by choosing between them.
    """
    from torch.nn.functional import cross_entropy, rms_norm

    losses = []
    for reader, state, wanted in zip((readers["named"], readers["again"]), states, said.unbind(-2)):
        at = wanted[..., 0] != IGNORED
        logits = reader(rms_norm(state[at], state.shape[-1:])).split(list(map(len, FACTS.values())), -1)
        losses += [cross_entropy(each, right) for each, right in zip(logits, wanted[at].unbind(-1)) if len(right)]
    return 0.25 * sum(losses, said.new_zeros((), dtype=states[0].dtype))


def place_loss(readers: Any, before: Tensor, last: Tensor, cells: Tensor) -> Tensor:
    """Half the cross-entropy of the cells of `stream.cell_labels`, read where they must be known to be of use.

    A noun's own from the layer before the last, at the noun; those of two nouns from the last one, at the end of the
    instruction. Left to itself the base looks up the noun named last alone, which tells relations of two groups, for
    these lie in the middle of the picture's other axis.
    """
    from torch.nn.functional import cross_entropy, rms_norm

    own, first, second = cells.unbind(-1)
    named, paired = own != IGNORED, first != IGNORED
    at_nouns = readers["noun"](rms_norm(before[named], before.shape[-1:]))
    one, other = readers["end"](last[paired]).split(CELLS, dim=-1)
    read = ((at_nouns, own[named]), (one, first[paired]), (other, second[paired]))
    losses = [cross_entropy(logits, wanted) for logits, wanted in read if len(wanted)]
    return 0.5 * sum(losses, last.new_zeros(()))
