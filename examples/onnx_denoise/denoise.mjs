// Denoise a raw micrograph with a network that `lowdose export` wrote. See README.md.
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import ort from "onnxruntime-node";

// As in lowdose.models.counts.
const FURTHEST = 2; // scaled pixels are clipped to this
const LEAST_SPAN = 4; // noise deviations that an image spans at least
const MOST_DEVIATIONS = 6; // no pixel is moved by more
const SAMPLE = 65536; // pixels from which the scaling is taken, as in lowdose.infer

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

// ---- variance stabilisation, as in lowdose.physics.transform --------------------------------------

const stabilise = (electrons, readout) =>
  2 * Math.sqrt(Math.max(electrons + 0.375 + readout ** 2, 0));

function unstabilise(d, readout) {
  const root = Math.sqrt(1.5);
  const i = 1 / Math.max(d, 2 * Math.sqrt(0.375));
  const series = i * (0.25 * root + i * (-1.375 + i * 0.625 * root));
  return 0.25 * d * d + series - (0.125 + readout ** 2);
}

// ---- one scaling for the whole image ---------------------------------------------------------------

function quantile(sorted, q) {
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

function fitScaling(stabilised, height, width) {
  const skip = Math.max(1, Math.round(Math.sqrt((height * width) / SAMPLE)));
  const sample = [];
  for (let y = 0; y < height; y += skip)
    for (let x = 0; x < width; x += skip) sample.push(stabilised[y * width + x]);
  const sorted = Float32Array.from(sample).sort();
  const low = quantile(sorted, 0.005);
  const high = quantile(sorted, 0.995);
  return { centre: (low + high) / 2, span: Math.max(high - low, LEAST_SPAN) };
}

// ---- sides that are multiples of the stride: mirrored at the lower and right edge ------------------

function mirror(at, length) {
  const within = at % (2 * length);
  return within < length ? within : 2 * length - 1 - within;
}

async function pass(session, pixels, height, width, stride, level) {
  const tall = Math.ceil(height / stride) * stride;
  const wide = Math.ceil(width / stride) * stride;
  const padded = new Float32Array(tall * wide);
  for (let y = 0; y < tall; y++)
    for (let x = 0; x < wide; x++)
      padded[y * wide + x] = pixels[mirror(y, height) * width + mirror(x, width)];
  const given = { image: new ort.Tensor("float32", padded, [1, 1, tall, wide]) };
  if (level !== undefined) given.level = new ort.Tensor("float32", [level], [1]);
  if (session.inputNames.includes("correlation")) given.correlation = new ort.Tensor("float32", [0, 0], [1, 2]); // white noise
  if (session.inputNames.includes("correlation"))
    given.correlation = new ort.Tensor("float32", [0, 0], [1, 2]); // the noise is white
  const found = (await session.run(given))[session.outputNames[0]].data;
  const result = new Float32Array(height * width);
  for (let y = 0; y < height; y++)
    result.set(found.subarray(y * wide, y * wide + width), y * width);
  return result;
}

// ---- networks that predict noise, and networks that predict an image -------------------------------

async function denoiseByNoise(session, electrons, height, width, stride, readout) {
  const stabilised = electrons.map((e) => stabilise(e, readout));
  const { centre, span } = fitScaling(stabilised, height, width);
  const scaled = stabilised.map((z) => clamp((z - centre) / span, -FURTHEST, FURTHEST));
  const noise = await pass(session, scaled, height, width, stride, 1 / span);
  return electrons.map((e, at) => {
    const change = clamp(noise[at], -MOST_DEVIATIONS, MOST_DEVIATIONS);
    const estimate = unstabilise(stabilised[at] - change, readout);
    return readout === 0 ? Math.max(estimate, Math.min(e, 0)) : estimate; // counts are not negative
  });
}

async function denoiseAsImage(session, electrons, height, width, stride) {
  const low = electrons.reduce((a, b) => Math.min(a, b));
  const span = electrons.reduce((a, b) => Math.max(a, b)) - low;
  const scaled = electrons.map((e) => (e - low) / (span || 1));
  const found = await pass(session, scaled, height, width, stride);
  return found.map((x) => low + span * clamp(x, 0, 1));
}

// ---- the command -----------------------------------------------------------------------------------

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    width: { type: "string" },
    height: { type: "string" },
    gain: { type: "string", default: "1" },
    offset: { type: "string", default: "0" },
    readout: { type: "string", default: "0" },
    stride: { type: "string", default: "16" },
  },
});
const [model, source, target] = positionals;
const [width, height, stride] = [values.width, values.height, values.stride].map(Number);
const [gain, offset, readout] = [values.gain, values.offset, values.readout].map(Number);
if (!target || !(width > 0) || !(height > 0)) {
  console.error("usage: node denoise.mjs MODEL.onnx IN.f32 OUT.f32 --width W --height H");
  process.exit(2);
}
const bytes = readFileSync(source);
if (bytes.length !== 4 * width * height) {
  console.error(`${source}: has ${bytes.length} bytes; expected ${4 * width * height}`);
  process.exit(3);
}
const pixels = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const electrons = pixels.map((p) => (p - offset) / gain);
const session = await ort.InferenceSession.create(model);
const clean = session.inputNames.includes("level")
  ? await denoiseByNoise(session, electrons, height, width, stride, readout / gain)
  : await denoiseAsImage(session, electrons, height, width, stride);
writeFileSync(target, new Uint8Array(clean.map((e) => e * gain + offset).buffer));
