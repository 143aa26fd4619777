const {el, fill, fixed, signed, fileUrl, loadJson} = RFL;
const $ = selector => element.querySelector(selector);
const card = $(".ms"), video = $("video"), canvas = $("canvas"), boxes = $("input[type=checkbox]");
let chosen = null, faces = null, shown = "", run = null, still = matchMedia("(prefers-reduced-motion: reduce)").matches;

function show() {
  const v = props.value || {names: []};
  card.hidden = !v.names.length;
  if (!v.names.length) { video.removeAttribute("src"); shown = ""; return; }
  if (v.run !== run) { run = v.run; chosen = null; }
  const place = Math.max(0, v.names.indexOf(chosen)), name = v.names[place];
  $(".ms-step").textContent = v.step ? "step " + v.step : "untrained model";
  $(".ms-strip").hidden = false;
  $(".ms-back").hidden = $(".ms-on").hidden = v.names.length < 2;
  $(".ms-count").textContent = v.names.length > 1 ? place + 1 + " of " + v.names.length : "";
  const folder = v.folder + "/" + name, url = fileUrl(folder + "/video.mp4") + "?step=" + v.step;
  if (url === shown) return;
  shown = url;
  faces = null;
  video.src = url;
  play();
  const before = v.before && v.names_before.includes(name) ? v.before + "/" + name + "/faces.json" : null;
  Promise.all([loadJson(folder + "/faces.json"), loadJson(before)]).then(([content, base]) => {
    if (shown !== url) return;
    faces = content;
    if (content && content.width) $(".vid").style.aspectRatio = content.width + " / " + content.height;
    say(content || {}, base);
  });
}

function say(sample, base) {
  const gained = base && Number.isFinite(base.reward) && Number.isFinite(sample.reward) ? sample.reward - base.reward : null;
  $(".ms-prompt").textContent = sample.prompt || "";
  fill($(".ms-score"), el("b", {}, fixed(sample.reward)), " reward",
    gained === null ? "" : [" (", el("span", {"data-tone": gained >= 0 ? "up" : "down"}, signed(gained)), " to before)"],
    Number.isFinite(sample.judge) ? [" · ", el("b", {}, fixed(sample.judge)), " judge"] : "");
}

function play() {
  $(".ms-play").textContent = still ? "Play" : "Pause";
  if (still) video.pause(); else video.play().catch(() => { /* the browser may wait for a click; the picture is there all the same */ });
}
function move(by) {
  const {names} = props.value;
  chosen = names[(Math.max(0, names.indexOf(chosen)) + by + names.length) % names.length];
  show();
}
$(".ms-back").addEventListener("click", () => move(-1));
$(".ms-on").addEventListener("click", () => move(1));
$(".ms-play").addEventListener("click", () => { still = !still; play(); });

function draw() {
  if (RFL.isShown(card) && video.readyState >= 2) RFL.drawFaces(canvas, faces, RFL.frameAt(video, faces), props.value.step ? "after" : "before", boxes.checked);
  requestAnimationFrame(draw);
}
watch("value", show);
show();
draw();
