"""Model cards and dataset cards: the README.md that a Hugging Face hub shows. No Dagster.

Pure functions from what the manifests of artifacts say to Markdown with a YAML header; the same
inputs give the same bytes. Text of users is escaped: it can neither break the header nor become
markup.

- :func:`model_card`: of a trained model. Takes the ``metadata`` of the manifests of
  ``finetuned_model`` (required), ``eval_report``, ``split_dataset`` and ``raw_dataset`` as they
  are; the verdict is read from the evaluation's metadata when it is not given.
- :func:`model_card_of`: the same for artifacts of a store: it follows the provenance of the model
  to the very split and source it was made from::

      card = model_card_of(
          store, model, report,
          name="support-assistant", version="1.2.0", description=spec.description,
      )
      (draft.path / "README.md").write_text(card, encoding="utf-8")

- :func:`dataset_card`: of a split. Holds no run id and no time, so that a split that is made again
  is the same version.
"""

from ft_assets.cards.dataset import dataset_card
from ft_assets.cards.model import model_card
from ft_assets.cards.sources import model_card_of

CARD_FILE = "README.md"
"""The name under which the hub looks for a card."""

__all__ = ["CARD_FILE", "dataset_card", "model_card", "model_card_of"]
