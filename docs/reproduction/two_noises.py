"""The OOD accuracy at the other reading of the paper's noise, as a quantity of one's own.

The sweep ``laptop`` adds noise to normalised images. With ``--set data.shift.before=normalisation`` the noise is added
to the pixels, about four times as strong. This quantity then records the accuracy under the weaker noise, beside
``accuracy/ood`` under the stronger one.
"""

from collections.abc import Mapping

import torch

from orchestrator.training.measurement.context import Context
from orchestrator.training.models.memory_format import evaluation_memory_format

_PIXEL_RANGE = 255
_BATCH = 100


@torch.inference_mode()
def noise_after(context: Context) -> Mapping[str, float]:
    """Returns the accuracy on test images with the same noise, added after normalisation.

    Args:
        context: a record of a trial with `data.shift.before`, which has scaled the noise by 255 / `data.std`.
    """
    assert context.training, "needs the data of a trial"
    data, right = context.training.data, 0
    memory_format = evaluation_memory_format(context.model)
    for start in range(0, len(data.test), _BATCH):
        part = slice(start, start + _BATCH)
        noise = data.ood_noise[part] * data.std / _PIXEL_RANGE
        inputs = data.normalise(data.test.inputs[part]) + noise
        outputs = context.model(inputs.contiguous(memory_format=memory_format))
        right += int((outputs.argmax(1) == data.test.targets[part]).sum())
    return {"accuracy_ood/noise_after": right / len(data.test)}
