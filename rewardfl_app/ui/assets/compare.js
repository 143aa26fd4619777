const {el, fill, fixed, signed} = RFL;
const $ = selector => element.querySelector(selector);
const LABELS = {a: "A", b: "B"};
let asked = "", data = null, sample = null, voting = false, wanted = {a: {run: null, step: null}, b: {run: null, step: null}};

const turn = by => { const rows = table.rows().map(r => r.sample.name), at = rows.indexOf(sample); if (at >= 0) pick(rows[(at + by + rows.length) % rows.length], false); };
const table = new PairTable($(".cp-all"), name => pick(name, true));
const player = new RFL.AbPlayer($(".cp-player"), {label: "A and B", keys: $(".cp-main"), more: [["N P", "next or previous video", {n: () => turn(1), p: () => turn(-1)}]]});
const hacking = new RFL.HackingPanel($(".cp-hacking"));
const films = new Films(server, () => ({a: sideOf("a"), b: sideOf("b"), name: sample}));
const blind = new BlindVote($(".cp-vote"), server, () => setVoting(false));
const voteButton = el("button.btn", {type: "button", onclick: () => setVoting(true)}, "Blind vote");
$(".cp-actions").append(voteButton, films.root);
const picks = {a: picker("a"), b: picker("b")};
const swap = el("button.btn.icon", {type: "button", "aria-label": "Swap A and B", title: "Swap A and B", onclick: swapSides},
  el("svg", {viewBox: "0 0 24 24", width: 16, height: 16, "aria-hidden": "true"}, el("path", {d: "M8 4l-5 5 5 5v-4h9V8H8V4zm8 6v4H7v2h9v4l5-5-5-5z", fill: "currentColor"})));
$(".cp-picks").append(picks.a.root, swap, picks.b.root);
$(".cp-turn").append(el("button.btn.small", {type: "button", onclick: () => turn(-1), title: "Previous video (P)"}, "Previous"), el("button.btn.small", {type: "button", onclick: () => turn(1), title: "Next video (N)"}, "Next"));

function picker(key) {
  const run = el("select", {"aria-label": "Run of " + LABELS[key]}), step = el("select", {"aria-label": "Model of " + LABELS[key]});
  run.addEventListener("change", () => {
    if (key === "a") choose({with: run.value === wanted.b.run ? null : run.value, a: null});
    else RFL.go("compare", {run: run.value, with: wanted.a.run === run.value ? null : wanted.a.run, a: wanted.a.run === run.value ? null : data?.a?.step, b: null, sample});
  });
  step.addEventListener("change", () => choose({[key]: Number(step.value)}));
  return {run, step, root: el("div.cp-pick", {"data-role": key === "a" ? "before" : "after"}, el("i", {"aria-hidden": "true"}), el("b", {}, LABELS[key]), run, step)};
}

const sideOf = key => ({run: data?.[key]?.run, step: data?.[key]?.step});

function swapSides() {
  if (!data?.a || !data?.b) return;
  const {a, b} = data;
  RFL.go("compare", {run: a.run, with: b.run === a.run ? null : b.run, a: b.step, b: a.step, sample});
}

/* The address says what is compared; without it the base model and the newest one of the run in the header. */
function read() {
  const {page, params} = RFL.here(), run = props.value?.run || null;
  const number = text => (/^\d+$/.test(text ?? "") ? Number(text) : null);
  if (page === "compare") {
    const chosen = params.run || run;
    wanted = {a: {run: params.with || chosen, step: number(params.a)}, b: {run: chosen, step: number(params.b)}};
    sample = params.sample || sample;
    voting = params.vote === "1";
  } else if (wanted.b.run !== run) wanted = {a: {run, step: null}, b: {run, step: null}};
}

function choose(change) {
  RFL.note(change);
  show();
}

function setVoting(on) {
  RFL.note({vote: on ? 1 : null});
  show();
  if (!on) voteButton.focus();
}

function pick(name, look) {
  RFL.note({sample: name});
  sample = name;
  render();
  if (look) $(".cp-player").scrollIntoView({block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth"});
}

async function show() {
  const v = props.value || {run: null, steps: [], runs: []};
  read();
  if (!v.run) {
    data = null;
    empty(v.loading ? null : ["Nothing to compare yet", "Start a run on the Train page. After its first evaluation the same prompts, first frames and seeds are shown here side by side: before and after training.",
      el("button.btn.primary", {type: "button", onclick: () => RFL.go("train")}, "Go to Train")]);
    return;
  }
  const key = JSON.stringify([wanted, v.run, v.version]);
  if (key === asked) { render(); return; }
  asked = key;
  let answer = null;
  try { answer = await server.load_pairs(wanted); } catch (error) { if (asked === key) asked = ""; }
  if (!answer || asked !== key) return;
  if (answer.missing) {
    if (answer.missing === wanted.a.run && wanted.a.run !== wanted.b.run) { RFL.toast("There is no run “" + answer.missing + "” in this folder."); choose({with: null, a: null}); }
    return;
  }
  data = answer;
  render();
}

/* No pairs: say why, and what to do. `said` is [title, text, button]; null shows nothing while the first answer is coming. */
function empty(said) {
  $(".cp-main").hidden = $(".cp-actions").hidden = true;
  $(".cp-picks").hidden = !data;
  $(".cp-none").hidden = !said;
  $(".cp-sentence").textContent = "";
  blind.close();
  player.clear();
  hacking.update(null);
  if (!said) return;
  $(".cp-none h2").textContent = said[0];
  $(".cp-why").textContent = said[1];
  fill($(".cp-do"), said[2]);
}

function why() {
  const v = props.value, {a, b} = data;
  for (const key of ["b", "a"]) {
    const part = data[key], entry = part.steps.find(s => s.step === part.step);
    if (entry && !entry.has_videos) return [part.label + " has no videos yet", "This checkpoint was saved, but the evaluation videos of it were not rendered. They are made of the same prompts, first frames and seeds as the others.", renderButton(part)];
  }
  if (!b.has_videos || (a.run === b.run && a.step === b.step && b.steps.length < 2)) {
    if (v.finished) return ["Nothing to compare", "This run ended before its first evaluation. Compare another one, or resume it on the Monitor page."];
    return ["Nothing to compare yet", "The base model’s videos come first. After the first evaluation they are shown here beside the trained model’s: same prompt, first frame and seed."];
  }
  if (!a.has_videos) return ["Nothing to compare with", "The run “" + a.name + "” has no videos of its " + a.label.toLowerCase() + "."];
  const reasons = [...new Set(data.apart.map(x => x.why))];
  return ["These two cannot be compared", "They share no video of the same first frame, prompt and seed: " + reasons.join("; ") + ". Runs with the same evaluation settings can be compared."];
}

function renderButton(part) {
  const said = el("p.cp-render", {role: "status"});
  const button = el("button.btn.primary", {type: "button", onclick: async () => {
    button.disabled = true;
    const call = async (name, request) => { try { return await server[name](request); } catch (error) { return {error: "The app did not answer: try again."}; } };
    let answer = await call("start", {kind: "videos", run: part.run, step: part.step});
    for (;;) {
      const job = answer.job;
      if (!job || (job.finished && job.state !== "done")) { said.textContent = answer.error || job?.message || "The videos were not rendered."; said.dataset.tone = "down"; button.disabled = false; return; }
      if (job.finished) { asked = ""; show(); return; }
      said.textContent = job.done ? "Rendering, " + job.done + (job.total ? " of " + job.total : "") + " videos" : "Loading the model …";
      await new Promise(done => setTimeout(done, 1000));
      answer = await call("look", {run: part.run, job: job.id});
    }
  }}, "Render its videos");
  return el("div", {}, button, said);
}

function fillPicks() {
  const runs = props.value.runs || [];
  for (const key of ["a", "b"]) {
    const {run, step} = picks[key], part = data[key];
    const known = runs.some(r => r.id === part.run) ? runs : [{id: part.run, name: part.name}, ...runs];
    const names = known.map(r => r.id + " " + r.name).join("|"), models = JSON.stringify(part.steps) + part.step;
    if (run.dataset.names !== names) { fill(run, known.map(r => el("option", {value: r.id}, r.name))); run.dataset.names = names; }
    const steps = part.steps.length ? part.steps : [{step: part.step, label: part.label, has_videos: false}];
    if (step.dataset.models !== models) { fill(step, steps.map(s => el("option", {value: String(s.step)}, s.label + (s.best ? " · best" : "") + (s.has_videos ? "" : " · no videos")))); step.dataset.models = models; }
    run.value = part.run;
    run.title = part.name;
    step.value = String(part.step);
  }
}

function render() {
  if (!data) return;
  fillPicks();
  $(".cp-picks").hidden = false;
  const same = data.a.run === data.b.run && data.a.step === data.b.step;
  if (!data.samples.length || (same && data.b.steps.length < 2)) { empty(why()); return; }
  $(".cp-none").hidden = true;
  const sentence = $(".cp-sentence");
  sentence.textContent = same ? "A and B are the same model: choose another one for one of them."
    : voting ? data.a.label + (data.a.run === data.b.run ? "" : " of " + data.a.name) + " against " + data.b.label.toLowerCase() + " of " + data.b.name + "." : data.sentence;
  sentence.dataset.level = same || voting ? "" : data.level;
  voting = voting && !same;
  $(".cp-actions").hidden = voting;
  voteButton.disabled = same;
  $(".cp-picks").hidden = voting;
  $(".cp-main").hidden = voting;
  if (voting) { player.player.still(); blind.open({a: sideOf("a"), b: sideOf("b")}); return; }
  if (!$(".cp-vote").hidden) blind.close();
  const shown = data.samples.find(s => s.name === sample) || data.samples[0];
  sample = shown.name;
  films.changed();
  hacking.update(data.a.run === data.b.run && data.a.step === 0 ? data.hacking : null);
  $(".cp-which").textContent = "Video " + (data.samples.indexOf(shown) + 1) + " of " + data.samples.length;
  $(".cp-prompt").textContent = shown.prompt || "(no prompt)";
  $(".cp-seed").textContent = (shown.seed === null ? "" : "seed " + shown.seed + " · ") + "same prompt, first frame and noise on both sides";
  fill($(".scores thead"), el("tr", {}, ["Measure", "A", "B", "change"].map((text, i) => el("th", {scope: "col"}, i ? text : el("span.sr", {}, text)))));
  fill($(".scores tbody"), MEASURES.filter(([name]) => shown.a[name] !== null || shown.b[name] !== null).map(m => el("tr", {}, el("th", {scope: "row", title: m[4]}, m[1] + (m[2] ? ", " + m[2] : "")),
    el("td.before", {}, fixed(shown.a[m[0]], m[3])), el("td", {}, fixed(shown.b[m[0]], m[3])), el("td", {}, changeOf(m, shown.a[m[0]], shown.b[m[0]])))));
  table.show(data, sample);
  load(shown);
}

function load(shown) {
  const {a, b} = data, plain = a.run === b.run && a.step === 0;
  const label = part => (plain ? (part === a ? "Before" : "After") : a.run === b.run ? part.label : part.name + ", " + part.label.toLowerCase());
  const side = (key, text, role, content) => ({key, label: text, role, video: content.video, faces: content.faces, note: content.reward === null ? "" : fixed(content.reward, 3), version: content.version});
  const sides = [side("before", label(a), "before", shown.a), side("after", label(b), "after", shown.b)];
  if (shown.reference) sides.push(side("reference", "Real clip", "real", shown.reference));
  player.load({sides, fps: shown.b.fps || shown.a.fps, count: Math.min(...[shown.a.num_frames, shown.b.num_frames].filter(Boolean)) || 1,
    key: JSON.stringify([a.run, a.step, b.run, b.step, shown.name, shown.a.version, shown.b.version])});
}

RFL.on("route", () => { read(); if (RFL.here().page === "compare") show(); });
watch("value", show);
show();
