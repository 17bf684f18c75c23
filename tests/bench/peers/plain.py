"""The tutorial: plain Keras `model.fit` on float32 NumPy arrays and one-hot labels."""

import keras
from common import Stopwatch, arguments, mnist

options = arguments()
x, y, x_test, y_test = mnist()
x = x.astype("float32") / 255
x_test = x_test.astype("float32") / 255
y = keras.utils.to_categorical(y, 10)
y_test = keras.utils.to_categorical(y_test, 10)

watch = Stopwatch()
model = keras.Sequential(
    [
        keras.Input((784,)),
        keras.layers.Dense(350, activation="relu"),
        keras.layers.Dense(50, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
model.fit(
    x,
    y,
    epochs=options.epochs,
    batch_size=options.batch_size,
    validation_split=0.2,
    verbose=0,
    callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: watch.epoch_ended())],
)
watch.report(lambda: model.evaluate(x_test, y_test, verbose=0)[1])
