"""Two learning rates on the digits of scikit-learn: trains, measures, and compares lambda_max with 2 / lr.

Run it with the environment of `make setup`: .venv/bin/python docs/examples/learning_rates.py
"""

from orchestrator import check, define_sweep, frames, plan, run

SWEEP = define_sweep(
    "learning_rates",
    description="Full-batch gradient descent on 300 digits at learning rates 0.15 and 0.2.",
    trial={
        "data": {"name": "digits", "train_subset": 300, "classes": 4, "validation_fraction": 0},
        "model": {"name": "mlp", "hidden": [32], "activation": "tanh"},
        "loss": "mse",
        "optimizer": {"name": "sgd", "lr": 0.2},
        "batch_size": "full",
        "steps": 600,
        "record_every": "10 steps",
        "measurement": {"fraction": 1.0, "estimators": ["stability"]},
    },
    grid={"optimizer.lr": [0.15, 0.2], "seed": [0, 1]},
    expect=[
        {
            "quantity": "stability/ratio",
            "over": "last third",
            "value": 1.0,
            "at_least": 0.8,
            "at_most": 1.12,
            "claim": "Gradient descent trains at the edge of stability.",
            "source": "Cohen et al., 2021, arXiv:2103.00065",
        }
    ],
)

if __name__ == "__main__":  # trials run in processes that import this file
    print(plan(SWEEP, engine="local"))
    run(SWEEP, engine="local")
    records = frames(SWEEP).epochs
    print(records.groupby("trial_id").stability_sharpness.last())
    print(check(SWEEP))
