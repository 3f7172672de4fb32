"""The sweep as a user would write it: Ray Tune, its MLflow callback, a DataLoader, and a library for the Hessian.

It uses nothing of this project. The benchmark runs it as ``python script.py --library PyHessian ...``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

VALIDATION_FRACTION = 0.1
NOISE = 0.25
"""Standard deviation of the noise on the OOD images."""
criterion = nn.CrossEntropyLoss()


def read_images(folder: Path) -> TensorDataset:
    """Decodes and normalises all images of a folder."""
    normalise = Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    images, labels = zip(*ImageFolder(str(folder), Compose([ToTensor(), normalise])), strict=True)
    return TensorDataset(torch.stack(images), torch.tensor(labels))


def cnn() -> nn.Module:
    """The paper's network for images of 3x32x32."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(2048, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10)),
    )


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Any], noise: float = 0.0) -> float:
    """Accuracy in percent."""
    model.eval()
    correct = total = 0
    for images, labels in loader:
        noisy = images + noise * torch.randn_like(images)
        correct += (model(noisy).argmax(1) == labels).sum().item()
        total += len(labels)
    return 100 * correct / total


def pyhessian(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """lambda_max by power iteration and the trace by Hutchinson's method, with PyHessian's default settings."""
    from pyhessian import hessian

    computed = hessian(model, criterion, data=(images, labels), cuda=False)
    traces = computed.trace()
    return computed.eigenvalues()[0][0], sum(traces) / len(traces)


def eigenthings(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """The same methods with the default settings of hessian-eigenthings."""
    from hessian_eigenthings.algorithms.power_iteration import power_iteration_one
    from hessian_eigenthings.algorithms.trace import hutchinson
    from hessian_eigenthings.loss_fns.standard import supervised_loss
    from hessian_eigenthings.operators.hessian import HessianOperator

    operator = HessianOperator(model, [(images, labels)], supervised_loss(criterion))
    return power_iteration_one(operator)[0], hutchinson(operator).estimate


LIBRARIES: dict[str, Callable[[nn.Module, Tensor, Tensor], tuple[float, float]]] = {
    "PyHessian": pyhessian,
    "hessian-eigenthings": eigenthings,
}


def train(config: dict[str, Any]) -> None:
    """Trains one network and reports all quantities before the first epoch and after each one."""
    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    images, test = read_images(config["images"] / "train"), read_images(config["images"] / "test")
    split = [1 - VALIDATION_FRACTION, VALIDATION_FRACTION]
    training, validation = random_split(images, split, torch.Generator().manual_seed(42))
    measured = training[: round(config["fraction"] * len(training))]
    model = cnn()
    optimizer = torch.optim.SGD(model.parameters(), config["lr"])
    batches = DataLoader(training, config["batch_size"], shuffle=True)
    validation_batches, test_batches = DataLoader(validation, 1000), DataLoader(test, 1000)
    loss_sum = 0.0
    for epoch in range(config["epochs"] + 1):
        if epoch > 0:
            model.train()
            loss_sum = 0.0
            for inputs, labels in batches:
                optimizer.zero_grad()
                loss = criterion(model(inputs), labels)
                loss.backward()
                optimizer.step()
                loss_sum += loss.item()
        result = {
            "loss": loss_sum / len(batches),
            "validation_accuracy": accuracy(model, validation_batches),
            "test_accuracy": accuracy(model, test_batches),
            "ood_accuracy": accuracy(model, test_batches, NOISE),
        }
        lambda_max, trace = LIBRARIES[config["library"]](model, *measured)
        result |= {"lambda_max": lambda_max, "trace": trace}
        file = config["checkpoints"] / f"{config['lr']}-{config['seed']}-{epoch}.pt"
        torch.save({"model": model.state_dict(), "measured": measured, "result": result}, file)
        tune.report(result)


def main() -> None:
    """Runs the sweep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", choices=LIBRARIES, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--tracking-uri", required=True)
    parser.add_argument("--lr", type=float, nargs="+", required=True)
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--fraction", type=float, required=True)
    given = vars(parser.parse_args())
    given["checkpoints"].mkdir(exist_ok=True)
    tracking = MLflowLoggerCallback(given.pop("tracking_uri"), experiment_name="race")
    space = {**given, "lr": tune.grid_search(given["lr"]), "seed": tune.grid_search(given["seed"])}
    storage = str(given["checkpoints"].resolve() / "ray")
    tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=space,
        run_config=tune.RunConfig(callbacks=[tracking], storage_path=storage, verbose=0),
    ).fit()


if __name__ == "__main__":
    main()
