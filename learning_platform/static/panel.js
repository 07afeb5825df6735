// The panel of a lesson: the switch, what the camera shows, and the messages of support.

import { inBrowser, onServer } from './look.js';
import { Readings } from './readings.js';

const EVERY = 200; // milliseconds between two looks; the second way looks once a second
const SMOOTH = 0.25; // weight of a new look: the last second counts for most
const REMEMBERED = 'camera'; // in sessionStorage: the switch stays on from lesson to lesson

const panel = document.getElementById('panel');
const at = (id) => document.getElementById(id);
const toggle = at('switch');
if (toggle) setUp();

function setUp() {
  const data = JSON.parse(at('panel-data').textContent), texts = at('texts').dataset;
  const { csrf, visits, frames, model } = panel.dataset;
  let stream = null, look = null, smoothed = null, latest = null, run = 0, own = true;

  const say = (text) => { if (at('state').textContent !== text) at('state').textContent = text; };
  const readings = new Readings(visits, csrf, {
    message(text) {
      const line = document.createElement('p');
      line.textContent = text;
      at('support').replaceChildren(line);
    },
    offline: () => say(texts.offline),
    over: () => stop(texts.over),
  });

  async function chooseWay() {
    try {
      look = await inBrowser(data, model);
      own = true;
    } catch (error) {
      console.warn(String(error));
      at('second-way').hidden = false;
      if (panel.dataset.server !== 'yes') return false;
      look = onServer(frames, csrf);
      own = false;
    }
    return true;
  }

  async function start() {
    toggle.setAttribute('aria-checked', 'true');
    say(texts.starting);
    const mine = ++run;
    if (!look && !(await chooseWay())) return stop(texts.off);
    const video = document.createElement('video');
    try {
      const wanted = { video: { width: 640, height: 480 }, audio: false };
      stream = await navigator.mediaDevices.getUserMedia(wanted);
      if (mine !== run) return release();
      Object.assign(video, { muted: true, playsInline: true, srcObject: stream });
      await video.play();
      await readings.start();
    } catch (error) {
      console.warn(String(error));
      return stop(error.message.startsWith('visit') ? texts.over : texts.nocamera);
    }
    if (mine !== run) return;
    sessionStorage.setItem(REMEMBERED, 'on');
    smoothed = latest = null;
    say(own ? texts.on : texts.onserver);
    watch(video, mine);
    tick(mine);
  }

  // Looks at the camera, again and again, until the run is over.
  async function watch(video, mine) {
    while (mine === run) {
      const begun = performance.now();
      if (!document.hidden) {
        try {
          const seen = await look(video);
          if (mine !== run) return;
          take(seen);
        } catch (error) {
          console.warn(String(error));
          latest = null;
          say(texts.offline);
        }
      }
      const rest = (own ? EVERY : 1000) - (performance.now() - begun);
      await new Promise((done) => setTimeout(done, Math.max(10, rest)));
    }
  }

  function take({ probabilities, lowLight }) {
    latest = { face: probabilities !== null };
    if (probabilities) {
      const weight = own ? SMOOTH : 0.5, before = smoothed ?? probabilities;
      smoothed = {};
      for (const label of data.classes)
        smoothed[label] = before[label] + weight * (probabilities[label] - before[label]);
    } else smoothed = null;
    const usual = own ? texts.on : texts.onserver;
    say(probabilities ? (lowLight ? texts.lowlight : usual)
      : lowLight ? `${texts.noface} ${texts.lowlight}` : texts.noface);
    show();
  }

  function show() {
    at('now').hidden = smoothed === null;
    if (!smoothed) return;
    const sorted = [...data.classes].sort((a, b) => smoothed[b] - smoothed[a]);
    const percent = (label) => `${Math.round(100 * smoothed[label])} %`;
    at('emotion').textContent = data.names[sorted[0]];
    at('percent').textContent = percent(sorted[0]);
    if (!at('bars').children.length) data.classes.forEach(addBar);
    data.classes.forEach((label, i) => {
      const row = at('bars').children[i];
      row.querySelector('meter').value = smoothed[label];
      row.querySelector('.number').textContent = percent(label);
    });
  }

  function addBar(label) {
    const row = document.createElement('div'), meter = document.createElement('meter');
    const [name, bar, number] = ['dt', 'dd', 'dd'].map((tag) => document.createElement(tag));
    name.textContent = data.names[label];
    meter.setAttribute('aria-label', data.names[label]);
    number.className = 'number';
    bar.append(meter);
    row.append(name, bar, number);
    at('bars').append(row);
  }

  // A reading a second; a page out of sight counts as no face.
  function tick(mine) {
    if (mine !== run) return;
    if (document.hidden) readings.add(null);
    else if (latest) readings.add(latest.face ? smoothed : null);
    setTimeout(tick, 1000, mine);
  }

  function release() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
  }

  async function stop(words) {
    run++;
    release();
    toggle.setAttribute('aria-checked', 'false');
    at('now').hidden = true;
    say(words);
    await readings.end();
  }

  toggle.addEventListener('click', () => {
    if (toggle.getAttribute('aria-checked') === 'true') {
      sessionStorage.removeItem(REMEMBERED);
      stop(texts.off);
    } else start();
  });
  addEventListener('pagehide', () => {
    run++;
    release();
    toggle.setAttribute('aria-checked', 'false');
    readings.leave();
  });
  if (sessionStorage.getItem(REMEMBERED) === 'on') start();
}
