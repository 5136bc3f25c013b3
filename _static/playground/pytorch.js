// The settings as a PyTorch program: the same points, weights and batches, so the same numbers.
((lib) => {
  "use strict";

  const LAYERS = { relu: "nn.ReLU()", tanh: "nn.Tanh()", sigmoid: "nn.Sigmoid()" };

  // What is done to the network before a step, as lines inside the loop.
  const ACTS = {
    stretch: (at) => [
      `if step == ${at}:  # stretch every hidden weight`,
      "    for m in list(net)[:-1]:",
      `        if isinstance(m, nn.Linear): m.weight.data *= ${lib.race.FACTOR}`,
    ],
    recalibrate: (at, { batch, momentum }) => [
      `if step == ${at} and bn:  # recalibrate: plain averages over all batches`,
      "    norms = [m for m in net if isinstance(m, nn.BatchNorm1d)]",
      "    for m in norms: m.reset_running_stats(); m.momentum = None",
      `    with torch.no_grad(): [net(x[rows]) for rows in torch.tensor(shuffled(stream(0))).split(${batch}) if len(rows) == ${batch}]`,
      `    for m in norms: m.momentum = ${momentum}`,
    ],
  };

  function hidden({ norm, activation, width, momentum }) {
    const layer = LAYERS[activation], bn = `*[nn.BatchNorm1d(${width}, momentum=${momentum})] * bn`;
    return norm === "before" ? `${bn}, ${layer}` : `${layer}, ${bn}`;
  }

  function program(settings, steps) {
    const { depth, width, scale, rate, batch, seed } = settings;
    const { COUNT, TURNS, NOISE, REACH } = lib.data;
    const performed = settings.acts.filter(({ at }) => at <= steps);
    const acts = performed.flatMap(({ what, at }) => ACTS[what](at, settings)).map((line) => `        ${line}\n`).join("");
    const loop = performed.some(({ at }) => at === steps) ? `range(${steps + 1})` : `range(${steps})`;
    const last = performed.some(({ at }) => at === steps) ? `        if step == ${steps}: break\n` : "";
    return `# Two networks, one with batch normalization: same points, weights and batches.
import math
import torch
from torch import nn
torch.set_default_dtype(torch.float64)

def stream(s):  # the playground's random numbers (mulberry32)
    while True:
        s = s + 0x6D2B79F5 & 0xFFFFFFFF
        t = (s ^ s >> 15) * (s | 1) & 0xFFFFFFFF
        t ^= t + ((t ^ t >> 7) * (t | 61) & 0xFFFFFFFF) & 0xFFFFFFFF
        yield (t ^ t >> 14) / 2**32

def normal(u): return math.sqrt(-2 * math.log(1 - next(u))) * math.cos(2 * math.pi * next(u))
def shuffled(u): return sorted(range(${COUNT}), key=[next(u) for _ in range(${COUNT})].__getitem__)
def point(u, label):  # on one of the two arms of a spiral
    r = math.sqrt(next(u)); a = 2 * math.pi * ${TURNS} * r + math.pi * label
    return [${REACH} * r * math.cos(a) + ${NOISE} * normal(u), ${REACH} * r * math.sin(a) + ${NOISE} * normal(u)]
def linear(u, n, m, std):
    layer = nn.Linear(n, m)
    layer.weight.data = torch.tensor([normal(u) * std for _ in range(n * m)]).view(m, n)
    layer.bias.data.zero_()
    return layer

def train(bn, seed=${seed}):
    u = stream(seed)
    x, y = torch.tensor([point(u, i % 2) for i in range(${COUNT})]), torch.arange(${COUNT}.) % 2
    layers = [[linear(u, n, ${width}, ${scale} * math.sqrt(2 / n)), ${hidden(settings)}] for n in [2] + [${width}] * ${depth - 1}]
    net = nn.Sequential(*sum(layers, []), linear(u, ${width}, 1, math.sqrt(1 / ${width})))
    sgd, order, losses = torch.optim.SGD(net.parameters(), lr=${rate}), [], []
    for step in ${loop}:
${acts}${last}        if len(order) < ${batch}: order = shuffled(u)
        rows, order = order[:${batch}], order[${batch}:]
        loss = nn.functional.binary_cross_entropy_with_logits(net(x[rows])[:, 0], y[rows])
        sgd.zero_grad(); loss.backward(); sgd.step()
        losses.append(loss.item())
    right = ((net.eval()(x)[:, 0] > 0) == (y > 0)).double().mean().item()
    print(f"BN {bn}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, {right:.1%} right in eval()")
    return losses, right

runs = {bn: train(bn) for bn in (False, True)}
`;
  }

  lib.pytorch = { program };
})((globalThis.bnPlay ??= {}));
