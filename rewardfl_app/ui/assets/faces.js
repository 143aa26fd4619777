const {el, fill, fixed, fileUrl} = RFL;
const $ = selector => element.querySelector(selector);
const root = $(".fc"), stage = $(".fc-stage"), video = $(".fc-video"), heatVideo = $(".fc-heat"), canvas = $(".fc-stage canvas"), scrub = $(".fc-scrub");
const slider = $(".fc-steps input"), realButton = $(".fc-real"), badge = $(".fc-badge"), heatLine = $(".fc-heat-line");
const options = {boxes: true, landmarks: false, heat: false};
const remembered = JSON.parse(sessionStorage.getItem("rewardfl_faces") || "{}");
const TODAY_EMPTY = {model: new FaceModel(null), sheet: null, reference: null};
let source = remembered.source || null, job = remembered.job || null, awaited = null, run = null, followed = true, real = false, chosen = null;
let listed = null, asked = "", clip = null, loaded = "", only = null, shown = TODAY_EMPTY, lastFrame = -1, jobClip = null, heatLoaded = "", heatScale = null, heatCount = Infinity, heatAsked = null;
const heatSeen = new Set();
const files = new Map();

const player = new SyncPlayer(frame => {
  if (!shown.model.count) return;
  const faces = shown.model.frames[RFL.frameAt(video, {fps: player.fps, frames: shown.model.frames})] || [];
  RFL.paintBoxes(canvas, shown.model, options.boxes ? faces : null, boxStyle);
  badge.hidden = faces.length > 0;
  heatVideo.style.visibility = frame < heatCount ? "" : "hidden";
  if (frame === lastFrame) return;
  lastFrame = frame;
  scrub.value = String(frame);
  scrub.setAttribute("aria-valuetext", "frame " + (frame + 1) + " of " + shown.model.count);
  $(".fc-counter").textContent = "frame " + (frame + 1) + " / " + shown.model.count;
  $(".fc-now-title").textContent = "Frame " + (frame + 1);
  curve.paintHead(frame);
  cards.paintNow(frame);
}, () => RFL.isShown(stage));
if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) player.playing = false;

const boxStyle = {
  color: face => RFL.color(roleOf(face)),
  text: face => {
    const person = shown.model.byKey.get(face.person), name = (shown.model.people.length > 1 && person ? person.label : "") + (face.unlike ? "?" : "");
    return [name, Number.isFinite(face.similarity) ? fixed(face.similarity, 2) : ""].filter(Boolean).join("  ");
  },
  back: face => Boolean(only) && face.person !== only,
  get landmarks() { return options.landmarks; },
};
function roleOf(face) {
  const person = shown.model.byKey.get(face.person);
  return person ? person.role : "before";
}

const seek = frame => { player.seek(frame); paintPlay(); };
const jump = frame => { seek(frame); $(".fc-player").scrollIntoView({block: "nearest", behavior: "smooth"}); };
const curve = new FaceCurve($(".fc-curve"), seek);
const cards = new FaceCards($(".fc-now"), {card: $(".fc-worst"), list: $(".fc-cards"), more: $(".fc-more"), every: $(".fc-every")}, $(".fc-people tbody"), jump, key => { only = key; paintClip(); });
const own = new OwnVideos($("[data-pick=own]"), LIMITS, server, id => { job = awaited = id; source = "own"; remember(); show(); });

function remember() { try { sessionStorage.setItem("rewardfl_faces", JSON.stringify({source, job})); } catch (error) { /* private mode: the choice is lost on refresh */ } }

function show() {
  const v = props.value || {};
  root.hidden = Boolean(v.loading);
  if (v.loading) return;
  const usable = Boolean(v.run && (v.steps.length || v.has_real));
  const now = source || (usable || v.run ? "run" : "own");
  for (const button of element.querySelectorAll("[data-source]")) button.setAttribute("aria-pressed", String(button.dataset.source === now));
  for (const pick of element.querySelectorAll("[data-pick]")) pick.hidden = pick.dataset.pick !== now || (now === "run" && !usable);
  const jobs = v.jobs.filter(row => row.kind === "score");
  const listedJob = jobs.some(row => row.id === job);
  if (listedJob && awaited === job) awaited = null;
  if (now === "own" && jobs.length && !listedJob && (!job || awaited !== job)) job = jobs[0].id;
  own.show(jobs, now === "own" ? job : null, v.run);
  if (now === "own") showJob(jobs.find(row => row.id === job) || null); else showRun(v, usable);
  paintHeat();
}

/* What stands where there is nothing to see yet. Its buttons stay the same nodes while `about` is the same: one that was
   made anew between press and release would not hear of the click. */
function none(title, text, ...actions) { nothing(title, title, text, actions); }
function nothing(about, title, text, actions) {
  $(".fc-main").hidden = true;
  $(".fc-none").hidden = false;
  fill($(".fc-none h2"), title);
  fill($(".fc-none p"), text);
  const box = $(".fc-none-actions");
  if (box.dataset.about !== about) { box.dataset.about = about; fill(box, actions); }
  $(".fc-sentence").textContent = "";
  player.still();
  if (!actions.length && !title) $(".fc-none").hidden = true;
}

/* Samples of the run that the header shows. */
async function showRun(v, usable) {
  if (!usable) {
    const ownButton = el("button.btn.primary", {type: "button", onclick: () => { source = "own"; remember(); show(); }}, "Score a video of your own");
    if (!v.run) none("No run yet", "Start a run on the Train page: the faces of its videos appear here, frame by frame. A video of your own can be scored right now.", ownButton, el("button.btn", {type: "button", onclick: () => RFL.go("train")}, "Go to Train"));
    else none(v.finished ? "This run has no videos" : "The first videos are on their way", v.finished ? "It ended before its first evaluation. Choose another run above, or score a video of your own." : "The untrained model’s videos are rendered and scored first; they appear here by themselves.", ownButton);
    return;
  }
  if (v.run !== run) { run = v.run; followed = true; real = false; chosen = null; listed = null; asked = ""; }
  if (!v.steps.length) real = true;
  slider.max = String(Math.max(0, v.steps.length - 1));
  if (followed) slider.value = slider.max;
  slider.disabled = v.steps.length < 2;
  realButton.hidden = !v.has_real;
  realButton.setAttribute("aria-pressed", String(real));
  const at = v.steps[Math.min(v.steps.length - 1, Number(slider.value))], step = real ? "real" : at;
  const words = at === 0 ? "Untrained model" : "After " + at + (at === 1 ? " step" : " steps");
  $(".fc-step").textContent = real ? "Real clips" : words;
  slider.setAttribute("aria-valuetext", words);
  const key = v.run + " " + step + " " + v.version;
  if (key !== asked) {
    asked = key;
    const answer = await server.load_clips({run: v.run, step}).catch(() => null);
    if (asked !== key) return;
    if (!answer) { asked = ""; return; }
    listed = answer;
  }
  if (!listed || source === "own") return;
  if (!listed.clips.length) { none("Nothing here", "There are no videos of this step any more.") ; return; }
  const pick = listed.clips.find(c => c.name === chosen) || listed.clips[0];
  chosen = pick.name;
  fill($("[data-pick=run] .fc-strip"), listed.clips.map((c, i) => el("button.fc-tile", {type: "button", "aria-pressed": String(c === pick), title: c.prompt || c.name, "aria-label": "Video " + (i + 1) + (c.reward === null ? "" : ", reward " + fixed(c.reward, 2)),
    onclick: () => { chosen = c.name; show(); }}, el("span.tile-pic", {}, c.picture ? el("img", {src: c.picture, alt: ""}) : null), el("b", {class: c.level === "warn" ? "warn" : ""}, fixed(c.reward, 2)))));
  showClip(pick);
}

/* A job of one's own: its clip, how far it is, or why it failed. */
async function showJob(row) {
  if (!row) { if (job && awaited === job) none("Starting", el("span.bar.unknown", {}, el("i"))); else none("", ""); return; }
  if (row.state === "done") {
    if (!jobClip || jobClip.name !== row.id) {
      if (asked === row.id) return;
      asked = row.id;
      const answer = await server.load_job({job: row.id}).catch(() => null);
      if (asked !== row.id) return;
      asked = "";
      if (!answer) { nothing(row.id + " gone", "The files of this video are gone", "Score it again.", [remove(row)]); return; }
      jobClip = answer;
    }
    if (job === row.id) showClip(jobClip);
    return;
  }
  const running = !["failed", "cancelled"].includes(row.state);
  nothing(row.id + (running ? "" : " " + row.state), running ? "Scoring " + row.title : row.state === "failed" ? "This video was not scored" : "Cancelled", running
    ? [progressWords(row), el("span.bar", {class: row.total ? "" : "unknown"}, el("i", {style: "width:" + (row.total ? 100 * row.done / row.total : 0) + "%"}))]
    : [row.message.includes(row.title) ? null : el("b.fc-title", {}, row.title), row.message],
    [running ? null : el("button.btn.primary", {type: "button", onclick: () => own.add()}, "Choose another video"), running ? null : again(row), remove(row)]);
  $(".fc-none").dataset.state = row.state;
}

function again(row) {
  const button = el("button.btn", {type: "button", onclick: async () => {
    button.disabled = true;
    const answer = await server.start_again({job: row.id}).catch(() => ({error: "The app does not answer."}));
    button.disabled = false;
    if (answer.job) { job = awaited = answer.job; remember(); show(); } else fill($(".fc-none p"), answer.error);
  }}, "Try again");
  return button;
}

function remove(row) {
  const running = !["done", "failed", "cancelled"].includes(row.state);
  const button = el("button.btn", {type: "button", onclick: async () => {
    button.disabled = true;
    const answer = await server.end_job({job: row.id}).catch(() => null);
    if (!answer) button.disabled = false;
    else if (!running) { job = null; remember(); }
  }}, running ? "Cancel" : "Remove");
  return button;
}

async function json(path, version) {
  if (!path) return null;
  const key = path + "?" + version;
  if (!files.has(key)) {
    if (files.size > 24) files.clear();
    files.set(key, fetch(fileUrl(path) + "?v=" + version).then(r => r.ok ? r.json() : null).catch(() => null));
  }
  const content = await files.get(key);
  if (content === null) files.delete(key);
  return content;
}

function sheetOf(content, path, version) {
  return loadSheet(content && content.crops, path && fileUrl(path) + "?v=" + version);
}

async function showClip(next) {
  $(".fc-none").hidden = true;
  $(".fc-main").hidden = false;
  clip = next;
  const sentence = $(".fc-sentence");
  sentence.textContent = next.sentence || "";
  sentence.dataset.level = next.level || "";
  const key = next.folder + "@" + next.version;
  if (key === loaded) { paintHeat(); return; }
  const same = shown.model.count > 0 && run && next.folder.startsWith((loaded.split("/samples/")[0] || "?") + "/");
  const frame = same && !player.playing ? player.frame : 0, playing = player.playing;
  loaded = key;
  heatLoaded = "";
  video.src = fileUrl(next.video || "") + "?v=" + next.version;
  const [content, compared] = await Promise.all([json(next.faces, next.version), next.reference ? json(next.reference.faces, next.version) : null]);
  if (loaded !== key) return;
  const [sheet, other] = await Promise.all([sheetOf(content, next.crops, next.version), compared ? sheetOf(compared, next.reference.crops, next.version) : null]);
  if (loaded !== key) return;
  const model = new FaceModel(content), withCrops = other ? {model: new FaceModel(compared), sheet: other} : {model, sheet};
  shown = {model, sheet, reference: withCrops};
  if (only && !model.byKey.has(only)) only = null;
  const ratio = model.width && model.height ? model.width / model.height : 1;
  const box = $(".fc-stage .vid");
  box.style.aspectRatio = String(ratio);
  box.style.setProperty("--ratio", String(ratio));
  scrub.max = String(Math.max(0, model.count - 1));
  paintClip();
  paintHeat();
  await loadPlayer(Math.min(frame, model.count - 1), playing);
}

/* Give the player its videos, keeping the frame and whether it plays. */
async function loadPlayer(frame, playing) {
  lastFrame = -1;
  const withHeat = options.heat && heatLoaded;
  await player.load(withHeat ? [video, heatVideo] : [video], shown.model.fps, shown.model.count);
  if (frame > 0 && !playing) await player.seek(frame);
  player.playing = playing;
  if (!playing) player.still();
  paintPlay();
}

function paintClip() {
  const {model, sheet, reference} = shown;
  lastFrame = -1;
  curve.show(model, only);
  cards.show(model, sheet, reference, only);
  const lines = curve.lines();
  fill($(".fc-keys"), lines.length > 1 || (lines[0] && model.people.length > 1) ? [...lines].sort((a, b) => (a.role === "judge") - (b.role === "judge")).map(line => el("span.ch-key", {}, el("i", {style: "background:var(" + cssName(line.role) + ")"}), line.label)) : null,
    model.faceless.length ? el("span.ch-key", {}, el("i.fc-gap-key"), "no face") : null);
  const person = only ? model.byKey.get(only) : null, filter = $(".fc-filter");
  filter.hidden = !person;
  fill(filter, person ? [el("i", {style: "background:var(" + cssName(person.role) + ")"}), person.label + " alone", el("button", {type: "button", "aria-label": "Show everybody", onclick: () => { only = null; paintClip(); }}, "×")] : null);
  const seconds = model.count / model.fps, kind = model.content.reference && model.content.reference.kind;
  const facts = [["Reward", fixed(clip.reward, 3)], ["Judge", clip.judge === null ? null : fixed(clip.judge, 3)], ["Motion", clip.motion === null ? null : fixed(clip.motion, 2) + " %"],
    ["Sharpness", clip.sharpness === null ? null : RFL.short(Number(clip.sharpness.toPrecision(3)))], ["Frames with the person", clip.face_rate === null ? null : RFL.percent(clip.face_rate)],
    ["Length", model.count + " frames · " + (seconds < 90 ? seconds.toFixed(1) + " s" : RFL.duration(seconds)) + " · " + RFL.short(model.fps) + " fps"], ["Size", model.width + " × " + model.height],
    ["Compared with", clip.job && clip.job.reference ? clip.job.reference : kind ? {"own first frame": "its own first frame", clip: "the real clip"}[kind] || "a given " + kind : clip.reference ? "the real clip" : null],
    ["Face pack", clip.job ? clip.job.pack + " · " + clip.job.det_size + " px" : null], ["Prompt", clip.prompt || null], ["Seed", clip.seed]];
  fill($(".fc-facts"), facts.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]), (model.content.notes || []).map(note => el("dd.fc-notes", {}, String(note))), clip.job ? el("dd.wide", {}, remove(clip.job)) : null);
  cards.paintNow(player.frame);
}

/* The heat map: shown when it is there, computed on demand, its progress in one line. */
async function paintHeat() {
  const jobs = ((props.value || {}).jobs || []).filter(row => row.kind === "heat" && clip && row.target === clip.folder);
  const newest = jobs[0] || null, wanted = options.heat && Boolean(clip) && !$(".fc-main").hidden;
  heatLine.hidden = !wanted || Boolean(clip.heat);
  const visible = Boolean(wanted && clip.heat);
  stage.classList.toggle("hot", visible);
  heatVideo.hidden = $(".fc-legend").hidden = !visible;
  if (!wanted) return;
  if (visible) {
    const key = clip.heat + "@" + clip.heat_version;
    if (key === heatLoaded) return;
    heatLoaded = key;
    const frame = player.frame, playing = player.playing;
    heatVideo.src = fileUrl(clip.heat) + "?v=" + clip.heat_version;
    const info = await json(clip.heat_info, clip.heat_version);
    if (heatLoaded !== key) return;
    heatScale = info && info.scale;
    heatCount = info && Array.isArray(info.frames) ? info.frames.length : Infinity;
    $(".fc-legend small").textContent = Number.isFinite(heatScale) ? "Change of the reward per unit of the pixel (−1 to 1); full brightness is " + RFL.short(heatScale) + "." + (heatCount < shown.model.count ? " Only the first " + heatCount + " frames have one." : "") : "";
    await loadPlayer(frame, playing);
    return;
  }
  if (heatAsked !== clip.folder) heatAsked = null;
  if (newest && newest.state === "done" && !heatSeen.has(newest.id)) { heatSeen.add(newest.id); asked = ""; jobClip = null; show(); return; }
  if (newest && (newest.state === "failed" || newest.state === "cancelled")) fill(heatLine, el("span", {"data-tone": "warn"}, newest.message), el("button.link", {type: "button", onclick: startHeat}, "Try again"));
  else if (newest && newest.state !== "done") fill(heatLine, el("span.bar", {class: newest.total ? "" : "unknown"}, el("i", {style: "width:" + (newest.total ? 100 * newest.done / newest.total : 0) + "%"})), progressWords(newest));
  else if (heatAsked !== clip.folder) fill(heatLine, "No heat map of this video so far", el("button.link", {type: "button", onclick: startHeat}, "Compute it"));
}

async function startHeat() {
  if (!clip) return;
  heatAsked = clip.folder;
  fill(heatLine, "starting…");
  heatLine.hidden = false;
  const asking = clip.folder, request = clip.job ? {job: clip.name} : {run, step: clip.step === null ? "real" : clip.step, name: clip.name};
  const answer = await server.start_heat(request).catch(() => ({error: "The app does not answer."}));
  if (answer.error && clip.folder === asking) fill(heatLine, el("span", {"data-tone": "warn"}, answer.error));
}

function paintPlay() {
  const button = $("[data-do=play]");
  button.setAttribute("aria-label", player.playing ? "Pause" : "Play");
  button.querySelector("path").setAttribute("d", player.playing ? "M6 5h4.2v14H6zM13.8 5H18v14h-4.2z" : "M7 4.5v15l12-7.5z");
}
function toggle() { player.toggle(); paintPlay(); }

for (const button of element.querySelectorAll("[data-source]")) button.addEventListener("click", () => { source = button.dataset.source; asked = ""; only = null; remember(); show(); });
$("[data-do=play]").addEventListener("click", toggle);
$("[data-do=back]").addEventListener("click", () => { player.step(-1); paintPlay(); });
$("[data-do=next]").addEventListener("click", () => { player.step(1); paintPlay(); });
scrub.addEventListener("input", () => seek(Number(scrub.value)));
$(".fc-controls select").addEventListener("change", event => player.setRate(Number(event.target.value)));
for (const box of element.querySelectorAll("[data-toggle]")) {
  box.addEventListener("change", () => {
    options[box.dataset.toggle] = box.checked;
    if (box.dataset.toggle !== "heat") return;
    const going = ((props.value || {}).jobs || []).some(row => row.kind === "heat" && clip && row.target === clip.folder && !["done", "failed", "cancelled"].includes(row.state));
    if (box.checked && clip && !clip.heat && !going) startHeat();
    if (!box.checked) { const frame = player.frame, playing = player.playing; heatLoaded = ""; loadPlayer(frame, playing); }
    paintHeat();
  });
}
slider.addEventListener("input", () => { followed = slider.value === slider.max; real = false; show(); });
realButton.addEventListener("click", () => { real = !real; show(); });
$(".fc-every").addEventListener("change", () => cards.paintWorst());
$(".fc-more").addEventListener("click", () => cards.more());
$(".fc-main").addEventListener("keydown", event => {
  if (event.target.matches("input, select, textarea, button") || event.ctrlKey || event.metaKey || event.altKey) return;
  const to = {ArrowRight: player.frame + 1, ArrowLeft: player.frame - 1, Home: 0, End: player.count - 1}[event.key];
  if (event.key === " ") { event.preventDefault(); toggle(); } else if (to !== undefined) { event.preventDefault(); seek(to); }
});
window.addEventListener("rewardfl:scheme", () => curve.draw());
watch("value", show);
show();
/* What was sent while this page was being put up may have passed it by. */
setTimeout(() => { if ((props.value || {}).loading) trigger("missed", {}); }, 2500);
