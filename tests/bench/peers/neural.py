"""TabM or RealMLP on one split of a table, with its package's defaults; prints figures as JSON.

python neural.py tabm|realmlp TRAIN.csv TEST.csv LABEL
"""

import json
import sys
import time

import numpy as np
import pandas as pd
from pytabkit import RealMLP_TD_Classifier, TabM_D_Classifier


def main():
    name, train, test, label = sys.argv[1:]
    # A number that is missing may be a blank.
    train, test = (pd.read_csv(path, skipinitialspace=True) for path in (train, test))
    y, y_test = train.pop(label).astype(str), test.pop(label).astype(str)
    text = [c for c in train if not pd.api.types.is_numeric_dtype(train[c])]
    for frame in (train, test):
        frame[text] = frame[text].fillna("").astype(str)
    began = time.perf_counter()
    model = {"tabm": TabM_D_Classifier, "realmlp": RealMLP_TD_Classifier}[name](device="cpu")
    model.fit(train, y, cat_col_names=text)
    said = model.predict_proba(test)
    place = {str(each): i for i, each in enumerate(model.classes_)}
    true = np.array([place.get(each, -1) for each in y_test])
    known = np.where(true >= 0, said[np.arange(len(said)), true], 0)
    print(
        json.dumps(
            {
                "errors": int((said.argmax(axis=1) != true).sum()),
                "rows": len(true),
                "loss": float(-np.log(np.clip(known, 1e-7, 1)).mean()),
                "seconds": time.perf_counter() - began,
            }
        )
    )


if __name__ == "__main__":
    main()
