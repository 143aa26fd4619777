const {el, fill, fixed, signed, percent} = RFL;
const $ = selector => element.querySelector(selector);
const slider = $(".cp-steps input");
const SIDES = ["before", "after", "reference"];
const ROLE = {before: "before", after: "after", reference: "real"};
const MEASURES = [["reward", "Reward", 3], ["judge", "Judge", 3], ["motion", "Motion %", 2], ["sharpness", "Sharpness", 1], ["face_rate", "Face found", 2]];
let asked = "", run = null, followed = true, data = null, chosen = null;
const player = new RFL.AbPlayer($(".cp-player"), {label: "Before and after", keys: $(".cp-main")});

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
  renderTable(sample);
  const LABEL = {before: "Before", after: "After", reference: "Real clip"};
  player.load({sides: SIDES.filter(side => sample[side]).map(side => ({key: side, label: LABEL[side], role: ROLE[side], video: sample[side].video, faces: sample[side].faces, note: sample[side].reward === null ? "" : fixed(sample[side].reward, 3), version: data.step})),
    fps: sample.after.fps, count: sample.after.num_frames, key: data.run + data.step + sample.name});
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
  const pick = s => { chosen = s.name; render(); $(".cp-player").scrollIntoView({block: "nearest", behavior: "smooth"}); };
  const mean = side => Object.fromEntries(Object.entries(data.means).map(([key, pair]) => [key, pair[side]]));
  fill($(".cp-all tbody"),
    data.samples.map((s, i) => el("tr", {class: s === sample ? "on" : "", onclick: () => pick(s)},
      el("td", {}, el("button.rowpick", {type: "button", "aria-pressed": String(s === sample), "aria-label": "Show video " + (i + 1)}, String(i + 1))),
      el("td.what", {}, el("div", {}, s.picture ? el("img", {src: s.picture, alt: "", width: 40, height: 40}) : null, el("span", {title: s.prompt}, s.prompt || s.name))), cells(s.before, s.after))),
    el("tr.mean", {}, el("td", {}), el("td", {}, "Mean of " + data.samples.length), cells(mean("before"), mean("after"))));
}

slider.addEventListener("input", () => { followed = slider.value === slider.max; show(); });
watch("value", show);
show();
