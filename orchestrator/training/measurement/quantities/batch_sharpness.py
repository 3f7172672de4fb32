"""The curvature of minibatch losses along their own gradients."""

import torch

from estimators import batch_sharpness
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
    found = batch_sharpness(context.model, context.loss.mean, batches)
    whole = size == len(samples)
    error = 0.0 if whole else found.standard_error if count > 1 else None
    return {"stability/batch_sharpness": found.value, "stability/batch_sharpness_standard_error": error}
