const {el, fill, clock} = RFL;
const $ = selector => element.querySelector(selector);
function show() {
  const v = props.value || {run: null, events: []};
  $(".ma").hidden = !v.run;
  fill($("ol"), v.events.map(e => el("li", {"data-kind": e.kind}, el("time", {}, clock(e.time)), el("span", {}, e.message || e.kind))));
  if (!v.events.length) fill($("ol"), el("li.none", {}, "Nothing yet."));
  const pre = $("pre"), atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 24;
  pre.textContent = v.log || "The log is empty.";
  $(".path").textContent = v.log_path || "";
  if (atEnd) pre.scrollTop = pre.scrollHeight;
}
$("details").addEventListener("toggle", () => { const pre = $("pre"); pre.scrollTop = pre.scrollHeight; });
watch("value", show);
show();
