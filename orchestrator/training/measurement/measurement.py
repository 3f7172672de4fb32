"""What is estimated after an epoch: the one place where the estimators are called."""

import ctypes
import os
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import HessianOperator, hessian_trace, hutchinson, lanczos, power_iteration
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.record import EpochRecord
from orchestrator.training.streams import stream

_MOST_MEMORY = 2 * 2**30
"""The graphs of 4,500 images in the paper's CNN take 0.8 GB."""


class Measurement:
    """Curvature of the mean training loss, without weight decay, over a fixed subset, in eval mode.

    Leaves the model bitwise as it found it, its mode too, and draws from streams of its own.
    """

    def __init__(self, config: MeasurementConfig, seed: int, inputs: Tensor, targets: Tensor) -> None:
        self.config = config
        self.seed = seed
        self.inputs = inputs
        self.targets = targets

    def chunk_size(self, model: nn.Module) -> int:
        """Images that are differentiated at a time. The model must be in eval mode."""
        return self._operator(model).chunk_size

    def complete(self, record: EpochRecord, model: nn.Module) -> EpochRecord:
        """The record with everything that is due at its epoch filled in; unchanged where the trial has diverged."""
        if record.diverged:
            return record
        started = time.perf_counter()
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            fields, products = self._fields(model, record.epoch)
        finally:
            for module, training in modes:
                module.training = training
            _return_memory()
        return replace(record, **fields, hessian_products=products, time_measure_seconds=time.perf_counter() - started)

    def _fields(self, model: nn.Module, epoch: int) -> tuple[dict[str, Any], float]:
        """Everything that is due, of a model in eval mode, and the products it took."""
        operator = self._operator(model)
        algorithm1 = "algorithm1" in self.config.estimators and epoch % self.config.algorithm1_every == 0
        eigenvalues = "lanczos" in self.config.estimators
        # The better estimate of the same quantity comes later, and is what stays.
        with operator.keeping_graphs() if algorithm1 or eigenvalues else nullcontext():
            fields: dict[str, Any] = {"gradient_norm": float(operator.gradient().norm())}
            if algorithm1:
                fields |= self._algorithm1(operator, epoch)
            if eigenvalues:
                fields |= self._lanczos(operator, epoch)
        if {"exact_trace", "sampled_trace"} & set(self.config.estimators):
            fields |= self._trace(operator, epoch)
        return fields, operator.products

    def _operator(self, model: nn.Module) -> HessianOperator:
        operator = HessianOperator(
            model, cross_entropy, (self.inputs, self.targets), memory_budget=_memory_budget(self.inputs.device)
        )
        # As Lanczos cuts them: so it shares the graphs of what comes before it.
        fraction = self.config.lanczos_coarse_fraction
        return operator.in_chunks(fraction) if fraction else operator

    def _algorithm1(self, operator: HessianOperator, epoch: int) -> dict[str, Any]:
        """The paper's Algorithm 1, as the paper computes it."""
        start = stream(self.seed, "power iteration start", epoch)
        eigen = power_iteration(operator, self.config.algorithm1_iterations, generator=start)
        probes = stream(self.seed, "trace probes", epoch)
        trace = hutchinson(operator, self.config.algorithm1_probes, generator=probes)
        return {
            "algorithm1_max_eigenvalue": eigen.value,
            "algorithm1_rayleigh_quotients": tuple(eigen.history),
            "algorithm1_trace": trace.value,
            "algorithm1_trace_std": trace.standard_error * len(trace.samples) ** 0.5,
            "algorithm1_trace_samples": tuple(trace.samples),
            "hessian_trace": trace.value,
            "hessian_trace_standard_error": trace.standard_error,
            # Power iteration finds the largest magnitude: where that is negative it says nothing of lambda_max.
            "hessian_lambda_max": eigen.value if eigen.value >= 0 else None,
            "hessian_lambda_max_residual": eigen.residual if eigen.value >= 0 else None,
        }

    def _lanczos(self, operator: HessianOperator, epoch: int) -> dict[str, Any]:
        start = stream(self.seed, "lanczos start", epoch)
        result = lanczos(
            operator,
            self.config.lanczos_products,
            tolerance=self.config.lanczos_tolerance,
            generator=start,
            coarse_fraction=self.config.lanczos_coarse_fraction or None,
        )
        return {
            "hessian_lambda_max": result.lambda_max,
            "hessian_lambda_max_residual": result.residual,
            "hessian_lambda_min": result.lambda_min,
            "hessian_lambda_min_residual": result.lambda_min_residual,
            "lanczos_history": tuple(result.history),
        }

    def _trace(self, operator: HessianOperator, epoch: int) -> dict[str, Any]:
        """Without probes where the network is piecewise linear, which all but users' own are."""
        signs = stream(self.seed, "trace signs", epoch)
        trace = hessian_trace(operator, sampled="sampled_trace" in self.config.estimators, generator=signs)
        return {
            "hessian_trace": trace.value,
            "hessian_trace_standard_error": trace.standard_error,
            "hessian_gauss_newton_trace": None if trace.gauss_newton_trace.exact else trace.gauss_newton,
            "trace_per_parameter": dict(trace.gauss_newton_trace.per_parameter),
            "trace_samples": trace.samples,
        }


def _return_memory() -> None:
    """Gives the operating system what graphs have freed: glibc keeps it, and more of it after every measurement."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def _memory_budget(device: torch.device) -> int:
    """Bytes for graphs, which decide how fast products are and no bit of them: a share of what this trial may use."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return min(_MOST_MEMORY, free // 4)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(_MOST_MEMORY, memory // 4 * torch.get_num_threads() // (os.cpu_count() or 1))
