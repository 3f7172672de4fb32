"""Estimates the curvature of the training loss at a record. The only module that calls the estimators."""

import ctypes
import os
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from estimators import HessianOperator, hessian_trace, hutchinson, lanczos, power_iteration
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.record import Record
from orchestrator.training.loss import CROSS_ENTROPY, Loss
from orchestrator.training.streams import stream

_LARGEST_BUDGET = 2 * 2**30
"""Maximum memory for kept graphs, in bytes. The graphs of 4,500 images in the paper's CNN take 0.8 GB."""


class Measurement:
    """Estimates the curvature of the mean training loss on a fixed subset, in eval mode and without weight decay.

    A measurement changes neither the model nor any global random generator, so training is bit-identical without it.
    """

    def __init__(
        self, config: MeasurementConfig, seed: int, inputs: Tensor, targets: Tensor, loss: Loss = CROSS_ENTROPY
    ) -> None:
        self.config, self.seed, self.inputs, self.targets, self.loss = config, seed, inputs, targets, loss

    def chunk_size(self, model: nn.Module) -> int:
        """Returns the number of images in a chunk. The model must be in eval mode."""
        return self._operator(model).chunk_size

    def complete(self, record: Record, model: nn.Module) -> Record:
        """Returns the record with all estimates that are due; unchanged if there is none or the trial has diverged."""
        if record.diverged or record.number % self.config.every:
            return record
        started = time.perf_counter()
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            fields, products = self._estimate(model, record.number)
        finally:
            for module, training in modes:
                module.training = training
            _return_memory()
        return replace(record, **fields, hessian_products=products, time_measure_seconds=time.perf_counter() - started)

    def _estimate(self, model: nn.Module, number: int) -> tuple[dict[str, Any], float]:
        """Returns the estimates that are due, and the number of products they took."""
        operator, estimators = self._operator(model), self.config.estimators
        algorithm1 = "algorithm1" in estimators and number % self.config.algorithm1_every == 0
        # Estimators run in increasing order of accuracy, so the most accurate value of a quantity replaces the others.
        with operator.keeping_graphs() if algorithm1 or "lanczos" in estimators else nullcontext():
            fields: dict[str, Any] = {"gradient_norm": float(operator.gradient().norm())}
            if algorithm1:
                fields |= self._algorithm1(operator, number)
            if "lanczos" in estimators:
                fields |= self._lanczos(operator, number)
        if {"exact_trace", "sampled_trace"} & set(estimators):
            fields |= self._trace(operator, number)
        return fields, operator.products

    def _operator(self, model: nn.Module) -> HessianOperator:
        operator = HessianOperator(
            model, self.loss.mean, (self.inputs, self.targets), memory_budget=_memory_budget(self.inputs.device)
        )
        # Algorithm 1 uses chunks of the same size as Lanczos, which can then reuse its graphs.
        fraction = self.config.lanczos_coarse_fraction
        return operator.in_chunks(fraction) if fraction else operator

    def _algorithm1(self, operator: HessianOperator, number: int) -> dict[str, Any]:
        """Returns the estimates of the paper's Algorithm 1: power iteration and Hutchinson's trace."""
        start = stream(self.seed, "power iteration start", number)
        eigen = power_iteration(operator, self.config.algorithm1_iterations, generator=start)
        probes = stream(self.seed, "trace probes", number)
        trace = hutchinson(operator, self.config.algorithm1_probes, generator=probes)
        return {
            "algorithm1_max_eigenvalue": eigen.value,
            "algorithm1_rayleigh_quotients": tuple(eigen.history),
            "algorithm1_trace": trace.value,
            "algorithm1_trace_std": trace.standard_error * len(trace.samples) ** 0.5,
            "algorithm1_trace_samples": tuple(trace.samples),
            "hessian_trace": trace.value,
            "hessian_trace_standard_error": trace.standard_error,
            # Power iteration finds the eigenvalue of largest magnitude. If it is negative, lambda_max is unknown.
            "hessian_lambda_max": eigen.value if eigen.value >= 0 else None,
            "hessian_lambda_max_residual": eigen.residual if eigen.value >= 0 else None,
        }

    def _lanczos(self, operator: HessianOperator, number: int) -> dict[str, Any]:
        result = lanczos(
            operator,
            self.config.lanczos_products,
            tolerance=self.config.lanczos_tolerance,
            generator=stream(self.seed, "lanczos start", number),
            coarse_fraction=self.config.lanczos_coarse_fraction or None,
        )
        return {
            "hessian_lambda_max": result.lambda_max,
            "hessian_lambda_max_residual": result.residual,
            "hessian_lambda_min": result.lambda_min,
            "hessian_lambda_min_residual": result.lambda_min_residual,
            "lanczos_history": tuple(result.history),
        }

    def _trace(self, operator: HessianOperator, number: int) -> dict[str, Any]:
        """Returns the trace of the Hessian. Piecewise linear networks, such as the paper's, need no probes."""
        signs = stream(self.seed, "trace signs", number)
        trace = hessian_trace(operator, sampled="sampled_trace" in self.config.estimators, generator=signs)
        return {
            "hessian_trace": trace.value,
            "hessian_trace_standard_error": trace.standard_error,
            "hessian_gauss_newton_trace": None if trace.gauss_newton_trace.exact else trace.gauss_newton,
            "trace_per_parameter": dict(trace.gauss_newton_trace.per_parameter),
            "trace_samples": trace.samples,
        }


def _return_memory() -> None:
    """Returns freed memory to the operating system. Otherwise glibc keeps more of it with every measurement."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def _memory_budget(device: torch.device) -> int:
    """Returns the memory budget for kept graphs in bytes, a share of this trial's memory. It affects only the speed."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return min(_LARGEST_BUDGET, free // 4)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(_LARGEST_BUDGET, memory // 4 * torch.get_num_threads() // (os.cpu_count() or 1))
