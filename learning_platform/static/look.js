// From a picture of the camera to probabilities: in the browser (the first way), or by way of the
// server (the second). Both answer {probabilities: {label: p} or null without a face, lowLight}.

const SIDE = 128; // BlazeFace's input
const SURE = 0.5; // its score from which on something is a face
const FRAME = 320; // width of the second way's pictures

const canvas = (width, height) => {
  const element = document.createElement('canvas');
  element.width = width;
  element.height = height;
  return element.getContext('2d', { willReadFrequently: true });
};

// BlazeFace's anchors: centres of 16 x 16 cells, two each, then of 8 x 8, six each.
function anchors() {
  const centres = [];
  for (const [cells, each] of [[16, 2], [8, 6]])
    for (let y = 0; y < cells; y++)
      for (let x = 0; x < cells; x++)
        for (let i = 0; i < each; i++) centres.push([(x + 0.5) / cells, (y + 0.5) / cells]);
  return centres;
}

// Where the whole picture lies in the detector's square, in its pixels.
function letterbox(width, height) {
  const scale = SIDE / Math.max(width, height);
  const [w, h] = [width * scale, height * scale];
  return { x: (SIDE - w) / 2, y: (SIDE - h) / 2, w, h, scale };
}

// Mean gray level 0..255 of the part of the square that holds the picture.
function meanLight(pixels, box) {
  let sum = 0, count = 0;
  for (let y = Math.ceil(box.y); y < Math.floor(box.y + box.h); y++)
    for (let x = Math.ceil(box.x); x < Math.floor(box.x + box.w); x++) {
      const i = 4 * (y * SIDE + x);
      sum += (pixels[i] + pixels[i + 1] + pixels[i + 2]) / 3;
      count++;
    }
  return sum / count;
}

// The square about a face, widened by `margin` of it on each side, inside the picture
// (as jaxvision.tasks.classification cuts faces).
function square(face, margin, width, height) {
  const half = Math.min(Math.max(face.w, face.h) * (0.5 + margin), width / 2, height / 2);
  const x = Math.min(Math.max(face.x, half), width - half);
  const y = Math.min(Math.max(face.y, half), height - half);
  return { x: x - half, y: y - half, side: 2 * half };
}

export function softmax(logits, temperature) {
  const most = Math.max(...logits);
  const odds = logits.map((value) => Math.exp((value - most) / temperature));
  const sum = odds.reduce((a, b) => a + b);
  return odds.map((value) => value / sum);
}

// The first way. Raises where WebAssembly, or a file, is missing.
export async function inBrowser(data, modelAddress) {
  if (!data.first_way || typeof WebAssembly !== 'object') throw new Error('no WebAssembly files');
  const ort = await import(`${data.browser_files}ort.wasm.min.mjs`);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = data.browser_files;
  const options = { executionProviders: ['wasm'] };
  const detector = await ort.InferenceSession.create(data.browser_files + data.detector, options);
  const expression = await ort.InferenceSession.create(modelAddress, options);
  const centres = anchors();
  const small = canvas(SIDE, SIDE), cut = canvas(data.side, data.side);

  async function findFace(video, pixels, box) {
    const input = new Float32Array(SIDE * SIDE * 3);
    for (let i = 0, j = 0; i < pixels.length; i += 4)
      for (let c = 0; c < 3; c++) input[j++] = pixels[i + c] / 127.5 - 1;
    const tensor = new ort.Tensor('float32', input, [1, SIDE, SIDE, 3]);
    const { regressors, classificators } = await detector.run({ input: tensor });
    const scores = classificators.data, boxes = regressors.data;
    let best = 0;
    for (let i = 1; i < scores.length; i++) if (scores[i] > scores[best]) best = i;
    if (1 / (1 + Math.exp(-scores[best])) < SURE) return null;
    const at = (i) => boxes[16 * best + i];
    return {
      x: (centres[best][0] * SIDE + at(0) - box.x) / box.scale,
      y: (centres[best][1] * SIDE + at(1) - box.y) / box.scale,
      w: at(2) / box.scale,
      h: at(3) / box.scale,
    };
  }

  function facePixels(video, face) {
    const { x, y, side } = square(face, data.margin, video.videoWidth, video.videoHeight);
    cut.imageSmoothingQuality = 'high';
    cut.drawImage(video, x, y, side, side, 0, 0, data.side, data.side);
    const rgba = cut.getImageData(0, 0, data.side, data.side).data;
    const input = new Uint8Array(data.side * data.side * data.channels);
    for (let i = 0, j = 0; i < rgba.length; i += 4)
      if (data.channels === 3) for (let c = 0; c < 3; c++) input[j++] = rgba[i + c];
      else input[j++] = Math.round(0.299 * rgba[i] + 0.587 * rgba[i + 1] + 0.114 * rgba[i + 2]);
    return new ort.Tensor('uint8', input, [1, data.side, data.side, data.channels]);
  }

  return async (video) => {
    const box = letterbox(video.videoWidth, video.videoHeight);
    small.fillRect(0, 0, SIDE, SIDE);
    small.drawImage(video, box.x, box.y, box.w, box.h);
    const pixels = small.getImageData(0, 0, SIDE, SIDE).data;
    const lowLight = meanLight(pixels, box) < data.low_light;
    const face = await findFace(video, pixels, box);
    if (!face) return { probabilities: null, lowLight };
    const answer = await expression.run({ [data.input]: facePixels(video, face) });
    const values = softmax(Array.from(answer[data.output].data), data.temperature);
    const probabilities = Object.fromEntries(data.classes.map((label, i) => [label, values[i]]));
    return { probabilities, lowLight };
  };
}

// The second way: a small JPEG goes to the server, which answers and forgets it.
export function onServer(address, token) {
  return async (video) => {
    const height = Math.round((FRAME * video.videoHeight) / video.videoWidth);
    const picture = canvas(FRAME, height);
    picture.drawImage(video, 0, 0, FRAME, height);
    const body = await new Promise((done) => picture.canvas.toBlob(done, 'image/jpeg', 0.8));
    const headers = { 'X-CSRFToken': token, 'Content-Type': 'image/jpeg' };
    const response = await fetch(address, { method: 'POST', headers, body });
    if (!response.ok || response.redirected) throw new Error(`frames: ${response.status}`);
    const { probabilities, low_light: lowLight } = await response.json();
    return { probabilities, lowLight };
  };
}
