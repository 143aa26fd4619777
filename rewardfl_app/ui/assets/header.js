const {el, fill, duration} = RFL;
const $ = selector => element.querySelector(selector);
const runs = $(".hd-runs"), pill = $(".hd-state"), progress = $(".hd-progress"), stop = $(".hd-stop"), dialog = $("dialog");
let listed = "";

function show() {
  const v = props.value || {runs: [], run: null};
  const key = JSON.stringify(v.runs);
  if (key !== listed) {
    listed = key;
    fill(runs, v.runs.map(r => el("option", {value: r.id}, r.name + (r.started ? "  ·  " + RFL.when(r.started) : "") + "  ·  " + r.word)));
    RFL.runs = v.runs;
  }
  queue(v);
  if (v.run) runs.value = v.run;
  runs.parentElement.hidden = !v.run;
  pill.hidden = progress.hidden = !v.run;
  $(".hd-none").hidden = Boolean(v.run || v.loading);
  stop.hidden = !v.run || v.finished || v.state === "queued";
  if (!v.run) { document.title = "Reward FL"; return; }
  pill.textContent = v.word;
  pill.dataset.state = v.state;
  $(".hd-step").textContent = v.total && v.state !== "queued" ? "Step " + v.step + " of " + v.total : "";
  const said = (v.message || "").toLowerCase().startsWith("step " + v.step + " of") ? "" : v.message || "";
  $(".hd-message").textContent = said;
  $(".hd-message").title = v.message || "";
  $(".hd-left").textContent = v.seconds_left !== null && !v.finished ? duration(v.seconds_left) + " left" : "";
  const bar = $(".bar"), share = v.total ? Math.min(1, v.step / v.total) : 0;
  bar.setAttribute("aria-valuemax", v.total || 1);
  bar.setAttribute("aria-valuenow", v.step || 0);
  bar.dataset.state = v.state;
  bar.classList.toggle("unknown", !v.finished && !v.step && v.state !== "queued");
  bar.firstElementChild.style.width = (v.state === "completed" ? 100 : 100 * share) + "%";
  stop.disabled = !v.can_stop;
  stop.textContent = v.state === "stopping" ? "Stopping…" : "Stop";
  document.title = (v.finished ? v.word : (v.total ? Math.round(100 * share) + "%" : v.word)) + " · " + v.name + " · Reward FL";
}

/* The run that goes on while another one is looked at, and how many wait. */
function queue(v) {
  const active = $(".hd-active"), waiting = $(".hd-queue");
  active.hidden = !v.active;
  active.lastElementChild.textContent = v.active ? v.active.name + " goes on" : "";
  active.title = v.active ? "Look at " + v.active.name : "";
  waiting.hidden = !v.queued;
  waiting.textContent = v.queued + " in the queue";
}
$(".hd-active").addEventListener("click", () => { const {active} = props.value; if (active) RFL.go(RFL.here().page === "train" ? "monitor" : RFL.here().page, {run: active.id}); });
$(".hd-queue").addEventListener("click", () => RFL.go("runs"));

runs.addEventListener("change", () => { RFL.go(RFL.here().page, {run: runs.value}); });
/* What each way to stop does and costs. */
function cost(v) {
  const steps = n => n + (n === 1 ? " step" : " steps");
  const work = v.step_seconds ? ", about " + duration(v.lost_steps * v.step_seconds) + " of work" : "";
  const lost = v.lost_steps
    ? "ends at once and loses the " + steps(v.lost_steps) + " since " + (v.saved ? "the checkpoint of step " + v.saved : "the start") + work + "."
    : "ends at once, without what the current step has done" + (v.saved ? "; the checkpoint of step " + v.saved + " stays." : ".");
  return [
    el("p", {}, "“" + v.name + "” is at step " + v.step + " of " + v.total + "."),
    el("p", {}, el("b", {}, "Save and stop"), " finishes the step it is in" + (v.step_seconds ? " (about " + duration(v.step_seconds) + ")" : "") +
      ", saves a checkpoint and ends. Nothing is lost: Resume goes on from there at any time."),
    el("p", {}, el("b", {}, "Stop without saving"), " " + lost)];
}
stop.addEventListener("click", () => { fill($(".dlg-text"), cost(props.value)); dialog.showModal(); });
dialog.addEventListener("click", event => {
  const what = event.target === dialog ? "keep" : event.target.dataset.do;
  if (!what) return;
  dialog.close();
  if (what === "save") trigger("stop", {});
  if (what === "now") trigger("stop_now", {});
});

/* The colour scheme is a view preference: kept in the browser, else the system's. */
function paint(scheme) { document.body.classList.toggle("dark", scheme === "dark"); }
const asked = new URLSearchParams(location.search).get("__theme");
let scheme = asked || localStorage.getItem("rewardfl_scheme");
if (scheme) paint(scheme);
$(".hd-theme").addEventListener("click", () => {
  scheme = document.body.classList.contains("dark") ? "light" : "dark";
  localStorage.setItem("rewardfl_scheme", scheme);
  paint(scheme);
  window.dispatchEvent(new Event("rewardfl:scheme"));
});
/* The address names the run that is looked at. One it names that is not here is said so, and the run shown instead is named. */
const PATIENCE_MS = 5000;
let shown = null, coming = null, next = null, timer = null;  // coming: asked for; next: to be asked for after that
function follow() {
  const v = props.value || {runs: [], run: null};
  const wanted = RFL.here().params.run;
  if (v.loading) return;
  if (coming === v.run) arrived();
  if (coming) return;
  if (shown === null && wanted && wanted !== v.run) ask(wanted);
  else if (v.run !== shown) RFL.note({run: v.run});
  shown = v.run;
}
function ask(run) {
  next = null;
  if (!run || run === (coming || props.value?.run)) return;
  if (coming) { next = run; return; }
  coming = run;
  clearTimeout(timer);
  timer = setTimeout(() => {
    arrived();
    RFL.toast("There is no run “" + run + "” in this folder.");
    RFL.note({run: props.value?.run});
  }, PATIENCE_MS);
  trigger("choose", {run});
}
function arrived() {
  clearTimeout(timer);
  const wanted = next;
  coming = null;
  ask(wanted);
}
RFL.on("choose", ({run}) => ask(run));
RFL.on("route", ({params}) => ask(params.run));
watch("value", () => { show(); follow(); });
show();
follow();
