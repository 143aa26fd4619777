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
  }
  if (v.run) runs.value = v.run;
  runs.parentElement.hidden = !v.run;
  pill.hidden = progress.hidden = !v.run;
  $(".hd-none").hidden = Boolean(v.run || v.loading);
  stop.hidden = !v.run || v.finished;
  if (!v.run) { document.title = "Reward FL"; return; }
  pill.textContent = v.word;
  pill.dataset.state = v.state;
  $(".hd-step").textContent = v.total ? "Step " + v.step + " of " + v.total : "";
  const said = (v.message || "").toLowerCase().startsWith("step " + v.step + " of") ? "" : v.message || "";
  $(".hd-message").textContent = said;
  $(".hd-message").title = v.message || "";
  $(".hd-left").textContent = v.seconds_left !== null && !v.finished ? duration(v.seconds_left) + " left" : "";
  const bar = $(".bar"), share = v.total ? Math.min(1, v.step / v.total) : 0;
  bar.setAttribute("aria-valuemax", v.total || 1);
  bar.setAttribute("aria-valuenow", v.step || 0);
  bar.dataset.state = v.state;
  bar.classList.toggle("unknown", !v.finished && !v.step);
  bar.firstElementChild.style.width = (v.state === "completed" ? 100 : 100 * share) + "%";
  stop.disabled = !v.can_stop;
  stop.textContent = v.state === "stopping" ? "Stopping…" : "Stop";
  document.title = (v.finished ? v.word : (v.total ? Math.round(100 * share) + "%" : v.word)) + " · " + v.name + " · Reward FL";
}

runs.addEventListener("change", () => { RFL.go(RFL.here().page, {run: runs.value}); });
stop.addEventListener("click", () => {
  const v = props.value;
  $(".dlg-text").textContent = "The trainer finishes the step it is in, saves a checkpoint and ends. “" + v.name + "” is at step " + v.step +
    " of " + v.total + "; it can be resumed from there at any time, with nothing lost. Stopping without saving loses the steps since the last checkpoint.";
  dialog.showModal();
});
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
