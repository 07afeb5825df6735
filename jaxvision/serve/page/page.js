// The page of a served model: pictures and frames go out, answers are drawn as people read them.
// Whatever a server, a file or a class is called only ever becomes text, never markup.

const $ = (id) => document.getElementById(id);
const COLOURS = ["#ffb000", "#00a2ff", "#ff5fa2", "#7bd148", "#c58bff"];
const LONGEST = 1400; // of a drawn picture, pixels
const FRAME_SIDE = 640; // of a frame that is sent, pixels
const SCORES = [1, 10];

const here = location.pathname.match(/^(.*)\/models\/([^/]+)\/$/);
const root = here ? `${here[1]}/` : location.pathname.replace(/[^/]*$/, "");
let model = null;
let token = sessionStorage.getItem("jaxvision-token") || "";

// ---- small helpers ------------------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function percent(value) {
  return `${Math.round(100 * value)}\u00a0%`;
}

function showError(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function status(text) {
  $("status").textContent = text;
}

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  $("access").hidden = response.status !== 401;
  if (response.ok) return response;
  let told = `The server answered ${response.status}.`;
  try {
    const answer = await response.json();
    told = sentence(answer.error) + (answer.id ? ` (id ${answer.id})` : "");
  } catch { /* no JSON: the status has to do */ }
  throw new Error(told);
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

function download(label, name, address) {
  return element("a", { className: "button", textContent: label, href: address, download: name });
}

function blobAddress(parts, type) {
  return URL.createObjectURL(new Blob(parts, { type }));
}

function loadImage(address) {
  const image = new Image();
  image.src = address;
  return image.decode().then(() => image);
}

// A canvas with a picture in it, and how many of its pixels are one of the picture's.
function canvasOf(picture) {
  const longest = Math.max(picture.width, picture.height);
  const scale = longest > LONGEST ? LONGEST / longest : Math.max(1, Math.floor(480 / longest));
  const canvas = element("canvas", {
    width: Math.round(picture.width * scale), height: Math.round(picture.height * scale),
  });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = longest > 128;
  const repaint = () => {
    pen.globalAlpha = 1;
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  };
  repaint();
  canvas.setAttribute("role", "img");
  return { canvas, pen, scale, repaint, line: Math.max(2, Math.round(canvas.width / 300)) };
}

function label(pen, text, x, y, colour, size) {
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const width = pen.measureText(text).width + size / 2;
  const left = Math.max(0, Math.min(x, pen.canvas.width - width));
  const top = y - size * 1.4 > 0 ? y - size * 1.4 : y;
  pen.fillStyle = colour;
  pen.fillRect(left, top, width, size * 1.4);
  pen.fillStyle = "#000";
  pen.fillText(text, left + size / 4, top + size * 1.05);
}

// Bars: [{name, value, text, from, to}], all from 0 to 1; a band where there is an uncertainty.
function bars(rows) {
  const list = element("dl", { className: "bars" });
  for (const row of rows) {
    const track = element("dd", { className: "track" });
    track.setAttribute("aria-hidden", "true");
    const part = (name, left, width) => {
      const made = element("span", { className: name });
      made.style.left = `${100 * left}%`;
      if (width !== undefined) made.style.width = `${100 * width}%`;
      track.append(made);
    };
    if (row.from === undefined) {
      part("fill", 0, row.value);
    } else {
      part("band", row.from, row.to - row.from);
      part("mark", row.value);
    }
    list.append(element("dt", {}, ...(row.colour ? [swatch(row.colour)] : []), row.name), track,
      element("dd", { className: "value", textContent: row.text }));
  }
  return list;
}

function swatch(colour) {
  const made = element("span", { className: "swatch" });
  made.style.background = colour;
  return made;
}

function probabilityBars(probabilities) {
  const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]).slice(0, 10);
  return bars(sorted.map(([name, value]) => ({ name, value, text: percent(value) })));
}

// ---- one way to show each kind of answer ----------------------------------------------------------
// Each gets (record, picture, name of the file) and returns {words, left, right}.

const show = {
  segmentation(record, picture, name) {
    const drawn = canvasOf(picture);
    const outlines = record.geojson ? record.geojson.features : [];
    const count = record.geojson ? `${outlines.length} footprint${outlines.length === 1 ? "" : "s"}, ` : "";
    const words = count + (record.shares ? sharesInWords(record.shares)
      : `${percent(record.building_share)} of the picture is building`);
    const slider = element("input", { type: "range", min: 0, max: 100, value: 55 });
    const paint = () => {
      drawn.repaint();
      paintFootprints(drawn, outlines, slider.value / 100);
    };
    slider.addEventListener("input", paint);
    paint();
    const links = element("div", { className: "row" });
    const right = [
      element("p", { className: "big", textContent: words }),
      ...(record.shares ? [shareBars(record.shares, outlines)] : []),
      element("label", {}, "How much the footprints cover the photo", slider),
      links,
    ];
    if (record.geojson) {
      const text = JSON.stringify(record.geojson);
      links.append(download("Footprints (GeoJSON)", `${name}.geojson`, blobAddress([text], "application/geo+json")));
    }
    if (record.arrays) links.append(download("Mask (PNG)", `${name}_mask.png`, record.arrays.mask));
    return { words, left: [drawn.canvas], right };
  },

  classification(record, picture) {
    const drawn = canvasOf(picture);
    const whole = { box: [0, 0, record.width, record.height], ...record };
    const faces = record.faces || [whole];
    const size = Math.max(14, Math.round(drawn.canvas.width / 28));
    const right = [];
    faces.forEach((face, i) => {
      const colour = COLOURS[i % COLOURS.length];
      const [x, y, w, h] = face.box.map((value) => value * drawn.scale);
      drawn.pen.strokeStyle = colour;
      drawn.pen.lineWidth = drawn.line * 1.5;
      drawn.pen.strokeRect(x + drawn.line, y + drawn.line, w - 2 * drawn.line, h - 2 * drawn.line);
      const text = `${face.label} ${percent(face.probabilities[face.label])}`;
      label(drawn.pen, faces.length > 1 ? `${i + 1} ${text}` : text, x, y, colour, size);
      const title = faces.length > 1 ? `Face ${i + 1}: ${text}` : text;
      right.push(element("p", { className: "big", textContent: title }), probabilityBars(face.probabilities));
    });
    const count = `${faces.length} face${faces.length === 1 ? "" : "s"}`;
    const told = faces.map((face) => `${face.label} ${percent(face.probabilities[face.label])}`).join(", ");
    if (!faces.length) right.push(element("p", { className: "big", textContent: "No face was seen in this picture." }));
    const words = !record.faces ? told : faces.length ? `${count}: ${told}` : "no face was seen";
    return { words, left: [drawn.canvas], right };
  },

  perception(record, picture) {
    const drawn = canvasOf(picture);
    const place = (value) => Math.min(1, Math.max(0, (value - SCORES[0]) / (SCORES[1] - SCORES[0])));
    const rows = Object.entries(record.scores).map(([name, value]) => {
      const spread = record.uncertainty[name];
      const text = `${value.toFixed(1)} ± ${spread.toFixed(1)}`;
      return { name, value: place(value), from: place(value - spread), to: place(value + spread), text };
    });
    const words = rows.map((row) => `${row.name} ${row.text}`).join(", ");
    const hint = `From ${SCORES[0]} to ${SCORES[1]}; the band is one standard deviation either way.`;
    return { words, left: [drawn.canvas],
      right: [bars(rows), element("p", { className: "hint", textContent: hint })] };
  },

  keypoints(record, picture) {
    const drawn = canvasOf(picture);
    const points = Object.entries(record.points);
    const radius = Math.max(4, drawn.line * 1.6);
    const at = (value) => (value + 0.5) * drawn.scale; // 0 is the first pixel's middle
    const middle = [0, 1].map((axis) => points.reduce((sum, [, p]) => sum + at(p[axis]), 0) / points.length);
    const angles = Object.entries(record).filter(([key]) => key.endsWith("_degrees"));
    angles.forEach(([key, value], i) => {
      if (value !== null) paintArrow(drawn, middle, value, COLOURS[(i + 1) % COLOURS.length], i);
    });
    points.forEach(([name, [x, y, confidence]], i) => {
      drawn.pen.globalAlpha = 0.35 + 0.65 * confidence;
      drawn.pen.beginPath();
      drawn.pen.arc(at(x), at(y), radius, 0, 2 * Math.PI);
      drawn.pen.fillStyle = COLOURS[i % COLOURS.length];
      drawn.pen.fill();
      drawn.pen.lineWidth = 2;
      drawn.pen.strokeStyle = "#000";
      drawn.pen.stroke();
      drawn.pen.globalAlpha = 1;
    });
    const told = angles.map(([key, value]) => {
      const name = key.replace("_degrees", "").replaceAll("_", " ");
      const sure = record[key.replace("_degrees", "_confidence")];
      return `${name} ${Math.round(value)}°, confidence ${percent(sure)}`;
    });
    const right = told.map((text, i) => element("p", { className: "big" }, swatch(COLOURS[(i + 1) % COLOURS.length]), text));
    right.push(element("p", { className: "hint", textContent: "0° points right, 90° up." }));
    right.push(element("h3", { textContent: "Points, with their confidence" }));
    right.push(bars(points.map(([name, point], i) => ({
      name, value: point[2], text: percent(point[2]), colour: COLOURS[i % COLOURS.length],
    }))));
    return { words: told.join("; ") || `${points.length} points`, left: [drawn.canvas], right };
  },

  attention(record, picture) {
    const drawn = canvasOf(picture);
    const count = record.glimpses.length;
    const words = record.label
      ? `${record.label}, ${percent(record.probabilities[record.label])}, after ${count} glimpses`
      : `${record.psnr.at(-1).toFixed(1)} dB after ${count} glimpses`;
    const right = [element("p", { className: "big", textContent: words })];
    const rebuilt = element("canvas", { hidden: true, className: "small" });
    if (record.arrays && record.arrays.reconstructions) {
      right.push(element("figure", {}, rebuilt, element("figcaption", { textContent: "What the network makes of the glimpses so far" })));
    }
    const counter = element("p", {});
    const back = element("button", { type: "button", className: "plain", textContent: "Back" });
    const next = element("button", { type: "button", className: "plain", textContent: "Next" });
    const play = element("button", { type: "button", textContent: "Play" });
    let shown = count, timer = 0, strip = null;
    const paint = () => {
      paintGlimpses(drawn, record.glimpses, shown);
      if (strip) paintStrip(rebuilt, strip, shown, count);
      const psnr = record.psnr ? `, ${record.psnr[shown].toFixed(1)} dB` : "";
      counter.textContent = `Glimpse ${shown} of ${count}${psnr}`;
      back.disabled = shown <= 1;
      next.disabled = shown >= count;
    };
    const go = (number) => {
      shown = Math.min(count, Math.max(1, number));
      paint();
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
    };
    back.addEventListener("click", () => { stop(); go(shown - 1); });
    next.addEventListener("click", () => { stop(); go(shown + 1); });
    play.addEventListener("click", () => {
      if (timer) return stop();
      go(1);
      play.textContent = "Stop";
      timer = setInterval(() => (shown < count && drawn.canvas.isConnected ? go(shown + 1) : stop()), 700);
    });
    if (record.arrays && record.arrays.reconstructions) {
      loadImage(record.arrays.reconstructions).then((image) => { strip = image; paint(); });
    }
    paint();
    right.push(counter, element("div", { className: "row" }, back, next, play));
    if (record.probabilities) right.push(element("h3", { textContent: "Probabilities" }), probabilityBars(record.probabilities));
    return { words, left: [drawn.canvas], right };
  },

  other(record, picture) {
    return { words: "The answer is below", left: [canvasOf(picture).canvas], right: [] };
  },
};

// Of several classes, the first of which is what lies between the others.
function sharesInWords(shares) {
  const others = Object.entries(shares).filter(([name]) => name !== model.classes[0]);
  const largest = others.sort((a, b) => b[1] - a[1]).slice(0, 4);
  return `${largest.map(([name, share]) => `${name} ${percent(share)}`).join(", ")} of the picture`;
}

function shareBars(shares, outlines) {
  const fills = new Map(outlines.map(({ properties }) => [properties.class, properties.fill]));
  const rows = Object.entries(shares).sort((a, b) => b[1] - a[1]);
  return bars(rows.map(([name, value]) => ({ name, value, text: percent(value), colour: fills.get(name) })));
}

function paintFootprints({ pen, scale, line }, outlines, cover) {
  pen.globalAlpha = 1;
  for (const { geometry, properties } of outlines) {
    const polygons = geometry.type === "MultiPolygon" ? geometry.coordinates : [geometry.coordinates];
    for (const rings of polygons) {
      pen.beginPath();
      for (const ring of rings) {
        ring.forEach(([x, y], i) => (i ? pen.lineTo(x * scale, y * scale) : pen.moveTo(x * scale, y * scale)));
        pen.closePath();
      }
      pen.globalAlpha = cover;
      pen.fillStyle = properties?.fill || "#ff4d2e";
      pen.fill("evenodd");
      pen.globalAlpha = Math.min(1, 2 * cover);
      pen.lineWidth = line;
      pen.strokeStyle = "#ffe14d";
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
}

function paintArrow({ pen, canvas, line }, [x, y], degrees, colour, number) {
  const length = Math.min(canvas.width, canvas.height) * (0.3 - 0.06 * number);
  const angle = (-degrees * Math.PI) / 180; // y counts downwards
  const [dx, dy] = [Math.cos(angle), Math.sin(angle)];
  const [tipX, tipY] = [x + dx * length, y + dy * length];
  const wing = length / 5;
  for (const [width, style] of [[line * 3, "#000"], [line * 1.8, colour]]) {
    pen.lineWidth = width;
    pen.strokeStyle = style;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(tipX, tipY);
    for (const turn of [2.6, -2.6]) {
      pen.moveTo(tipX, tipY);
      pen.lineTo(tipX + Math.cos(angle + turn) * wing, tipY + Math.sin(angle + turn) * wing);
    }
    pen.stroke();
  }
}

// The picture darkened, bright where a glimpse has looked; squares of the newest one.
function paintGlimpses(drawn, glimpses, shown) {
  const { pen, scale, canvas, line } = drawn;
  drawn.repaint();
  pen.fillStyle = "rgba(0, 0, 0, .6)";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.save();
  pen.beginPath();
  for (const { x, y, sides } of glimpses.slice(0, shown)) {
    const side = sides[0] * scale;
    pen.rect(x * scale - side / 2, y * scale - side / 2, side, side);
  }
  pen.clip();
  drawn.repaint();
  pen.restore();
  pen.lineWidth = line;
  pen.strokeStyle = "#ff5000";
  pen.beginPath();
  glimpses.slice(0, shown).forEach(({ x, y }, i) => (i ? pen.lineTo(x * scale, y * scale) : pen.moveTo(x * scale, y * scale)));
  pen.stroke();
  const { x, y, sides } = glimpses[shown - 1];
  sides.forEach((value, i) => {
    const side = value * scale;
    pen.strokeStyle = ["#ff5000", "#00aaff", "#f0dc00"][i % 3];
    pen.strokeRect(x * scale - side / 2, y * scale - side / 2, side, side);
  });
  label(pen, String(shown), x * scale - (sides[0] * scale) / 2, y * scale - (sides[0] * scale) / 2,
    "#ffb000", Math.max(14, Math.round(canvas.width / 28)));
}

// One of the pictures in a strip from top to bottom: [before the first glimpse, after each].
function paintStrip(canvas, strip, number, count) {
  const side = strip.height / (count + 1);
  canvas.hidden = false;
  canvas.width = strip.width * 6;
  canvas.height = side * 6;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(strip, 0, side * number, strip.width, side, 0, 0, canvas.width, canvas.height);
}

function answerOf(record, picture, name) {
  return (show[model.task] || show.other)(record, picture, name);
}

function details(record) {
  const { arrays, geojson, ...rest } = record;
  const text = JSON.stringify(rest, null, 1);
  return element("details", {}, element("summary", { textContent: "The answer as JSON" }), element("pre", { textContent: text }));
}

// ---- pictures -----------------------------------------------------------------------------------

async function predict(file) {
  status(`${file.name}: waiting for the answer …`);
  const response = await ask("predict?with=arrays", { method: "POST", body: file });
  const record = await response.json();
  const picture = await decodable(file);
  const name = file.name.replace(/\.[^.]*$/, "");
  const { words, left, right } = answerOf(record, picture, name);
  for (const part of left) if (part.tagName === "CANVAS") part.setAttribute("aria-label", `${file.name}: ${words}`);
  const article = element("article", {}, element("h3", { textContent: file.name }),
    element("div", { className: "answer" }, element("div", {}, ...left), element("div", {}, ...right, details(record))));
  $("answers").prepend(article);
  status(`${file.name}: ${words}`);
}

// A bitmap of the file; of a TIFF, which browsers cannot show, the server's picture of its answer.
async function decodable(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    const response = await ask("predict?as=picture", { method: "POST", body: file });
    return createImageBitmap(await response.blob());
  }
}

async function predictAll(files) {
  showError("");
  const problems = [];
  for (const file of files) {
    try {
      await predict(file);
    } catch (error) {
      problems.push(`${file.name}: ${error.message}`);
    }
  }
  if (problems.length) {
    showError(problems.join(" "));
    status("");
  }
}

// ---- the camera -----------------------------------------------------------------------------------

let live = null;

async function startCamera() {
  showError("");
  if (!navigator.mediaDevices) throw new Error("This browser gives pages no camera unless they come from localhost or over https.");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  } catch (error) {
    throw new Error(error.name === "NotAllowedError"
      ? "The camera may not be used: allow it for this page in the browser."
      : "No camera was found that can be used.");
  }
  $("video").srcObject = stream;
  await $("video").play();
  const smoothing = $("smooth").checked && model.smoothing.length ? `?smoothing=${model.smoothing[0]}` : "";
  const address = new URL(`live${smoothing}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const protocols = token ? ["jaxvision", `token.${token}`] : ["jaxvision"];
  const socket = new WebSocket(address, protocols);
  live = { stream, socket, sent: new Map(), number: 0, answered: 0, begun: 0, stopped: false };
  socket.addEventListener("open", () => {
    live.begun = performance.now();
    $("live").hidden = false;
    sendFrame(live);
  });
  socket.addEventListener("message", (event) => frameAnswered(live, JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    if (live && !live.stopped) {
      stopCamera();
      showError("The connection to the server has ended.");
    }
  });
  $("camera").textContent = "Stop the camera";
  $("camera").setAttribute("aria-pressed", "true");
}

function stopCamera() {
  if (!live) return;
  live.stopped = true;
  live.stream.getTracks().forEach((track) => track.stop());
  live.socket.close();
  live = null;
  $("camera").textContent = "Use the camera";
  $("camera").setAttribute("aria-pressed", "false");
  status("The camera is off.");
}

function sendFrame(run) {
  const video = $("video");
  if (run.stopped || run.socket.readyState !== WebSocket.OPEN) return;
  const scale = Math.min(1, FRAME_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const frame = element("canvas", { width: video.videoWidth * scale, height: video.videoHeight * scale });
  frame.getContext("2d").drawImage(video, 0, 0, frame.width, frame.height);
  frame.toBlob((blob) => {
    if (run.stopped || !blob) return;
    run.sent.set(run.number, frame);
    run.number += 1;
    run.socket.send(blob);
  }, "image/jpeg", 0.85);
}

function frameAnswered(run, record) {
  const frame = run.sent.get(record.frame);
  run.sent.delete(record.frame);
  requestAnimationFrame(() => sendFrame(run));
  if (record.skipped || !frame || run.stopped) return;
  if (record.error) {
    showError(sentence(record.error));
    return;
  }
  showError("");
  run.answered += 1;
  const { words, left, right } = answerOf(record, frame, "frame");
  for (const part of left) part.setAttribute("aria-label", `Camera: ${words}`);
  $("live-answer").replaceChildren(element("article", {}, element("div", { className: "answer" },
    element("div", {}, ...left), element("div", {}, ...right))));
  const rate = (1000 * run.answered) / (performance.now() - run.begun);
  if (run.answered % 15 === 1) status(`Camera: ${words} (${rate.toFixed(0)} frames a second)`);
}

// ---- the beginning --------------------------------------------------------------------------------

const ABOUT = {
  segmentation: "Finds buildings in aerial photos",
  classification: "Reads the expression of faces",
  perception: "Scores how a street feels",
  keypoints: "Finds points of an animal, and which way it faces",
  attention: "Looks at a picture through a few glimpses",
};

async function begin() {
  const { models } = await (await ask(`${root}models`)).json();
  model = here ? models.find((one) => one.name === decodeURIComponent(here[2])) : models[0];
  if (!model) throw new Error("There is no such model here.");
  document.title = `${model.name} · jaxvision`;
  $("title").textContent = model.name;
  const several = model.task === "segmentation" && model.classes.length;
  $("about").textContent = several ? `Finds ${model.classes.slice(1).join(", ")} in aerial photos`
    : ABOUT[model.task] || model.task;
  $("smoothing").hidden = !model.smoothing.length;
  if (models.length > 1) {
    $("models").hidden = false;
    $("models").replaceChildren(...models.map((one) => {
      const link = element("a", { textContent: one.name, href: `${root}models/${encodeURIComponent(one.name)}/` });
      if (one === model) link.setAttribute("aria-current", "page");
      return link;
    }));
  }
  if (!model.ready) status("The model is getting ready; this takes some seconds.");
}

function start() {
  begin().catch((error) => showError(error.message));
}

$("files").addEventListener("change", (event) => {
  predictAll([...event.target.files]).then(() => { event.target.value = ""; });
});
for (const kind of ["dragenter", "dragover"]) {
  $("drop").addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  $("drop").addEventListener(kind, () => $("drop").classList.remove("over"));
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  predictAll([...event.dataTransfer.files]);
});
$("camera").addEventListener("click", () => {
  if (live) return stopCamera();
  startCamera().catch((error) => showError(error.message));
});
$("smooth").addEventListener("change", () => {
  if (!live) return;
  stopCamera();
  startCamera().catch((error) => showError(error.message));
});
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("jaxvision-token", token);
  start();
});
start();
