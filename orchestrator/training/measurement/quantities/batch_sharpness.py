"""The curvature of minibatch losses along their own gradients."""

import torch

from estimators import BatchSharpness, batch_sharpness
from orchestrator.study.quantities.settings.batch_sharpness import BatchSharpnessConfig
from orchestrator.training.measurement.context import Context, Values


def measure_batch_sharpness(context: Context, settings: BatchSharpnessConfig) -> Values:
    """Returns the mean over random disjoint minibatches of the training set, without augmentation."""
    training = context.required_training(settings.name)
    samples = training.data.train
    size = min(training.config.images_per_batch(len(samples)), len(samples))
    count = min(settings.batches, len(samples) // size)
    order = torch.randperm(len(samples), generator=context.stream("batch sharpness")).to(samples.targets.device)
    batches = [
        (training.data.normalise(samples.inputs[index]), samples.targets[index])
        for index in order[: count * size].split(size)
    ]
    found = batch_sharpness(context.model, context.loss.mean, batches, validate=context.validate)
    return {
        "stability/batch_sharpness": found.value,
        "stability/batch_sharpness_samples": found.samples,
        **_errors(found, whole=size == len(samples)),
    }


def _errors(found: BatchSharpness, *, whole: bool) -> Values:
    """The standard error and the 95% interval: zero and the value if a minibatch is the whole training set."""
    if len(found.samples) == 1:
        error, (low, high) = (0.0, (found.value, found.value)) if whole else (None, (None, None))
    else:
        error, (low, high) = found.standard_error, found.interval(0.95)
    return {
        "stability/batch_sharpness_standard_error": error,
        "stability/batch_sharpness_low": low,
        "stability/batch_sharpness_high": high,
    }
