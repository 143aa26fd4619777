const {el, fill, fixed, signed, fileUrl, loadJson} = RFL;
const $ = selector => element.querySelector(selector);
const card = $(".ms"), video = $("video"), canvas = $("canvas"), boxes = $("input[type=checkbox]");
let chosen = null, faces = null, shown = "", run = null;

function show() {
  const v = props.value || {samples: []};
  card.hidden = !v.samples.length;
  if (!v.samples.length) { video.removeAttribute("src"); shown = ""; return; }
  if (v.run !== run) { run = v.run; chosen = null; }
  const sample = v.samples.find(s => s.name === chosen) || v.samples[0];
  $(".ms-step").textContent = v.step ? "step " + v.step : "untrained model";
  $(".ms-prompt").textContent = sample.prompt;
  fill($(".ms-score"), el("b", {}, fixed(sample.reward)), " reward", v.step && sample.before !== null ? [" (", el("span", {"data-tone": sample.reward >= sample.before ? "up" : "down"}, signed(sample.reward - sample.before)), " to before)"] : "",
    sample.judge === null ? "" : [" · ", el("b", {}, fixed(sample.judge)), " judge"]);
  fill($(".ms-strip"), v.samples.map((s, i) => el("button", {type: "button", "aria-pressed": String(s === sample), title: s.prompt || s.name, onclick: () => { chosen = s.name; show(); }}, String(i + 1))));
  const url = fileUrl(sample.video) + "?step=" + v.step;
  if (url !== shown) {
    shown = url;
    faces = null;
    video.src = url;
    video.play().catch(() => { /* the browser may wait for a click; the picture is there all the same */ });
    loadJson(sample.faces).then(content => {
      if (shown !== url) return;
      faces = content;
      if (content && content.width) element.querySelector(".vid").style.aspectRatio = content.width + " / " + content.height;
    });
  }
}

function draw() {
  if (RFL.isShown(card) && video.readyState >= 2) RFL.drawFaces(canvas, faces, RFL.frameAt(video, faces), props.value.step ? "after" : "before", boxes.checked);
  requestAnimationFrame(draw);
}
watch("value", show);
show();
draw();
