"""Writes train.csv and test.csv from the copy in scikit-learn 1.9: python make.py; then prints what its models score.

Every fifth row after a fixed shuffle is a test row.
"""

import csv

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAMES = ["age", "sex", "bmi", "blood_pressure", "cholesterol", "ldl", "hdl", "tch", "ltg", "glucose"]
data = load_diabetes(scaled=False)
order = np.random.RandomState(0).permutation(len(data.target))
test = np.zeros(len(order), bool)
test[order[::5]] = True
for name, rows in (("train", ~test), ("test", test)):
    with open(f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*NAMES, "progression"])
        for x, y in zip(data.data[rows], data.target[rows]):
            cells = [f"{v:g}" for v in x]
            cells[1] = {"1": "a", "2": "b"}[cells[1]]  # the source does not say which is which
            writer.writerow([*cells, f"{y:g}"])

x, y = data.data, data.target
for name, models in (
    ("ridge", [make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 25)))]),
    ("MLPRegressor", [make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(64,), alpha=1e-2, early_stopping=True, max_iter=2000, learning_rate_init=1e-2,
                                                             random_state=seed)) for seed in range(5)]),
):
    answers = [model.fit(x[~test], y[~test]).predict(x[test]) for model in models]
    rmse = np.mean([root_mean_squared_error(y[test], a) for a in answers])
    r2 = np.mean([r2_score(y[test], a) for a in answers])
    print(f"{name}: RMSE {rmse:.2f}, R2 {r2:.3f}")
