const {el, fill, fixed, signed, percent, fileUrl, loadJson, color} = RFL;
const $ = selector => element.querySelector(selector);
const stage = $(".stage"), scrub = $(".scrub"), slider = $(".cp-steps input"), plot = $(".curve-plot"), wiper = $(".wiper");
const SIDES = ["before", "after", "reference"];
const ROLE = {before: "before", after: "after", reference: "real"};
const MEASURES = [["reward", "Reward", 3], ["judge", "Judge", 3], ["motion", "Motion %", 2], ["sharpness", "Sharpness", 1], ["face_rate", "Face found", 2]];
const figures = Object.fromEntries(SIDES.map(side => [side, element.querySelector("figure[data-side=" + side + "]")]));
const options = {wipe: false, boxes: true, reference: false};
let asked = "", run = null, followed = true, data = null, chosen = null, faces = {}, loaded = "", head = null, curveScale = null, lastFrame = -1;

const player = new SyncPlayer(frame => {
  for (const side of SIDES) {
    const video = figures[side].querySelector("video");
    if (!figures[side].hidden && video.readyState >= 2) RFL.drawFaces(figures[side].querySelector("canvas"), faces[side], RFL.frameAt(video, faces[side]), ROLE[side], options.boxes);
  }
  if (frame === lastFrame) return;
  lastFrame = frame;
  scrub.value = String(frame);
  scrub.setAttribute("aria-valuetext", "frame " + (frame + 1) + " of " + player.count);
  $(".counter").textContent = "frame " + (frame + 1) + " / " + player.count;
  paintHead(frame);
}, () => RFL.isShown(stage));

async function show() {
  const v = props.value || {run: null, steps: []};
  const possible = Boolean(v.run && v.steps.length && v.has_baseline);
  $(".cp-none").hidden = possible || Boolean(v.loading);
  $(".cp-main").hidden = !possible;
  if (!possible) {
    $(".cp-why").textContent = v.run && v.finished ? "This run ended before its first evaluation, so there is nothing to compare."
      : v.run ? "The untrained model's videos come first. After the first evaluation they are shown here beside the trained model's: same prompt, first frame and seed."
      : "Start a run on the Train page. After its first evaluation the same prompts, first frames and seeds are shown here side by side: before and after training.";
    return;
  }
  if (v.run !== run) { run = v.run; followed = true; chosen = null; data = null; }
  slider.max = String(v.steps.length - 1);
  if (followed) slider.value = slider.max;
  const step = v.steps[Math.min(v.steps.length - 1, Number(slider.value))];
  $(".cp-step").textContent = step + (step === 1 ? " step" : " steps");
  slider.setAttribute("aria-valuetext", "step " + step);
  slider.parentElement.hidden = v.steps.length < 2;
  const key = v.run + " " + step + " " + v.version;
  if (key === asked) return;
  asked = key;
  let answer = null;
  try { answer = await server.load_pairs({run: v.run, step}); } catch (error) { asked = ""; }
  if (!answer || asked !== key) return;
  data = answer;
  render();
}

function render() {
  if (!data || !data.samples.length) return;
  const sample = data.samples.find(s => s.name === chosen) || data.samples[0];
  chosen = sample.name;
  const sentence = $(".cp-sentence");
  sentence.textContent = data.sentence || "";
  sentence.dataset.level = data.level || "";
  $(".cp-prompt").textContent = sample.prompt || "(no prompt)";
  $(".cp-seed").textContent = (sample.seed === null ? "" : "seed " + sample.seed + " · ") + "same prompt, first frame and noise on both sides";
  fill($(".scores tbody"), MEASURES.map(([key, label, digits]) => row(label, sample.before[key], sample.after[key], digits, key)));
  for (const side of ["before", "after", "reference"]) {
    const content = sample[side];
    figures[side].querySelector("figcaption b").textContent = content && content.reward !== null ? fixed(content.reward, 3) : "";
  }
  element.querySelector("[data-for=reference]").hidden = !sample.reference;
  renderTable(sample);
  loadVideos(sample);
}

function tone(key, delta, before) {
  if (delta === null || !Number.isFinite(delta)) return "flat";
  if (key === "motion") return before && (before + delta) / before < 0.9 ? "warn" : "flat";
  if (key === "sharpness") return "flat";
  return delta > 0.005 ? "up" : delta < -0.005 ? "down" : "flat";
}

function change(key, before, after, digits) {
  if (before === null || after === null || before === undefined || after === undefined) return el("span", {"data-tone": "flat"}, "–");
  const text = key === "motion" && before ? percent(after / before) : signed(after - before, digits);
  return el("span", {"data-tone": tone(key, after - before, before)}, text);
}

function row(label, before, after, digits, key) {
  if (before === null && after === null) return null;
  return el("tr", {}, el("th", {scope: "row"}, label), el("td.before", {}, fixed(before, digits)), el("td", {}, fixed(after, digits)), el("td", {}, change(key, before, after, digits)));
}

function renderTable(sample) {
  const measures = MEASURES.filter(([key]) => key !== "sharpness" && key !== "face_rate" && data.means[key] && data.means[key].after !== null);
  fill($(".cp-all thead"), el("tr", {}, el("th", {scope: "col"}, "#"), el("th", {scope: "col"}, "Video"), measures.map(([, label]) => [el("th.num", {scope: "col", colspan: 2}, label + ": before → after"), el("th.num", {scope: "col"}, "change")])));
  const cells = (before, after) => measures.map(([key, , digits]) => [el("td.num.before", {}, fixed(before[key], digits)), el("td.num", {}, fixed(after[key], digits)), el("td.num", {}, change(key, before[key], after[key], digits))]);
  const pick = s => { chosen = s.name; render(); stage.scrollIntoView({block: "nearest", behavior: "smooth"}); };
  const mean = side => Object.fromEntries(Object.entries(data.means).map(([key, pair]) => [key, pair[side]]));
  fill($(".cp-all tbody"),
    data.samples.map((s, i) => el("tr", {class: s === sample ? "on" : "", onclick: () => pick(s)},
      el("td", {}, el("button.rowpick", {type: "button", "aria-pressed": String(s === sample), "aria-label": "Show video " + (i + 1)}, String(i + 1))),
      el("td.what", {}, el("div", {}, s.picture ? el("img", {src: s.picture, alt: "", width: 40, height: 40}) : null, el("span", {title: s.prompt}, s.prompt || s.name))), cells(s.before, s.after))),
    el("tr.mean", {}, el("td", {}), el("td", {}, "Mean of " + data.samples.length), cells(mean("before"), mean("after"))));
}

async function loadVideos(sample) {
  const key = SIDES.map(side => sample[side] && sample[side].video).join("|") + options.reference + data.step;
  layout(sample);
  if (key === loaded) return;
  loaded = key;
  faces = {};
  const used = SIDES.filter(side => sample[side] && sample[side].video && (side !== "reference" || options.reference));
  for (const side of used) {
    const video = figures[side].querySelector("video"), url = fileUrl(sample[side].video) + "?step=" + data.step;
    if (video.src !== url) video.src = url;
    loadJson(sample[side].faces).then(content => { if (loaded === key) { faces[side] = content; if (content && content.width) figures[side].querySelector(".vid").style.aspectRatio = content.width + " / " + content.height; drawCurve(); } });
  }
  scrub.max = String((sample.after.num_frames || sample.before.num_frames || 1) - 1);
  lastFrame = -1;
  paintPlay();
  await player.load(used.map(side => figures[side].querySelector("video")), sample.after.fps || sample.before.fps, sample.after.num_frames || sample.before.num_frames);
}

function layout(sample) {
  figures.reference.hidden = !(options.reference && sample.reference);
  stage.classList.toggle("wipe", options.wipe);
  stage.classList.toggle("three", !figures.reference.hidden);
  wiper.hidden = !options.wipe;
}

function drawCurve() {
  const width = plot.clientWidth, height = 120, left = 34, right = 8, top = 8, bottom = 18;
  if (!width || !data) return;
  const known = SIDES.filter(side => faces[side] && faces[side].frames && (side !== "reference" || options.reference));
  const lines = known.map(side => [side, faces[side].frames.map(frame => RFL.similarityOf(frame))]);
  const values = lines.flatMap(([, line]) => line.filter(v => v !== null));
  let low = values.length ? Math.min(...values) : 0, high = Math.max(1, ...values);
  low = Math.max(-1, Math.min(low - 0.05, high - 0.2));
  const px = frame => left + frame / Math.max(1, player.count - 1) * (width - left - right);
  const py = value => top + (high - value) / (high - low) * (height - top - bottom);
  curveScale = {px, left, right, width};
  head = el("line.ch-head-line", {y1: top, y2: height - bottom});
  const svg = el("svg", {viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": "Face similarity of each frame, before and after"},
    [low, (low + high) / 2, high].map(v => [el("line.ch-grid", {x1: left, x2: width - right, y1: py(v), y2: py(v)}), el("text.ch-tick", {x: left - 6, y: py(v) + 3.5, "text-anchor": "end"}, v.toFixed(2))]),
    lines.map(([side, line]) => {
      let d = "", pen = false;
      line.forEach((v, i) => { if (v === null) { pen = false; return; } d += (pen ? "L" : "M") + px(i).toFixed(1) + " " + py(v).toFixed(1); pen = true; });
      return [el("path.ch-line", {d, stroke: color(ROLE[side])}), line.map((v, i) => v === null && !(faces[side].frames[i].faces || []).length ? el("text.ch-noface", {x: px(i), y: height - bottom - 3, "text-anchor": "middle"}, "×") : null)];
    }), head);
  fill(plot, svg);
  paintHead(player.frame);
}

function paintHead(frame) {
  if (!head || !curveScale) return;
  const x = curveScale.px(frame);
  head.setAttribute("x1", x); head.setAttribute("x2", x);
  fill($(".curve-now"), SIDES.filter(side => faces[side] && !figures[side].hidden).map(side => {
    const content = faces[side].frames && (faces[side].frames[frame]);
    const value = RFL.similarityOf(content);
    return el("span", {}, el("i", {style: "background:" + color(ROLE[side])}), value === null ? (frame === 0 && content && content.faces && content.faces.length ? "given" : "no face") : fixed(value, 3));
  }));
}

function paintPlay() {
  const button = element.querySelector("[data-do=play]");
  button.setAttribute("aria-label", player.playing ? "Pause" : "Play");
  button.querySelector("path").setAttribute("d", player.playing ? "M6 5h4.2v14H6zM13.8 5H18v14h-4.200z" : "M7 4.5v15l12-7.5z");
}
function toggle() { player.toggle(); paintPlay(); }

element.querySelector("[data-do=play]").addEventListener("click", toggle);
element.querySelector("[data-do=back]").addEventListener("click", () => { player.step(-1); paintPlay(); });
element.querySelector("[data-do=next]").addEventListener("click", () => { player.step(1); paintPlay(); });
scrub.addEventListener("input", () => { player.seek(Number(scrub.value)); paintPlay(); });
element.querySelector(".speed select").addEventListener("change", event => player.setRate(Number(event.target.value)));
for (const box of element.querySelectorAll("[data-toggle]")) {
  box.addEventListener("change", () => { options[box.dataset.toggle] = box.checked; if (data) render(); drawCurve(); });
}
const setWipe = share => { stage.style.setProperty("--wipe", share + "%"); };
wiper.querySelector("input").addEventListener("input", event => setWipe(event.target.value));
setWipe(50);
plot.addEventListener("pointerdown", event => {
  if (!curveScale) return;
  const go = e => { const box = plot.getBoundingClientRect(); player.seek(Math.round((e.clientX - box.left - curveScale.left) / (curveScale.width - curveScale.left - curveScale.right) * (player.count - 1))); paintPlay(); };
  go(event);
  plot.setPointerCapture(event.pointerId);
  plot.addEventListener("pointermove", go);
  plot.addEventListener("pointerup", () => plot.removeEventListener("pointermove", go), {once: true});
});
slider.addEventListener("input", () => { followed = slider.value === slider.max; show(); });
$(".cp-main").addEventListener("keydown", event => {
  const field = event.target.matches("input, select, textarea, button");
  if (event.key === " " && !field) { event.preventDefault(); toggle(); }
  else if (event.key === "ArrowRight" && !field) { event.preventDefault(); player.step(1); paintPlay(); }
  else if (event.key === "ArrowLeft" && !field) { event.preventDefault(); player.step(-1); paintPlay(); }
  else if (event.key === "Home" && !field) { event.preventDefault(); player.seek(0); paintPlay(); }
  else if (event.key === "End" && !field) { event.preventDefault(); player.seek(player.count - 1); paintPlay(); }
});
new ResizeObserver(drawCurve).observe(plot);
window.addEventListener("rewardfl:scheme", drawCurve);
watch("value", show);
show();
