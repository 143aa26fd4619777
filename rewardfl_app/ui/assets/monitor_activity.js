const {el, fill, clock} = RFL;
const $ = selector => element.querySelector(selector);
let listed = "", run = null;
function show() {
  const v = props.value || {run: null, events: []};
  $(".ma").hidden = !v.run;
  if (v.run !== run) { run = v.run; $("details").open = false; }
  const key = v.run + " " + v.num_events;
  if (key !== listed) {
    listed = key;
    fill($("ol"), v.events.map(e => el("li", {"data-kind": e.kind}, el("time", {}, clock(e.time)), el("span", {}, e.message || e.kind))));
    if (!v.events.length) fill($("ol"), el("li.none", {}, "Nothing yet."));
  }
  const pre = $("pre"), atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 24;
  if (pre.textContent !== (v.log || "The log is empty.")) pre.textContent = v.log || "The log is empty.";
  $(".path span").textContent = v.log_path || "";
  if (v.log_path) $(".path a").href = RFL.fileUrl(v.log_path);
  if (atEnd) pre.scrollTop = pre.scrollHeight;
}
$("details").addEventListener("toggle", () => { const pre = $("pre"); pre.scrollTop = pre.scrollHeight; });
/* "Open the log", from wherever something went wrong. */
RFL.on("log", () => {
  $("details").open = true;
  requestAnimationFrame(() => { $("details").scrollIntoView({block: "center"}); $("pre").scrollTop = $("pre").scrollHeight; $("pre").focus({preventScroll: true}); });
});
watch("value", show);
show();
