"""`evaluate.load("t2i_judge")`: judges of text-to-image models as a metric. See `metric.py` for what it computes."""

import evaluate

from .metric import CITATION, DESCRIPTION, INPUTS, as_reference, as_references, check_config, compute, features

# `python -m recipes.stamp` writes hash and names. evaluate copies only what this script imports by name, one level deep
# (it reads lines, so a string will do), and re-uses an old copy when files differ only behind a number sign.
CONTENT_HASH = "c8dab731348bb3c1624c503eb3f5f5d461a085550361adfe2e3dcad8a6c06aa7"
# fmt: off
'''
from .agreement import __name__
from .answer_table import __name__
from .asking import __name__
from .baselines import __name__
from .batch import __name__
from .calibration import __name__
from .call_cache import __name__
from .chats import __name__
from .coefficients import __name__
from .concurrency import __name__
from .configuration_minicpmv import __name__
from .decoding import __name__
from .decompose import __name__
from .defaults import __name__
from .domain import __name__
from .dreambench import __name__
from .errors import __name__
from .fake_judge import __name__
from .figure_rules import __name__
from .images import __name__
from .jpeg import __name__
from .judge import __name__
from .judges import __name__
from .local_backend import __name__
from .local_chat import __name__
from .local_model import __name__
from .local_weights import __name__
from .meta_evaluation import __name__
from .meta_report import __name__
from .method_report import __name__
from .method_results import __name__
from .metric import __name__
from .modeling_minicpmv import __name__
from .openai_backend import __name__
from .packing import __name__
from .prices import __name__
from .processing_minicpmv import __name__
from .prompts import __name__
from .ray_engine import __name__
from .records import __name__
from .registration import __name__
from .replies import __name__
from .reproduction import __name__
from .resampling import __name__
from .rows import __name__
from .scoring import __name__
from .selftest import __name__
from .shards import __name__
from .staged import __name__
from .t2i_eval_results import __name__
from .tables import __name__
from .teacher import __name__
from .viescore import __name__
from .vision_minicpmv import __name__
from .wire import __name__
'''
# fmt: on


class T2iJudge(evaluate.Metric):
    """Configurations "default" (images and prompts) and "meta" (scores and human ratings)."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=features(check_config(self.config_name)),
        )

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Add one image with its prompt, or one score with its ratings."""
        super().add(prediction=prediction, reference=as_reference(self.config_name, reference), **kwargs)

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add images with their prompts, or scores with their ratings."""
        references = as_references(self.config_name, references)
        super().add_batch(predictions=predictions, references=references, **kwargs)

    def _compute(self, predictions, references, **options):
        try:
            return compute(self.config_name, predictions, references, **options)
        except BaseException:  # evaluate would keep a closed writer and its locks: the next call would fail
            self.writer = None
            for lock in self.filelocks or ():
                lock.release()
            raise
