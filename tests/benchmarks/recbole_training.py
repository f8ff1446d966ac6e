"""RecBole's half of `tests.benchmarks.training`, run by the interpreter of its own environment.

    PYTHON recbole_training.py FOLDER '{"length": 50, …}'

Trains RecBole's SASRec on FOLDER/events/events.inter for some epochs, after a few steps to warm
up, and prints JSON: targets of an epoch, parameters, and seconds of each epoch.
"""

import json
import sys
import time
from itertools import islice

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed


def configured(folder, shape):
    return Config(
        model="SASRec",
        dataset="events",
        config_dict={
            "data_path": folder,
            "checkpoint_dir": folder,
            "use_gpu": False,
            "MAX_ITEM_LIST_LENGTH": shape["length"],
            "hidden_size": shape["dimension"],
            "n_layers": shape["blocks"],
            "n_heads": shape["heads"],
            "inner_size": 4 * shape["dimension"],
            "hidden_dropout_prob": shape["dropout"],
            "attn_dropout_prob": shape["dropout"],
            "loss_type": "CE",
            "train_neg_sample_args": None,
            "train_batch_size": shape["targets"],
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        },
    )


def measured(folder, shape, epochs, anomalies):
    config = configured(folder, shape)
    init_seed(config["seed"], config["reproducibility"])
    train, _, _ = data_preparation(config, create_dataset(config))
    model = get_model("SASRec")(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
    # Importing RecBole's sequential models has turned the search for anomalies on.
    torch.autograd.set_detect_anomaly(anomalies and torch.is_anomaly_enabled())
    trainer._train_epoch(list(islice(train, 3)), 0)
    seconds = []
    for epoch in range(epochs):
        cpu, wall = time.process_time(), time.perf_counter()
        trainer._train_epoch(train, epoch)
        seconds.append([time.process_time() - cpu, time.perf_counter() - wall])
    parameters = sum(weights.numel() for weights in model.parameters())
    return {"targets": len(train.dataset), "parameters": parameters, "epochs": seconds}


if __name__ == "__main__":
    folder, given = sys.argv[1], json.loads(sys.argv[2])
    sys.argv = sys.argv[:1]  # RecBole reads the command line
    torch.set_num_threads(given["threads"])
    print(json.dumps(measured(folder, given["shape"], given["epochs"], given["anomalies"])))
