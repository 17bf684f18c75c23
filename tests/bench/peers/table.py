"""One peer on one split of a table, with its library's defaults; prints its figures as JSON.

python table.py hist|catboost|tabm|realmlp TRAIN.csv TEST.csv LABEL
"""

import json
import sys
import time

import numpy as np
import pandas as pd


def hist(train, y, text):
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    kinds = {c: pd.CategoricalDtype(sorted(train[c].dropna().astype(str).unique())) for c in text}

    def prepared(frame):
        return frame.assign(
            **{c: frame[c].astype(str).where(frame[c].notna()).astype(k) for c, k in kinds.items()}
        )

    model.fit(prepared(train), y)
    return model, prepared


def catboost(train, y, text):
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        random_seed=0, verbose=0, thread_count=2, allow_writing_files=False, cat_features=text
    )

    def prepared(frame):
        return without_gaps(frame, text)

    model.fit(prepared(train), y)
    return model, prepared


def tabm(train, y, text):
    from pytabkit import TabM_D_Classifier

    return neural(TabM_D_Classifier, train, y, text)


def realmlp(train, y, text):
    from pytabkit import RealMLP_TD_Classifier

    return neural(RealMLP_TD_Classifier, train, y, text)


def neural(kind, train, y, text):
    model = kind(device="cpu")

    def prepared(frame):
        return without_gaps(frame, text)

    model.fit(prepared(train), y, cat_col_names=text)
    return model, prepared


def without_gaps(frame, text):
    """The rows with missing text as ""."""
    return frame.assign(**{c: frame[c].astype(str).where(frame[c].notna(), "") for c in text})


PEERS = {"hist": hist, "catboost": catboost, "tabm": tabm, "realmlp": realmlp}


def main():
    name, train, test, label = sys.argv[1:]
    # A number that is missing may be a blank.
    train, test = (pd.read_csv(path, skipinitialspace=True) for path in (train, test))
    y, y_test = train.pop(label).astype(str), test.pop(label).astype(str)
    text = [c for c in train if not pd.api.types.is_numeric_dtype(train[c])]
    began = time.perf_counter()
    model, prepared = PEERS[name](train, y, text)
    said = model.predict_proba(prepared(test))
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
