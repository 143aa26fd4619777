/* The pictures of the A/B player: two or three videos side by side, one over the other with a movable edge, their difference,
   or all with a loupe at the same place. It plays nothing itself; `paint` draws what lies over the pictures. */
window.RFL.AbStage = window.RFL.AbStage || class AbStage {
  constructor(label) {
    const {el} = RFL;
    this.mode = "side";
    this.boxes = true;
    this.third = false;
    this.gain = 4;
    this.zoom = 3;
    this.place = [0.5, 0.45];  // of the loupe, in shares of the picture
    this.edge = 50;  // of the wipe, in percent
    this.sides = [];
    this.panes = [0, 1, 2].map(index => this.pane(index));
    this.mix = el("canvas", {"aria-hidden": "true"});
    this.mixNote = el("b");
    this.diff = el("figure.ab-diff", {hidden: true}, el("figcaption", {}, "Difference", this.mixNote), el("div.vid", {}, this.mix));
    this.handle = el("div.ab-edge", {role: "slider", tabindex: "0", "aria-label": "Wipe position", "aria-valuemin": "0", "aria-valuemax": "100", hidden: true});
    this.lens = this.panes.map((pane, i) => {
      const lens = i === 0
        ? el("button.ab-lens", {type: "button", "aria-label": "Loupe: arrow keys move it, plus and minus change how much it enlarges", hidden: true}, el("canvas"))
        : el("div.ab-lens", {"aria-hidden": "true", hidden: true}, el("canvas"));
      pane.box.append(lens);
      return lens;
    });
    this.root = el("div.ab-stage", {tabindex: "0", role: "group", "aria-label": label + ", in step. Space plays and pauses, the arrow keys go one frame on or back, the question mark shows all keys."},
      this.panes.map(pane => pane.figure), this.diff, this.handle);
    this.follow();
  }

  pane(index) {
    const {el} = RFL;
    const swatch = el("i"), name = el("span"), note = el("b");
    const video = el("video", {muted: true, playsinline: true, preload: "auto"});
    const boxes = el("canvas", {"aria-hidden": "true"}), fault = el("p.ab-fault", {role: "status"});
    const box = el("div.vid", {}, video, boxes, fault);
    const figure = el("figure", {"data-pane": String(index), hidden: true}, el("figcaption", {}, swatch, name, note), box);
    video.addEventListener("error", () => { if (video.getAttribute("src")) fault.textContent = "This video cannot be played: its file is missing or damaged."; });
    video.addEventListener("loadeddata", () => { fault.textContent = ""; this.shape(); });
    return {figure, swatch, name, note, video, boxes, box, fault, role: "before", faces: null, painted: ""};
  }

  /* `sides` as RFL.AbPlayer.load takes them; `fresh`: the files may have changed. */
  show(sides, fresh) {
    this.sides = sides;
    this.panes.forEach((pane, i) => {
      const side = sides[i];
      if (!side) { this.empty(pane); return; }
      pane.role = side.role;
      pane.figure.dataset.side = side.key;
      pane.figure.dataset.role = side.role;
      pane.name.textContent = side.label;
      pane.name.title = side.label;
      pane.note.textContent = side.note || "";
      pane.video.setAttribute("aria-label", "Video: " + side.label);
      pane.fault.textContent = side.video ? "" : "There is no video here.";
      if (fresh) pane.faces = null;
      const url = !side.video ? "" : /^(data|blob):/.test(side.video) ? side.video : RFL.fileUrl(side.video) + "?v=" + encodeURIComponent(side.version || "");
      if (!url) pane.video.removeAttribute("src");
      else if (fresh || pane.video.getAttribute("src") !== url) pane.video.src = url;
    });
    this.layout();
  }

  empty(pane) {
    pane.faces = null;
    if (pane.video.getAttribute("src")) { pane.video.removeAttribute("src"); pane.video.load(); }
    delete pane.figure.dataset.side;
  }

  /* The panes that take part, in order. */
  used() {
    return this.panes.filter((pane, i) => this.sides[i] && this.sides[i].video && (i < 2 || this.third));
  }

  layout() {
    const single = this.mode === "wipe" || this.mode === "diff";
    this.root.dataset.mode = this.mode;
    this.panes.forEach((pane, i) => { pane.figure.hidden = !this.sides[i] || (i === 2 && !this.third); pane.painted = ""; });
    const third = Boolean(this.sides[2]) && this.third;
    this.root.style.setProperty("--panes", (single ? 1 : Math.min(2, Math.max(1, this.sides.length))) + (third ? 1 : 0));
    this.diff.hidden = this.mode !== "diff";
    this.handle.hidden = this.mode !== "wipe";
    this.lens.forEach((lens, i) => { lens.hidden = this.mode !== "loupe" || !this.sides[i]; });
    this.mixed = "";
    this.shape();
    this.wipe(this.edge);
  }

  /* One shape for all: that of the first video that is known. */
  shape() {
    const video = this.panes.map(pane => pane.video).find(v => v.videoWidth > 0);
    if (video) this.root.style.setProperty("--aspect", String(video.videoWidth / video.videoHeight));
    for (const pane of this.panes) pane.painted = "";
    this.mixed = "";
  }

  wipe(percent) {
    this.edge = Math.min(100, Math.max(0, percent));
    this.root.style.setProperty("--wipe", this.edge.toFixed(1) + "%");
    this.handle.setAttribute("aria-valuenow", String(Math.round(this.edge)));
    const [a, b] = this.sides;
    this.handle.setAttribute("aria-valuetext", Math.round(this.edge) + "% " + ((a && a.label) || "left") + ", " + (100 - Math.round(this.edge)) + "% " + ((b && b.label) || "right"));
  }

  /* While it is held, the two sides stand in each other's place. */
  flick(on) {
    if (on) this.root.dataset.flick = "";
    else delete this.root.dataset.flick;
  }

  follow() {
    const share = (event, box) => [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map(v => Math.min(1, Math.max(0, v)));
    const drag = event => this.wipe(100 * share(event, this.panes[0].box.getBoundingClientRect())[0]);
    this.root.addEventListener("pointerdown", event => {
      if (this.mode !== "wipe" || event.button !== 0 || !event.target.closest(".ab-edge, [data-pane='0'] .vid, [data-pane='1'] .vid")) return;
      event.preventDefault();
      this.handle.focus({preventScroll: true});
      this.root.setPointerCapture(event.pointerId);
      drag(event);
      this.root.addEventListener("pointermove", drag);
      const end = () => this.root.removeEventListener("pointermove", drag);
      this.root.addEventListener("pointerup", end, {once: true});
      this.root.addEventListener("pointercancel", end, {once: true});
    });
    this.handle.addEventListener("keydown", event => {
      const by = event.shiftKey ? 10 : 2;
      const to = {ArrowRight: this.edge + by, ArrowUp: this.edge + by, ArrowLeft: this.edge - by, ArrowDown: this.edge - by, PageUp: this.edge + 10, PageDown: this.edge - 10, Home: 0, End: 100}[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.wipe(to);
    });
    this.root.addEventListener("pointermove", event => {
      const box = this.mode === "loupe" && event.target.closest("figure:not(.ab-diff) .vid");
      if (box) this.look(share(event, box.getBoundingClientRect()));
    });
    this.lens[0].addEventListener("keydown", event => {
      const [x, y] = this.place, by = event.shiftKey ? 0.1 : 0.02;
      const to = {ArrowRight: [x + by, y], ArrowLeft: [x - by, y], ArrowUp: [x, y - by], ArrowDown: [x, y + by]}[event.key];
      const zoom = {"+": this.zoom + 1, "=": this.zoom + 1, "-": this.zoom - 1}[event.key];
      if (!to && zoom === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      if (to) this.look(to.map(v => Math.min(1, Math.max(0, v))));
      else if (this.onzoom) this.onzoom(zoom);
    });
  }

  look(place) {
    this.place = place;
    this.panes.forEach((pane, i) => { this.lens[i].style.left = 100 * place[0] + "%"; this.lens[i].style.top = 100 * place[1] + "%"; pane.painted = ""; });
  }

  /* Called for every picture of the screen: only what changed is drawn again. */
  paint() {
    for (const pane of this.used()) {
      const {video, boxes} = pane;
      if (video.readyState < 2) continue;
      const index = RFL.frameAt(video, pane.faces);
      const key = [index, RFL.pictureTime(video).toFixed(3), boxes.clientWidth, boxes.clientHeight, this.boxes, this.mode, this.zoom].join(" ");
      if (key === pane.painted) continue;
      pane.painted = key;
      RFL.drawFaces(boxes, pane.faces, index, pane.role, this.boxes && this.mode !== "diff");
      if (this.mode === "loupe") this.enlarge(pane, this.lens[this.panes.indexOf(pane)].firstChild);
    }
    if (this.mode === "diff") this.subtract();
  }

  enlarge(pane, canvas) {
    const {video} = pane, ratio = window.devicePixelRatio || 1, side = Math.round(canvas.clientWidth * ratio), width = pane.box.clientWidth;
    if (!side || !width || !video.videoWidth) return;
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const pen = canvas.getContext("2d");
    const cut = canvas.clientWidth / this.zoom * video.videoWidth / width;  // of the video's own pixels
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = "#0b0d12";
    pen.fillRect(0, 0, side, side);
    pen.drawImage(video, this.place[0] * video.videoWidth - cut / 2, this.place[1] * video.videoHeight - cut / 2, cut, cut, 0, 0, side, side);
  }

  /* |a - b| of the two pictures that are shown, and its mean over the picture. */
  subtract() {
    const [a, b] = [this.panes[0].video, this.panes[1].video];
    if (a.readyState < 2 || b.readyState < 2 || a.seeking || b.seeking) return;
    const key = [RFL.pictureTime(a), RFL.pictureTime(b), this.gain].join(" ");
    if (key === this.mixed) return;
    this.mixed = key;
    const canvas = this.mix;
    if (canvas.width !== a.videoWidth) canvas.width = a.videoWidth;
    if (canvas.height !== a.videoHeight) canvas.height = a.videoHeight;
    canvas.style.filter = "brightness(" + this.gain + ")";
    const pen = canvas.getContext("2d");
    pen.globalCompositeOperation = "copy";
    pen.drawImage(a, 0, 0, canvas.width, canvas.height);
    pen.globalCompositeOperation = "difference";
    pen.drawImage(b, 0, 0, canvas.width, canvas.height);
    this.mixNote.textContent = "mean " + (100 * this.mean(canvas)).toFixed(1) + "% of white";
  }

  mean(canvas) {
    this.small = this.small || Object.assign(document.createElement("canvas"), {width: 48, height: 48}).getContext("2d", {willReadFrequently: true});
    this.small.drawImage(canvas, 0, 0, 48, 48);
    const pixels = this.small.getImageData(0, 0, 48, 48).data;
    let sum = 0;
    for (let i = 0; i < pixels.length; i += 4) sum += pixels[i] + pixels[i + 1] + pixels[i + 2];
    return sum / (48 * 48 * 3 * 255);
  }
};
