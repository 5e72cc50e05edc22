"""Write a checkpoint of Ede's network with TensorFlow, and what each of its layers gives.

Runs where TensorFlow is and lowdose is not: the network is built anew from the paper's table with
TensorFlow's own operations, which also number its variables. Weights are random; the moments are
measured and then disturbed, so that few activations are cut off at 0 or 6.

    python write_ede2018_checkpoint.py FOLDER --width 0.03125 --shape 32 320 --most 500

wrote tests/models/ede2018_checkpoint, and without options it writes the network at its full width.
FOLDER then holds the checkpoint `-1234` and layers.npz: the input, the output of both forms of the
image level, and a sample of each layer's output, of the second form where it differs.
"""

import argparse
from pathlib import Path

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1

STEP = 1234
EPSILON = 1e-3
FORMS = ("released", "figure")


class Network:
    """The network as a graph; its layers are named as their variables are."""

    def __init__(self, width: float, form: str, seed: int, *, measures: bool) -> None:
        self.width, self.form, self.measures = width, form, measures
        self.rng = np.random.default_rng(seed)
        self.layers: dict[str, tf.Tensor] = {}
        self.measurements: list[tf.Operation] = []

    def build(self, image):
        with tf1.variable_scope("nn"):
            skip_a = self.entry(image, 64, 64, 128)
            skip_b = self.entry(skip_a, 128, 128, 128)
            x = self.entry(self.entry(skip_b, 256, 256, 256), 728, 728, 728)
            for _ in range(12):
                x = x + self.separable(self.separable(self.separable(x, 728), 728), 728)
            x = self.pyramid(x)
            x = tf1.image.resize_bilinear(x, [4 * side for side in x.shape[1:3]])
            x = self.transposed(self.refine(tf.concat([x, skip_b], 3), 256), 256)
            x = self.transposed(self.refine(tf.concat([x, skip_a], 3), 128), 128)
            return self.plain(self.refine(x, 64), None, kernel=3)

    def entry(self, x, first, second, last):
        main = self.separable(self.separable(x, first), second)
        main = self.separable(main, last, stride=2)
        return main + self.plain(x, last, stride=2)

    def refine(self, x, channels):
        main = self.separable(self.separable(x, channels), channels)
        return main + self.plain(x, channels)

    def pyramid(self, x):
        branches = [self.plain(x, 728)]
        for rate in (6, 12, 18):
            branches.append(self.activated(self.separable(x, 728, rate=rate)))
        image_level = x
        if self.form == "figure":
            image_level = tf1.nn.avg_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
        image_level = tf1.image.resize_bilinear(image_level, x.shape[1:3])
        branches.append(self.activated(image_level))
        return self.plain(tf.concat(branches, 3), 256)

    def separable(self, x, channels, *, stride=1, rate=1):
        into, out = x.shape[3], self.scaled(channels)
        with tf1.variable_scope(None, "SeparableConv2d") as scope:
            depthwise = self.weights("depthwise_weights", (3, 3, into, 1), 9)
            pointwise = self.weights("pointwise_weights", (1, 1, into, out), into)
            x = tf1.nn.separable_conv2d(
                x, depthwise, pointwise, [1, stride, stride, 1], "SAME", rate=[rate, rate]
            )
            x = self.normalised(x)
        return self.activated(self.recorded(scope, x))

    def plain(self, x, channels, *, kernel=1, stride=1):
        into, out = x.shape[3], 1 if channels is None else self.scaled(channels)
        with tf1.variable_scope(None, "Conv") as scope:
            weights = self.weights("weights", (kernel, kernel, into, out), kernel**2 * into)
            x = tf1.nn.conv2d(x, weights, strides=[1, stride, stride, 1], padding="SAME")
            x = x + self.vector("biases", out, -0.5, 0.5)
        return self.activated(self.recorded(scope, x))

    def transposed(self, x, channels):
        (_, height, width, into), out = x.shape, self.scaled(channels)
        with tf1.variable_scope(None, "Conv2d_transpose") as scope:
            weights = self.weights("weights", (3, 3, out, into), 2.25 * into)
            shape = [1, 2 * height, 2 * width, out]
            x = tf1.nn.conv2d_transpose(x, weights, shape, [1, 2, 2, 1], "SAME")
            x = x + self.vector("biases", out, -0.5, 0.5)
        return self.activated(self.recorded(scope, x))

    def activated(self, x):
        with tf1.variable_scope(None, "BatchNorm") as scope:
            x = tf.nn.relu6(self.normalised(x, is_inside=True))
        return self.recorded(scope, x)

    def normalised(self, x, *, is_inside=False):
        if not is_inside:
            with tf1.variable_scope(None, "BatchNorm"):
                return self.normalised(x, is_inside=True)
        channels = x.shape[3]
        # Mostly within 0 and 6, with some cut off at either.
        gamma, beta = self.vector("gamma", channels, 0.7, 1.8), self.vector("beta", channels, 2, 4)
        moments = [self.vector(f"moving_{name}", channels) for name in ("mean", "variance")]
        if not self.measures:
            x, *_ = tf1.nn.fused_batch_norm(
                x, gamma, beta, *moments, epsilon=EPSILON, is_training=False
            )
            return x
        mean, variance = tf1.nn.moments(x, [0, 1, 2])
        disturbed = (
            mean + tf.sqrt(variance) * self.random(channels, -0.3, 0.3),
            variance * self.random(channels, 0.6, 1.6),
        )
        self.measurements += [tf1.assign(*pair) for pair in zip(moments, disturbed, strict=True)]
        return tf.nn.batch_normalization(x, *disturbed, beta, gamma, EPSILON)

    def scaled(self, channels):
        return max(1, round(self.width * channels))

    def recorded(self, scope, x):
        self.layers[scope.name.removeprefix("nn/")] = x
        return x

    def weights(self, name, shape, fan_in):
        values = self.rng.normal(0, float(fan_in) ** -0.5, shape).astype(np.float32)
        return tf1.get_variable(name, initializer=values, use_resource=False)

    def vector(self, name, channels, least=0.0, most=0.0):
        return tf1.get_variable(
            name,
            initializer=self.random(channels, least, most),
            trainable="moving" not in name,
            use_resource=False,
        )

    def random(self, channels, least, most):
        return self.rng.uniform(least, most, int(channels)).astype(np.float32)


def train(folder: Path, image: np.ndarray, width: float, seed: int) -> str:
    """Save a checkpoint as training does, with its step and Adam's slots; return its prefix."""
    with tf.Graph().as_default(), session() as run:
        network = Network(width, "released", seed, measures=True)
        output = network.build(tf.constant(image))
        step = tf1.train.get_or_create_global_step()
        tf1.train.AdamOptimizer(1e-3, beta1=0.5).minimize(
            tf.reduce_mean(output**2), global_step=step
        )
        run.run(tf1.global_variables_initializer())
        run.run(network.measurements)
        run.run(tf1.assign(step, STEP))
        # With nothing before the dash, as the released one is called.
        return tf1.train.Saver(save_relative_paths=True).save(
            run, f"{folder}/", STEP, write_meta_graph=False
        )


def apply(prefix: str, image: np.ndarray, width: float, form: str, most: int) -> dict:
    """Restore the checkpoint and return the output, and at most so many values of each layer."""
    with tf.Graph().as_default(), session() as run:
        network = Network(width, form, 0, measures=False)
        output = network.build(tf.constant(image))
        tf1.train.Saver().restore(run, prefix)
        layers = {name: sampled(layer, most) for name, layer in network.layers.items()}
        return run.run({"output": output, **layers})


def sampled(layer: tf.Tensor, most: int) -> tf.Tensor:
    # An odd step visits all channels, whose number is often a power of two.
    step = -(-layer.shape.num_elements() // most) | 1
    return tf.reshape(layer, [-1])[::step]


def session() -> tf1.Session:
    return tf1.Session(
        config=tf1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=float, default=1.0, help="factor on all channels")
    parser.add_argument("--shape", type=int, nargs=2, default=(512, 512), help="of the image")
    parser.add_argument("--most", type=int, default=1 << 20, help="values kept of each layer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tf1.disable_eager_execution()
    options.folder.mkdir(parents=True, exist_ok=True)
    shape = (1, *options.shape, 1)
    image = np.random.default_rng(options.seed + 1).uniform(0, 1, shape).astype(np.float32)
    prefix = train(options.folder, image, options.width, options.seed)
    first, second = (apply(prefix, image, options.width, form, options.most) for form in FORMS)
    changed = {name for name in second if not np.array_equal(second[name], first[name])}
    np.savez(
        options.folder / "layers.npz",
        input=image,
        most=options.most,
        **{f"released/{name}": values for name, values in first.items()},
        **{f"figure/{name}": second[name] for name in sorted(changed)},
    )


if __name__ == "__main__":
    main()
