const {el, fill, fixed, signed, percent, duration, when, fileUrl} = RFL;
const $ = selector => element.querySelector(selector);
const ENDED = new Set(["done", "failed", "cancelled"]);
const MEASURES = [["reward", "Similarity to the picture", 3], ["judge", "Judge", 3], ["motion", "Motion %", 2], ["sharpness", "Sharpness", 1], ["face_rate", "Face found", 2]];
const results = new Map();  // by id, as load_results gives them
const PATIENCE = 5000;  // ms until something that was asked for must be known
let chosen = null, chosenAt = Date.now(), asking = "", awake = false, painted = "";

const form = new PreviewForm(element, server, pick);
const history = new PreviewHistory($(".pg-history"), id => { pick(id); $(".pg-view").scrollIntoView({block: "nearest", behavior: "smooth"}); }, end);
const player = new RFL.AbPlayer($(".pg-player"), {label: "Base and trained", keys: $(".pg-view")});

const going = id => (props.value.going_on || []).find(row => row.id === id);
const finished = id => (props.value.finished || []).includes(id);

function choose(id) {
  chosen = id;
  chosenAt = Date.now();
  painted = "";
}

function pick(id) {
  choose(id);
  RFL.note({result: id});
  show();
}

async function end(id) {
  const removed = finished(id);
  const answer = await server.end_preview({id}).catch(() => ({error: "The app does not answer."}));
  if (answer.error) { RFL.toast(answer.error); return; }
  if (!removed) return;
  const ids = props.value.finished, at = ids.indexOf(id);
  results.delete(id);
  if (chosen === id) { chosen = ids[at + 1] || ids[at - 1] || null; RFL.note({result: chosen}); }
  props.value.finished = ids.filter(other => other !== id);  // until the next tick says the same
  show();
}

/* Ask for what is not known yet; what is going on is asked again when it has ended. */
async function fetchResults() {
  const v = props.value, wanted = chosen && !results.has(chosen) ? [chosen] : [];
  for (const row of v.going_on || []) if (!results.has(row.id) && row.id !== chosen) wanted.push(row.id);
  for (const id of (v.finished || []).slice(0, 200)) if (!ENDED.has((results.get(id) || {}).state) && !wanted.includes(id)) wanted.push(id);
  const key = wanted.join(" ");
  if (!wanted.length || asking === key) return;
  asking = key;
  const rows = await server.load_results({ids: wanted}).catch(() => null);
  asking = "";
  for (const row of rows || []) results.set(row.id, row);
  if (rows) show();
}

function show() {
  if (!RFL.isShown(element.querySelector(".pg"))) return;
  const v = props.value || {};
  if (!awake) { awake = true; wake(); }
  paintWorker(v);
  form.setTraining(v.training || null);
  const told = $(".pg-training");
  told.hidden = !v.training && !v.trouble;
  if (v.training) {
    told.querySelector("h3").textContent = "“" + v.training.name + "” is training";
    told.querySelector("p").textContent = "It has the device. What you ask for waits in line and is rendered as soon as training ends; what was rendered before can be looked at now.";
  } else if (v.trouble) {
    told.querySelector("h3").textContent = "Nothing can be rendered now";
    told.querySelector("p").textContent = v.trouble;
  }
  told.querySelector("button").hidden = !v.training;
  if (v.loading) return;
  fetchResults();
  const known = id => going(id) || finished(id);
  if (chosen && !known(chosen) && !results.has(chosen) && Date.now() - chosenAt > PATIENCE) chosen = null;
  if (!chosen) chosen = ((v.going_on || [])[0] || {}).id || (v.finished || [])[0] || null;
  history.paint({going: [...(v.going_on || [])].reverse(), ids: v.finished || [], results, chosen});
  paintView(v);
}

function paintWorker(v) {
  const worker = v.worker || {state: "off"}, pill = $(".pg-worker .pill");
  const words = {off: "No model loaded", starting: "Starting the worker", loading: "Loading the model", ready: "Model loaded", working: "Rendering"};
  const text = words[worker.state] + (worker.model && worker.state !== "starting" ? " · " + worker.model : "");
  if (pill.textContent !== text) pill.textContent = text;
  pill.dataset.state = {off: "", starting: "starting", loading: "loading", ready: "completed", working: "training"}[worker.state];
  pill.title = worker.state === "off" ? "The first video takes longer, since the model is loaded for it." : "It stays loaded between videos, until nothing was asked for " + LIMITS.idle_minutes + " minutes or training starts.";
  $(".pg-free").hidden = worker.state === "off";
}

function paintView(v) {
  const row = chosen && (going(chosen) || (finished(chosen) ? results.get(chosen) : null));
  const result = chosen && results.get(chosen);
  const view = !chosen ? "none" : row && row.state === "done" ? (row.tuned ? "player" : "single") : "wait";
  const key = view + " " + JSON.stringify(view === "wait" ? [row, Boolean(result && result.picture), v.training, v.worker] : [chosen]);
  if (key === painted) return;
  painted = key;
  $(".pg-none").hidden = view !== "none";
  $(".pg-wait").hidden = view !== "wait";
  $(".pg-player").hidden = view !== "player";
  $(".pg-single").hidden = view !== "single";
  $(".pg-about").hidden = view !== "player" && view !== "single";
  if (view !== "player") player.clear();
  if (view !== "single") $(".pg-single video").removeAttribute("src");
  if (view === "wait") paintWait(row, result, v);
  if (view === "player") paintPlayer(row);
  if (view === "single") $(".pg-single video").src = fileUrl(row.base.video);
  if (row && row.state === "done") paintAbout(row);
}

function paintWait(row, result, v) {
  const frame = $(".pg-frame"), waiting = row && row.state === "waiting", working = row && row.state === "working";
  fill(frame, result && result.picture ? el("img", {src: fileUrl(result.picture), alt: ""}) : null);
  frame.classList.toggle("busy", Boolean(working));
  $(".pg-wait").dataset.state = row ? row.state : "";
  const before = (v.going_on || []).findIndex(other => other.id === chosen);
  $(".pg-wait h3").textContent = !row ? "One moment" : waiting ? (v.training ? "Waits for training" : before > 0 ? "In line" : "About to start") : working ? "Rendering" : row.state === "failed" ? "It could not be rendered" : "Cancelled";
  $(".pg-now").textContent = !row ? "" : waiting ? (v.training ? "It is rendered as soon as “" + v.training.name + "” has ended."
    : before > 0 ? before + (before === 1 ? " video is" : " videos are") + " rendered before it." : v.worker.state === "ready" || v.worker.state === "working" ? "The worker takes it up." : "A worker starts; that takes a few seconds.")
    : row.message || (row.state === "cancelled" ? "It was taken out of the line before it was done." : "");
  const bar = $(".pg-wait .bar");
  bar.hidden = !working && !(waiting && !v.training);
  bar.classList.toggle("unknown", !row || !row.total);
  bar.firstElementChild.style.width = (row && row.total ? 100 * row.done / row.total : 0) + "%";
  const warning = $(".pg-warning");
  warning.textContent = (row && row.warning) || "";
  warning.hidden = !warning.textContent;
  // The same buttons while there is the same to do: one made anew between press and release would not hear of the click.
  const actions = $(".pg-wait-actions"), about = row ? [row.id, waiting || working ? "going" : row.state, Boolean(result)].join(" ") : "";
  if (actions.dataset.about === about) return;
  actions.dataset.about = about;
  fill(actions, !row ? null : waiting || working ? el("button.btn.small", {type: "button", onclick: () => end(row.id)}, "Cancel")
    : [el("button.btn.small.primary", {type: "button", onclick: () => again(result || row, false)}, "Ask again"), el("button.btn.small", {type: "button", onclick: () => end(row.id)}, "Delete")]);
}

function sides(row) {
  const note = side => { const value = (row.values[side] || {}).reward; return value === null || value === undefined ? "" : fixed(value, 3); };
  const steps = row.step === 1 ? "1 step" : row.step + " steps";
  return [{key: "base", label: "Base model", role: "before", ...row.base, note: note("base")},
    {key: "tuned", label: "Trained " + steps + (row.strength === 1 ? "" : ", ×" + row.strength), role: "after", ...row.tuned, note: note("tuned")}];
}

function paintPlayer(row) {
  player.load({sides: sides(row), fps: row.fps, count: row.num_frames, key: row.id});
}

function tone(key, delta, before) {
  if (!Number.isFinite(delta) || key === "sharpness") return "flat";
  if (key === "motion") return before && (before + delta) / before < 0.9 ? "warn" : "flat";
  return delta > 0.005 ? "up" : delta < -0.005 ? "down" : "flat";
}

function paintAbout(row) {
  const {base, tuned} = row.values, rows = MEASURES.filter(([key]) => (base && base[key] !== null) || (tuned && tuned[key] !== null));
  const change = (key, digits) => {
    if (!base || !tuned || base[key] === null || tuned[key] === null) return "–";
    return key === "motion" && base[key] ? percent(tuned[key] / base[key]) : signed(tuned[key] - base[key], digits);
  };
  $(".pg-scores table").hidden = !rows.length;
  $(".pg-scores").classList.toggle("alone", !row.tuned);
  fill($(".pg-scores tbody"), rows.map(([key, label, digits]) => el("tr", {}, el("th", {scope: "row"}, label), el("td.num.before", {}, fixed(base && base[key], digits)),
    el("td.num", {}, fixed(tuned && tuned[key], digits)), el("td.num", {"data-tone": base && tuned ? tone(key, tuned[key] - base[key], base[key]) : "flat"}, change(key, digits)))));
  const note = $(".pg-note");
  const run = row.model_id.startsWith("run:") ? row.model_id.slice(4) : null;
  fill(note, row.warning || (rows.length && row.tuned ? ["One video says little: another seed may turn it around. ", run ? el("button.link.plain", {type: "button", onclick: () => { RFL.send("choose", {run}); RFL.go("compare", {run}); }}, "Compare") : "Compare", " shows many, with intervals."] : ""));
  note.dataset.tone = row.warning ? "warn" : "";
  note.hidden = !note.textContent;
  $(".pg-prompt").textContent = row.prompt;
  const facts = [["Model", row.model], ["Trained for", row.step === null ? "base alone" : row.step + (row.step === 1 ? " step" : " steps")], row.tuned ? ["Strength", "×" + row.strength] : null, ["Seed", String(row.seed)],
    ["Video", row.width + " × " + row.height + ", " + row.num_frames + " frames"], ["Took", duration(row.seconds) + (row.base_kept ? ", base kept from before" : "")], ["Rendered", when(row.created)]];
  fill($(".pg-about dl"), facts.filter(Boolean).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  const link = (path, text, tail) => path ? el("a.btn.small", {href: fileUrl(path), "aria-label": "Download: " + text, onclick: event => { event.preventDefault(); save(path, "seed-" + row.seed + tail + ".mp4"); }}, text) : null;
  fill($(".pg-actions"),
    el("button.btn.small.primary", {type: "button", onclick: () => again(row, true)}, "Another seed"),
    el("button.btn.small", {type: "button", title: "Put picture, prompt, seed and model into the form", onclick: () => again(row, null)}, "Change it"),
    el("span.pg-loads", {}, el("span", {}, "Download"), link(row.side_by_side, "both", "-side-by-side"), link(row.base && row.base.video, "base", "-base"), link(row.tuned && row.tuned.video, "trained", "-trained")));
}

/* Download a file under a name of its own: the server would send it under that of its file, which is the same for all. */
async function save(path, name) {
  const answer = await fetch(fileUrl(path)).catch(() => null);
  if (!answer || !answer.ok) { RFL.toast("The video cannot be loaded: it may have been deleted."); return; }
  const address = URL.createObjectURL(await answer.blob());
  el("a", {href: address, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

/* Take a result's settings over; ask at once with its own seed (false) or another (true), or only fill the form (null). */
async function again(row, fresh) {
  await form.takeOver(row, fresh ? randomSeed() : row.seed);
  if (fresh === null) { form.form.prompt.focus(); $(".pg-form").scrollIntoView({block: "nearest", behavior: "smooth"}); } else form.submit();
}

/* The page is seen for the first time: what the form chooses from is loaded. */
async function wake() {
  const {model, step, result} = RFL.here().params;
  if (result) choose(result);
  if (!await form.load({model, step})) awake = false;
  if (model) RFL.note({model: "", step: ""});  // it is in the form now
}

$(".pg-training button").addEventListener("click", () => { const {training} = props.value; RFL.send("choose", {run: training.run}); RFL.go("monitor", {run: training.run}); });
$(".pg-free").addEventListener("click", async event => { const button = event.currentTarget; button.disabled = true; await server.free_device({}).catch(() => RFL.toast("The app does not answer.")); button.disabled = false; });
RFL.on("route", ({page, params}) => {
  if (page !== "playground") return;
  if (params.result && params.result !== chosen) choose(params.result);
  awake = false;  // runs may have come and gone
  setTimeout(show, 0);
  setTimeout(show, 300);
});
watch("value", show);
new IntersectionObserver(() => show()).observe(element);
show();
