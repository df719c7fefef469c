"""Makes the files of ``tflite/``: one random MDRNN, as IMPSY's converter writes it, in three precisions.

    python tests/python/make_tflite.py      with IMPSY 1.2.1 (and so TensorFlow) installed beside neurig

``random.keras`` is the network; the others come from it through TensorFlow's own converter. ``signature.tflite`` has a
signature, as files of IMPSY before version 1.2 have; the others do not.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "bridge")]


def main() -> None:
    import tensorflow as tf
    from impsy.tflite_converter import _make_concrete_function
    from keras_mdn_layer import MDN

    network = HERE / "tflite" / "random.keras"
    model = tf.keras.models.load_model(network, custom_objects={"MDN": MDN})

    def save(name: str, converter: tf.lite.TFLiteConverter, *types: tf.DType, optimise: bool = False) -> None:
        converter.target_spec.supported_types = list(types)
        converter.optimizations = [tf.lite.Optimize.DEFAULT] * optimise
        (HERE / "tflite" / f"{name}.tflite").write_bytes(converter.convert())

    def plain() -> tf.lite.TFLiteConverter:
        return tf.lite.TFLiteConverter.from_concrete_functions([_make_concrete_function(model)])

    save("float32", plain())
    save("float16", plain(), tf.float16, optimise=True)
    save("int8", plain(), optimise=True)
    with_signature = tf.lite.TFLiteConverter.from_keras_model(model)
    with_signature.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    with_signature._experimental_lower_tensor_list_ops = False
    save("signature", with_signature, optimise=True)


if __name__ == "__main__":
    main()
