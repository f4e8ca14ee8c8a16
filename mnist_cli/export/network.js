"use strict";
/* The network, layer by layer, for one sample. An image is { values, height, width, channels },
   its values row by row, the channels of a pixel side by side: then pairing columns and
   flattening change no value. Sums are of 64 bits. */
const LAYERS = {
  normalize(image, { scale, offset }) {
    return { ...image, values: Float64Array.from(image.values, (value) => scale * value + offset) };
  },

  /* Shears, centres and stretches the image, as Deskew in models/layers.py; pixels outside are 0. */
  deskew(image, { width, scales, slants, epsilon }) {
    const { values } = image, side = image.width, centre = (side - 1) / 2;
    const limited = (value, [least, greatest]) => Math.min(Math.max(value, least), greatest);
    const total = (factor) => values.reduce((sum, value, n) => sum + value * factor(Math.floor(n / side) - centre, n % side - centre), 0);
    const ink = Math.max(total(() => 1), 0) + epsilon;
    const y = total((down) => down) / ink;
    const x = total((down, right) => right) / ink;
    const yy = total((down) => down * down) / ink - y * y;
    const xx = total((down, right) => right * right) / ink - x * x;
    const xy = total((down, right) => down * right) / ink - x * y;
    const slant = limited(xy / (yy + epsilon), slants);
    const variance = xx - slant * (2 * xy - slant * yy);
    const scale = limited(Math.sqrt(Math.max(variance, 0)) / width, scales);
    const pixel = (row, column) => (column < 0 || column >= side ? 0 : values[row * side + column]);
    const read = values.map((_, n) => {
      const row = Math.floor(n / side);
      const column = x + slant * (row - centre - y) + scale * (n % side - centre) + centre;
      const left = Math.floor(column);
      return pixel(row, left) + (column - left) * (pixel(row, left + 1) - pixel(row, left));
    });
    return { ...image, values: read };
  },

  pairColumns(image) {
    return { ...image, width: image.width / 2, channels: 2 * image.channels };
  },

  flatten(image) {
    return { values: image.values, height: 1, width: 1, channels: image.values.length };
  },

  relu(image) {
    return { ...image, values: image.values.map((value) => (value < 0 ? 0 : value)) };
  },

  maxPool({ values, height, width, channels }, { side, stride }) {
    const rows = Math.floor((height - side) / stride) + 1, columns = Math.floor((width - side) / stride) + 1;
    const found = new Float64Array(rows * columns * channels).fill(-Infinity);
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        for (let down = 0; down < side; down++)
          for (let right = 0; right < side; right++) {
            const from = ((row * stride + down) * width + column * stride + right) * channels;
            const to = (row * columns + column) * channels;
            for (let n = 0; n < channels; n++) found[to + n] = Math.max(found[to + n], values[from + n]);
          }
    return { values: found, height: rows, width: columns, channels };
  },

  /* weight: [kernel height, kernel width, inputs, outputs] */
  convolution({ values, height, width, channels }, { kernel, outputs, stride, padding, weight, bias }) {
    const rows = Math.floor((height + 2 * padding[0] - kernel[0]) / stride[0]) + 1;
    const columns = Math.floor((width + 2 * padding[1] - kernel[1]) / stride[1]) + 1;
    const sums = new Float64Array(rows * columns * outputs);
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const to = (row * columns + column) * outputs;
        if (bias) sums.set(bias, to);
        for (let down = 0; down < kernel[0]; down++) {
          const y = row * stride[0] + down - padding[0];
          if (y < 0 || y >= height) continue;
          for (let right = 0; right < kernel[1]; right++) {
            const x = column * stride[1] + right - padding[1];
            if (x < 0 || x >= width) continue;
            const from = (y * width + x) * channels, first = (down * kernel[1] + right) * channels;
            for (let n = 0; n < channels; n++) addTimes(sums, to, values[from + n], weight, (first + n) * outputs, outputs);
          }
        }
      }
    return { values: sums, height: rows, width: columns, channels: outputs };
  },

  channelNorm(image, { epsilon, weight, bias }) {
    const means = LAYERS.channelMean(image, {}).values, { values, channels } = image;
    const squares = { ...image, values: values.map((value, n) => (value - means[n % channels]) ** 2) };
    const scales = LAYERS.channelMean(squares, {}).values.map((variance, n) => weight[n] / Math.sqrt(variance + epsilon));
    return { ...image, values: values.map((value, n) => (value - means[n % channels]) * scales[n % channels] + bias[n % channels]) };
  },

  /* weight: [maps, height, width]; the sums of a channel are side by side */
  placeSums({ values, height, width, channels }, { maps, weight }) {
    const sums = new Float64Array(channels * maps), places = height * width;
    values.forEach((value, n) => {
      const place = Math.floor(n / channels), channel = n % channels;
      for (let map = 0; map < maps; map++) sums[channel * maps + map] += value * weight[map * places + place];
    });
    return { values: sums, height: 1, width: 1, channels: sums.length };
  },

  channelMean({ values, height, width, channels }) {
    const means = new Float64Array(channels);
    values.forEach((value, n) => { means[n % channels] += value / (height * width); });
    return { values: means, height: 1, width: 1, channels };
  },

  /* weight: [inputs, outputs] */
  dense({ values }, { outputs, weight, bias }) {
    const sums = bias ? Float64Array.from(bias) : new Float64Array(outputs);
    for (let n = 0; n < values.length; n++) addTimes(sums, 0, values[n], weight, n * outputs, outputs);
    return { values: sums, height: 1, width: 1, channels: outputs };
  },

  /* The logarithms of the mean probabilities of networks, each of which has layers of its own. */
  ensemble(image, { members }) {
    const each = members.map((layers) => logSoftmax(run(layers, image).values));
    const values = each[0].map((_, n) => {
      const largest = Math.max(...each.map((logs) => logs[n]));
      return largest + Math.log(each.reduce((sum, logs) => sum + Math.exp(logs[n] - largest), 0) / each.length);
    });
    return { values, height: 1, width: 1, channels: values.length };
  },
};

function run(layers, image) {
  return layers.reduce((now, layer) => LAYERS[layer.kind](now, layer), image);
}

function addTimes(sums, to, value, weight, from, length) {
  if (value === 0) return;
  for (let n = 0; n < length; n++) sums[to + n] += value * weight[from + n];
}

/* Returns a function of 28 x 28 pixels of 0 to 255, light on dark, to ten logits. */
function buildNetwork({ layers, weights }) {
  const bytes = Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const tensor = (place) => place && Float64Array.from({ length: place[1] }, (_, n) => view.getFloat32(4 * (place[0] + n), true));
  const prepare = (layer) => ({ ...layer, weight: tensor(layer.weight), bias: tensor(layer.bias), members: layer.members?.map((own) => own.map(prepare)) });
  const ready = layers.map(prepare);
  return (pixels) => Array.from(run(ready, { values: Float64Array.from(pixels), height: 28, width: 28, channels: 1 }).values);
}

function logSoftmax(logits) {
  const largest = Math.max(...logits);
  const logarithm = largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
  return logits.map((logit) => logit - logarithm);
}

function softmax(logits) {
  const largest = Math.max(...logits), shares = logits.map((logit) => Math.exp(logit - largest));
  const sum = shares.reduce((a, b) => a + b);
  return shares.map((share) => share / sum);
}
