// A network of dense layers with or without batch normalization: forward, backward, the step of
// gradient descent, running statistics. Nothing here touches the page.
//
// Values of a batch lie in one array, sample after sample: value j of sample i of w is at i * w + j.
((lib) => {
  "use strict";

  const EPS = 1e-5;

  // Each activation: its value, and its slope from input and value.
  const ACTIVATIONS = {
    relu: { value: (x) => (x > 0 ? x : 0), slope: (x) => (x > 0 ? 1 : 0) },
    tanh: { value: Math.tanh, slope: (_, y) => 1 - y * y },
    sigmoid: { value: (x) => 1 / (1 + Math.exp(-x)), slope: (_, y) => y * (1 - y) },
  };

  // --- Parameters --------------------------------------------------------------------------------

  // Weights of all layers, the last one's row being the output's. Hidden ones have He's standard
  // deviation times `scale`; the output's has 1 / sqrt(width).
  function draw({ depth, width, scale }, uniform) {
    const weights = [];
    for (let k = 0; k <= depth; k += 1) {
      const inputs = k === 0 ? 2 : width, outputs = k === depth ? 1 : width;
      const deviation = k === depth ? Math.sqrt(1 / inputs) : scale * Math.sqrt(2 / inputs);
      weights.push(Float64Array.from({ length: inputs * outputs }, () => deviation * lib.random.normal(uniform)));
    }
    return weights;
  }

  // norm: "none", "before" or "after" the activation.
  function create(weights, { depth, width, activation, momentum }, norm) {
    const zeros = (n) => new Float64Array(n), ones = (n) => new Float64Array(n).fill(1);
    const layers = weights.map((weight, k) => {
      const outputs = k === depth ? 1 : width;
      const normed = norm !== "none" && k < depth;
      return {
        inputs: weight.length / outputs, outputs, normed,
        weight: Float64Array.from(weight), bias: zeros(outputs),
        ...(normed && { gamma: ones(outputs), beta: zeros(outputs), mean: zeros(outputs), variance: ones(outputs) }),
      };
    });
    return { layers, norm, activation: ACTIVATIONS[activation], momentum, hidden: depth };
  }

  const trained = (layer) => (layer.normed ? ["weight", "bias", "gamma", "beta"] : ["weight", "bias"]);

  // --- Forward -----------------------------------------------------------------------------------

  // Arrays for one forward and backward pass over `count` samples; they are used again and again.
  function room(net, count) {
    const layers = net.layers.map((layer) => {
      const size = count * layer.outputs;
      const made = { linear: new Float64Array(size), grad: new Float64Array(size), grads: {} };
      if (layer !== net.layers.at(-1)) made.out = new Float64Array(size);
      if (layer.normed) {
        Object.assign(made, {
          hat: new Float64Array(size), normed: new Float64Array(size),
          mean: new Float64Array(layer.outputs), variance: new Float64Array(layer.outputs),
          used: { mean: null, root: new Float64Array(layer.outputs) },
        });
      }
      for (const name of trained(layer)) made.grads[name] = new Float64Array(layer[name].length);
      return made;
    });
    return { count, layers, logits: layers.at(-1).linear };
  }

  function linear({ weight, bias, inputs, outputs }, x, count, out) {
    for (let i = 0; i < count; i += 1) {
      const from = i * inputs;
      for (let j = 0; j < outputs; j += 1) {
        const row = j * inputs;
        let sum = bias[j];
        for (let k = 0; k < inputs; k += 1) sum += weight[row + k] * x[from + k];
        out[i * outputs + j] = sum;
      }
    }
  }

  // Mean and biased variance of each channel.
  function moments(x, count, width, mean, variance) {
    mean.fill(0);
    variance.fill(0);
    for (let i = 0; i < count; i += 1) for (let j = 0; j < width; j += 1) mean[j] += x[i * width + j];
    for (let j = 0; j < width; j += 1) mean[j] /= count;
    for (let i = 0; i < count; i += 1) {
      for (let j = 0; j < width; j += 1) variance[j] += (x[i * width + j] - mean[j]) ** 2;
    }
    for (let j = 0; j < width; j += 1) variance[j] /= count;
  }

  // statistics: "batch" (training mode), "running" (evaluation mode), or the room of an earlier
  // pass, whose batch's statistics are taken.
  function normalise(layer, x, count, statistics, index, made) {
    const width = layer.outputs;
    let { mean, variance } = layer;
    if (statistics === "batch") {
      moments(x, count, width, made.mean, made.variance);
      ({ mean, variance } = made);
    } else if (statistics !== "running") ({ mean, variance } = statistics.layers[index]);
    const { root } = made.used;
    for (let j = 0; j < width; j += 1) root[j] = Math.sqrt(variance[j] + EPS);
    for (let i = 0; i < count; i += 1) {
      for (let j = 0; j < width; j += 1) {
        const at = i * width + j;
        made.hat[at] = (x[at] - mean[j]) / root[j];
        made.normed[at] = layer.gamma[j] * made.hat[at] + layer.beta[j];
      }
    }
    return made.normed;
  }

  function activate({ value }, x, out) {
    for (let at = 0; at < x.length; at += 1) out[at] = value(x[at]);
    return out;
  }

  // Fill the room with a pass over x; the logits.
  function forward(net, x, made, statistics) {
    made.x = x;
    let values = x;
    net.layers.forEach((layer, k) => {
      const here = made.layers[k];
      here.x = values;
      linear(layer, values, made.count, here.linear);
      if (k === net.hidden) return;
      if (!layer.normed) values = activate(net.activation, here.entered = here.linear, here.out);
      else if (net.norm === "before") {
        here.entered = normalise(layer, here.linear, made.count, statistics, k, here);
        values = activate(net.activation, here.entered, here.out);
      } else {
        activate(net.activation, here.entered = here.linear, here.out);
        values = normalise(layer, here.out, made.count, statistics, k, here);
      }
    });
    return made.logits;
  }

  // --- Loss and backward -------------------------------------------------------------------------

  // Mean cross-entropy of logits against labels 0 and 1.
  function loss(logits, y) {
    let sum = 0;
    for (let i = 0; i < y.length; i += 1) {
      sum += Math.max(logits[i], 0) - logits[i] * y[i] + Math.log1p(Math.exp(-Math.abs(logits[i])));
    }
    return sum / y.length;
  }

  function linearBackward({ weight, inputs, outputs }, { x, grads }, grad, count, below) {
    const { weight: sums, bias: biases } = grads;
    sums.fill(0);
    biases.fill(0);
    for (let i = 0; i < count; i += 1) {
      const from = i * inputs;
      for (let j = 0; j < outputs; j += 1) {
        const g = grad[i * outputs + j], row = j * inputs;
        biases[j] += g;
        for (let k = 0; k < inputs; k += 1) sums[row + k] += g * x[from + k];
      }
    }
    if (!below) return;
    for (let i = 0; i < count; i += 1) {
      for (let k = 0; k < inputs; k += 1) {
        let sum = 0;
        for (let j = 0; j < outputs; j += 1) sum += grad[i * outputs + j] * weight[j * inputs + k];
        below[i * inputs + k] = sum;
      }
    }
  }

  // In place: from the gradient of the output to that of the input, statistics being the batch's.
  function normaliseBackward(layer, { hat, grads, used }, grad, count) {
    const width = layer.outputs;
    const { gamma: dot, beta: sum } = grads;
    dot.fill(0);
    sum.fill(0);
    for (let i = 0; i < count; i += 1) {
      for (let j = 0; j < width; j += 1) {
        const at = i * width + j;
        sum[j] += grad[at];
        dot[j] += grad[at] * hat[at];
      }
    }
    for (let i = 0; i < count; i += 1) {
      for (let j = 0; j < width; j += 1) {
        const at = i * width + j;
        const rest = grad[at] - sum[j] / count - (hat[at] * dot[j]) / count;
        grad[at] = (layer.gamma[j] / used.root[j]) * rest;
      }
    }
  }

  function activateBackward({ slope }, { entered, out }, grad) {
    for (let at = 0; at < grad.length; at += 1) grad[at] *= slope(entered[at], out[at]);
  }

  // After a forward pass in training mode: gradients of all parameters, into the room.
  function backward(net, made, y) {
    const { count, logits, layers } = made;
    const top = layers.at(-1);
    for (let i = 0; i < count; i += 1) top.grad[i] = (1 / (1 + Math.exp(-logits[i])) - y[i]) / count;
    for (let k = net.hidden; k >= 0; k -= 1) {
      const layer = net.layers[k], here = layers[k];
      if (k < net.hidden) {
        if (layer.normed && net.norm === "after") normaliseBackward(layer, here, here.grad, count);
        activateBackward(net.activation, here, here.grad);
        if (layer.normed && net.norm === "before") normaliseBackward(layer, here, here.grad, count);
      }
      linearBackward(layer, here, here.grad, count, k > 0 ? layers[k - 1].grad : null);
    }
  }

  // --- What changes a network --------------------------------------------------------------------

  // One step of gradient descent along the room's gradients.
  function descend(net, made, rate) {
    net.layers.forEach((layer, k) => {
      for (const name of trained(layer)) {
        const values = layer[name], grads = made.layers[k].grads[name];
        for (let at = 0; at < values.length; at += 1) values[at] -= rate * grads[at];
      }
    });
  }

  // Move running statistics towards the room's batch by `momentum`; the variance is the unbiased one.
  function track(net, made, momentum = net.momentum) {
    net.layers.forEach((layer, k) => {
      if (!layer.normed) return;
      const { mean, variance } = made.layers[k], unbias = made.count / (made.count - 1);
      for (let j = 0; j < layer.outputs; j += 1) {
        layer.mean[j] += momentum * (mean[j] - layer.mean[j]);
        layer.variance[j] += momentum * (variance[j] * unbias - layer.variance[j]);
      }
    });
  }

  // Multiply every hidden weight; the output's weights stay.
  function stretch(net, factor) {
    net.layers.slice(0, net.hidden).forEach(({ weight }) => weight.forEach((w, at) => { weight[at] = factor * w; }));
  }

  // Running statistics anew: the plain average over the batches, for the weights as they are.
  function recalibrate(net, batches) {
    if (net.norm === "none") return;
    batches.forEach((batch, i) => {
      const made = room(net, batch.count);
      forward(net, batch.x, made, "batch");
      track(net, made, 1 / (i + 1));
    });
  }

  lib.network = { draw, create, room, forward, loss, backward, descend, track, stretch, recalibrate, trained, ACTIVATIONS, EPS };
})((globalThis.bnPlay ??= {}));
