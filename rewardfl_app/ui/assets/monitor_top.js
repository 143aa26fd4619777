const {el, fill, fixed, signed, percent, clock} = RFL;
const $ = selector => element.querySelector(selector);
const asking = {save_now: "Save now", sample_now: "Sample now"};
const settings = new RFL.RunSettings($(".mt-settings"), server, () => { element.querySelector("[data-focus=settings]")?.focus(); });
let told = 0;

/* Fill a part only when what it says is new, and give the focus back to the button that had it. */
function renew(node, data, make) {
  const said = JSON.stringify(data);
  if (node.said === said) return;
  node.said = said;
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  fill(node, make());
  if (focused) node.querySelector("[data-focus=" + focused + "]")?.focus();
}

const button = (name, text, act, kind = "") => el("button.btn" + kind, {type: "button", "data-focus": name, onclick: act}, text);
const openLog = () => button("log", "Open the log", () => RFL.send("log", {}));
const fork = v => button("fork", "Fork with other settings", () => { RFL.send("fork", {source: "run:" + v.run}); RFL.go("train", {run: v.run}); });
function resumeButtons(v) {
  if (!v.can_resume) return null;
  return [button("resume", "Resume", event => { event.currentTarget.disabled = true; trigger("resume", {}); }, ".primary"), changeButton(v, "Change and resume")];
}
function changeButton(v, text) {
  return button("settings", text, () => { if (settings.isOpen) settings.close(); else settings.open(v.run); });
}

function tile(v, title, hint, role, measure, level, options) {
  const known = measure && measure.before !== null;
  const after = known ? measure.after : null;
  const change = options.ratio ? (measure && measure.ratio !== null ? percent(measure.ratio) : "–") : signed(measure ? measure.delta : null);
  const judged = measure && measure.delta !== null && !options.ratio && !options.quiet;
  const tone = level === "warn" ? "warn" : judged && measure.delta > 0.005 ? "up" : judged && measure.delta < -0.005 ? "down" : "flat";
  return el("article.tile", {class: level === "warn" ? "warn" : "", "data-tile": title},
    el("h3", {}, el("i", {style: "background:var(--rf-" + role + ")"}), title),
    el("div.tile-value", {}, el("strong", {"data-tone": after === null ? "flat" : tone}, after === null ? (known ? fixed(measure.before, options.digits) : "–") : change),
      el("span", {}, after === null ? (known ? "before training" : v.finished ? "not measured" : "not measured yet") : options.ratio ? "of before" : "")),
    el("p.tile-pair", {}, after === null ? hint : [el("span.before", {}, fixed(measure.before, options.digits) + options.unit), " → ",
      el("span", {style: "color:var(--rf-" + role + "-ink)"}, fixed(after, options.digits) + options.unit)]),
    after === null ? null : el("p.tile-hint", {}, hint));
}

function tiles(v) {
  const over = v.num_samples ? ", " + v.num_samples + (v.num_samples > 1 ? " fixed videos" : " fixed video") : "";
  return [
    tile(v, "Reward", "face similarity by the recogniser it trains on" + over, "after", v.reward, "neutral", {quiet: v.level === "warn", digits: 3, unit: ""}),
    tile(v, "Judge", "face similarity by a recogniser it never trains on", "judge", v.judge, v.judge_level, {digits: 3, unit: ""}),
    tile(v, "Motion", v.motion_level === "warn" ? "under 95%: the face may be freezing" : "how far the face moves, in % of its size",
      "motion", v.motion, v.motion_level, {digits: 2, unit: " %", ratio: true})];
}

function nothing() {
  return el("div.empty", {}, el("h2", {}, "Nothing to watch yet"),
    el("p", {}, "Start a run on the Train page: the reward curve, the newest video and what changed appear here."),
    button("train", "Go to Train", () => RFL.go("train"), ".primary"));
}

const ENDED = {stopped: "Stopped as asked", lost: "The trainer is gone"};
function ended(v) {
  if (v.state === "queued") {
    return el("div.notice", {}, el("div", {}, el("h3", {}, "It waits in the queue"), el("p", {}, v.message || "It starts by itself when its device is free.")),
      el("div.notice-acts", {}, button("queue", "Show the queue", () => RFL.go("runs"))));
  }
  if (v.state === "paused") return el("div.notice.warn", {role: "status"}, el("div", {}, el("h3", {}, "The run is paused"), el("p", {}, v.message)));
  const end = v.exit;
  if (!end || end.cause === "completed") return null;
  const bad = v.state !== "stopped";
  return el("div.notice", {class: bad ? "bad" : "", role: bad ? "alert" : "status"},
    el("div", {}, el("h3", {}, ENDED[end.cause] || (bad ? "The run did not finish" : "Stopped")), el("p", {}, end.sentence || ""),
      end.next_step ? el("p.next", {}, el("b", {}, "Next: "), end.next_step) : null,
      v.checkpoint !== null ? el("p.next", {}, "The checkpoint of step " + v.checkpoint + " is saved; Resume goes on from there.")
        : bad ? el("p.next", {}, "No checkpoint was saved yet, so Resume begins again at step 0.") : null),
    el("div.notice-acts", {}, resumeButtons(v), bad ? openLog() : null, fork(v)));
}

/* The way to the first step, with the part that is under way. */
const START = [["starting", "Start the trainer"], ["loading", "Load the models and the clips"], ["measuring", "Measure the untrained model"], ["training", "Make the first step"]];
function start(v) {
  const at = START.findIndex(([key]) => key === v.waiting);
  return START.map(([key, text], place) => el("li", {"data-at": place < at ? "done" : place === at ? "now" : "later", "aria-current": place === at ? "step" : null},
    el("b", {}, text), place === at && v.message ? el("span", {}, v.message) : null));
}

function verdict(v) {
  const asked = kind => v.pending.includes(kind);
  const request = kind => el("button.btn", {type: "button", "data-focus": kind, disabled: asked(kind) || v.state === "stopping",
    onclick: event => { event.currentTarget.disabled = true; trigger(kind, {}); }}, asking[kind] + (asked(kind) ? " …" : ""));
  return el("div.verdict", {"data-level": v.level},
    el("div", {role: "status"}, el("h2", {}, v.step ? "After " + v.step + (v.step > 1 ? " steps" : " step") : "Before training"), el("p", {}, v.sentence)),
    el("div.verdict-actions", {},
      v.step ? [button("compare", "Compare videos", () => RFL.go("compare"), ".primary"),
        button("why", "Is it real?", () => document.getElementById("hacking").scrollIntoView({block: "start"}))] : null,
      v.finished ? (v.exit && v.exit.cause === "completed" ? [changeButton(v, "Train on"), fork(v)] : null) : [v.waiting ? null : [request("sample_now"), request("save_now")], changeButton(v, "Change settings")]));
}

function show() {
  const v = props.value || {run: null};
  const alone = v.loading || !v.run;
  renew($(".mt-none"), [v.loading, v.run === null], () => v.loading || v.run ? null : nothing());
  for (const part of [".mt-ended", ".mt-verdict", ".mt-tiles"]) $(part).hidden = alone;
  $(".mt-start").hidden = alone || !v.waiting;
  $(".receipts").hidden = alone || !v.receipts.length;
  if (alone) { settings.close(); fill($(".mt-notice")); return; }
  renew($(".mt-ended"), [v.run, ["queued", "paused"].includes(v.state) || v.finished ? [v.state, v.message, v.exit, v.can_resume, v.checkpoint] : null], () => ended(v));
  if (v.waiting) renew($(".mt-start"), [v.waiting, v.message], () => start(v));
  const begun = v.state !== "queued" || v.step !== null;
  $(".mt-verdict").hidden = $(".mt-tiles").hidden = !begun;
  if (begun) {
    renew($(".mt-verdict"), [v.run, v.level, v.step, v.sentence, v.finished, v.state === "stopping", Boolean(v.waiting), v.pending, v.exit], () => verdict(v));
    renew($(".mt-tiles"), [v.reward, v.judge, v.motion, v.level, v.judge_level, v.motion_level, v.num_samples, v.finished], () => tiles(v));
  }
  renew($(".mt-notice"), v.notice, () => v.notice ? el("div.notice", {}, el("p", {}, v.notice)) : null);
  renew($(".receipts"), v.receipts, () => [...v.receipts].reverse().map(r => el("li", {}, r.time ? el("time", {}, clock(r.time)) : null, r.message)));
  follow(v);
}

/* The settings panel follows the run: a receipt or a new state may have changed what it shows. */
function follow(v) {
  if (settings.isOpen && settings.run !== v.run) settings.close();
  const now = v.run + v.num_receipts + v.state + v.pending.length;
  if (settings.isOpen && told !== now) settings.refresh();
  told = now;
}
watch("value", show);
show();
