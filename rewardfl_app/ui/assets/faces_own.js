/* Videos of one's own: the form with its uploads, and the tiles of the jobs. What is known of a job comes from the server each tick. */
const ENDED = new Set(["done", "failed", "cancelled"]);

/* `done` of `total` counts the frames of all passes, so only the share is told. */
function progressWords(job) {
  return (job.message || "Starting") + (job.total ? " · " + Math.floor(100 * job.done / job.total) + "%" : "…");
}

const {SendError, sendFile} = RFL;

class OwnVideos {
  constructor(root, limits, server, onpick) {
    this.root = root;
    this.limits = limits;
    this.server = server;
    this.onpick = onpick;
    this.form = root.querySelector("form");
    this.strip = root.querySelector(".fc-strip");
    this.files = {video: null, reference: null};
    this.example = null;
    this.pack = "pocket";
    this.recall();
    this.jobs = [];
    this.run = null;
    this.open = null;
    this.pictures = new Map();
    this.tiles = new Map();  // job id -> {node, its parts}
    this.busy = false;
    this.listen();
  }

  get usedPack() { return this.pack === "run" && !this.run ? "pocket" : this.pack; }

  $(selector) { return this.root.querySelector(selector); }

  listen() {
    for (const drop of this.form.querySelectorAll("[data-drop]")) {
      const kind = drop.dataset.drop, input = drop.querySelector("input");
      input.accept = (kind === "video" ? this.limits.video_types : [...this.limits.video_types, ...this.limits.picture_types]).join(",");
      input.addEventListener("change", () => { this.choose(kind, input.files[0] || null); input.value = ""; });
      for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, event => { event.preventDefault(); drop.classList.add("over"); });
      for (const name of ["dragleave", "drop"]) drop.addEventListener(name, event => { event.preventDefault(); drop.classList.remove("over"); });
      drop.addEventListener("drop", event => this.choose(kind, event.dataTransfer.files[0] || null));
    }
    for (const button of this.form.querySelectorAll("[data-pack]")) button.addEventListener("click", () => { this.pack = button.dataset.pack; this.keep(); this.paintForm(); });
    this.form.addEventListener("submit", event => { event.preventDefault(); this.start(); });
    this.$(".fc-close").addEventListener("click", () => { this.open = false; this.paint(); });
    this.paintForm();
  }

  /* The face pack is a view preference: the next video is most likely to want the same. */
  keep() { try { localStorage.setItem("rewardfl_face_pack", JSON.stringify({pack: this.pack, folder: this.form.folder.value, judge: this.form.judge.value})); } catch (error) { /* private mode */ } }

  recall() {
    try {
      const kept = JSON.parse(localStorage.getItem("rewardfl_face_pack") || "{}");
      if (["pocket", "run", "folder"].includes(kept.pack)) this.pack = kept.pack;
      this.form.folder.value = kept.folder || "";
      this.form.judge.value = kept.judge || "";
    } catch (error) { localStorage.removeItem("rewardfl_face_pack"); }
  }

  /* Take a file if it can be what is asked for; the server looks again. */
  choose(kind, file) {
    this.problems([], kind);
    if (!file) return;
    const types = kind === "video" ? this.limits.video_types : [...this.limits.video_types, ...this.limits.picture_types];
    const message = !types.some(type => file.name.toLowerCase().endsWith(type)) ? file.name + " is not one of " + types.join(", ") + "."
      : file.size > this.limits.largest_mb * 1e6 ? file.name + " is larger than " + this.limits.largest_mb + " MB: cut it or make it smaller."
      : !file.size ? file.name + " is empty." : "";
    if (message) { this.problems([{field: kind, message}], kind); return; }
    this.files[kind] = file;
    if (kind === "video") this.preview(file);
    if (kind === "video") this.example = null;
    this.paintForm();
  }

  /* A first look, where the browser can show the format. */
  preview(file) {
    const video = this.$(".drop-preview");
    if (video.src) URL.revokeObjectURL(video.src);
    video.hidden = true;
    video.onloadeddata = () => { video.hidden = !this.files.video; };
    if (file) video.src = URL.createObjectURL(file); else video.removeAttribute("src");
  }

  problems(list, only) {
    for (const node of this.form.querySelectorAll("[data-error]")) {
      const field = node.dataset.error;
      if (only !== undefined && field !== only) continue;
      node.textContent = list.filter(p => p.field === field).map(p => p.message).join(" ");
      node.hidden = !node.textContent;
    }
  }

  paintForm() {
    const {el, fill} = RFL;
    const megabytes = file => file.size < 1e5 ? Math.ceil(file.size / 1e3) + " kB" : (file.size / 1e6).toFixed(1) + " MB";
    const video = this.files.video, reference = this.files.reference;
    if (!video) this.$(".drop-preview").hidden = true;
    const drop = this.$("[data-drop=video]"), picture = this.$("[data-drop=reference]");
    drop.classList.toggle("has", Boolean(video) || this.example !== null);
    drop.querySelector(".drop-title").textContent = video ? video.name : this.example !== null ? this.example.prompt : "Drop a video here, or choose one";
    drop.querySelector(".drop-text").textContent = video ? megabytes(video) + " · choose another" : this.example !== null ? "sample clip · choose another" : this.limits.video_types.map(t => t.slice(1)).join(", ") + " up to " + this.limits.largest_mb + " MB. It stays on this machine.";
    picture.classList.toggle("has", Boolean(reference));
    picture.querySelector(".drop-title").textContent = reference ? reference.name : "The video’s own first frame";
    picture.querySelector(".drop-text").textContent = reference ? megabytes(reference) + " · choose another" : "or choose a picture or another video of the person";
    const pack = this.usedPack;
    for (const button of this.form.querySelectorAll("[data-pack]")) {
      button.setAttribute("aria-pressed", String(button.dataset.pack === pack));
      button.hidden = button.dataset.pack === "run" && !this.run;
    }
    for (const node of this.form.querySelectorAll(".fc-folder")) node.hidden = pack !== "folder";
    this.$(".fc-pack-help").textContent = {pocket: "The embedded miniature, made for drawn faces like the sample clips’. For real people take a real pack from a folder.",
      run: "The recogniser and the judge of the run that is chosen above.", folder: "insightface’s layout: a SCRFD detector and an ArcFace recogniser, for example antelopev2."}[pack];
    this.form.det_size.placeholder = {pocket: "96", run: "as in the run", folder: "640"}[pack];
    for (const button of this.form.querySelectorAll(".fc-examples button")) button.setAttribute("aria-pressed", String(this.example !== null && Number(button.dataset.example) === this.example.example));
    if (this.reset === undefined) { this.reset = el("button.drop-clear", {type: "button", "aria-label": "Compare with the video’s own first frame again", onclick: event => { event.preventDefault(); this.files.reference = null; this.paintForm(); }}, "×"); picture.append(this.reset); }
    this.reset.hidden = !reference;
  }

  async loadExamples() {
    if (this.asked) return;
    this.asked = true;
    const found = await this.server.load_examples({}).catch(() => null) || [];
    this.asked = found.length > 0;
    const box = this.$(".fc-examples");
    box.hidden = !found.length;
    RFL.fill(box.querySelector("div"), found.map(row => RFL.el("button", {type: "button", title: row.prompt, "data-example": row.example, "aria-label": "Sample clip: " + row.prompt,
      onclick: () => { this.example = row; this.pack = "pocket"; this.files.video = null; this.problems([], "video"); this.paintForm(); }}, row.picture ? RFL.el("img", {src: row.picture, alt: ""}) : null)));
    this.paintForm();
  }

  async start() {
    if (this.busy) return;
    if (!this.files.video && this.example === null) { this.problems([{field: "video", message: "Choose a video first."}]); return; }
    this.problems([]);
    this.keep();
    this.busy = true;
    const button = this.form.querySelector("[type=submit]"), bar = this.$("[data-drop=video] .bar");
    button.disabled = true;
    try {
      await this.submit(button, bar);
    } catch (error) {
      this.problems([{field: "", message: error instanceof SendError ? error.message : "The app does not answer; the video may not have been started."}]);
    }
    this.busy = false;
    bar.hidden = true;
    button.disabled = false;
    button.textContent = "Score this video";
    this.paintForm();
    this.paint();
  }

  async submit(button, bar) {
    const pack = {pack: this.usedPack, run: this.run, folder: this.form.folder.value, judge: this.form.judge.value, det_size: this.form.det_size.value};
    const checked = await this.server.check_form(pack);
    this.problems(checked.problems);
    if (checked.problems.length) return;
    button.textContent = "Sending…";
    bar.hidden = !this.files.video;
    const sent = {video: null, reference: null};
    for (const kind of ["video", "reference"]) {
      if (this.files[kind]) sent[kind] = await sendFile(this.files[kind], share => { bar.firstElementChild.style.width = 100 * share + "%"; });
    }
    button.textContent = "Starting…";
    const answer = await this.server.start_score({...sent, ...pack, example: sent.video ? null : this.example.example});
    this.problems(answer.problems || []);
    if (!answer.job) return;
    this.files.video = null;
    this.example = null;
    this.open = false;
    this.onpick(answer.job);
  }

  /* Open the form for another video. */
  add() {
    this.open = true;
    this.paint();
    this.form.scrollIntoView({block: "nearest", behavior: "smooth"});
    this.$("[name=video]").focus({preventScroll: true});
  }

  /* The tiles: a place to add one, then the jobs, newest first. */
  show(jobs, chosen, run) {
    this.jobs = jobs;
    this.chosen = chosen;
    if (run !== this.run) { this.run = run; this.paintForm(); }
    this.paint();
  }

  paint() {
    const {el, fill} = RFL;
    const open = this.open === null ? !this.jobs.length : this.open || !this.jobs.length;
    this.form.hidden = !open;
    this.strip.hidden = !this.jobs.length;
    this.$(".fc-close").hidden = !this.jobs.length;
    if (open && RFL.isShown(this.root)) this.loadExamples();
    this.adder ??= el("button.tile-add", {type: "button", onclick: () => { this.open = this.form.hidden; this.paint(); }}, el("b", {}, "+"), el("span", {}, "Score a video"));
    this.adder.setAttribute("aria-expanded", String(open));
    for (const id of [...this.tiles.keys()]) if (!this.jobs.some(job => job.id === id)) this.tiles.delete(id);
    const nodes = [this.adder, ...this.jobs.map(job => this.tile(job))];
    if (nodes.length !== this.strip.children.length || nodes.some((node, at) => node !== this.strip.children[at])) fill(this.strip, nodes);
  }

  /* A tile stays the same node while its job goes on: one that was made anew between press and release would not hear of
     the click. */
  tile(job) {
    const {el, fill} = RFL;
    let known = this.tiles.get(job.id);
    if (!known) {
      known = {picture: el("span.tile-pic"), word: el("small"), bar: el("span.bar", {}, el("i"))};
      known.node = el("button.fc-tile.wide", {type: "button", "data-job": job.id, title: job.title + " · " + RFL.when(job.created), onclick: () => { this.open = false; this.onpick(job.id); }},
        known.picture, el("span.tile-text", {}, el("b", {}, job.title), known.word, known.bar));
      this.tiles.set(job.id, known);
    }
    known.node.setAttribute("aria-pressed", String(job.id === this.chosen));
    known.node.dataset.state = job.state;
    const word = this.word(job);
    if (known.word.textContent !== word) known.word.textContent = word;
    known.bar.hidden = ENDED.has(job.state);
    known.bar.classList.toggle("unknown", !job.total);
    known.bar.firstElementChild.style.width = (job.total ? 100 * job.done / job.total : 0) + "%";
    const picture = this.picture(job);
    if (!known.picture.firstChild || !known.picture.firstChild.isEqualNode(picture)) fill(known.picture, picture);
    return known.node;
  }

  word(job) {
    if (job.state === "done") return [job.pack, job.det_size ? job.det_size + " px" : null].filter(Boolean).join(" · ");
    if (job.state === "failed") return "failed · " + RFL.when(job.created);
    if (job.state === "cancelled") return "cancelled · " + RFL.when(job.created);
    return progressWords(job);
  }

  picture(job) {
    const known = this.pictures.get(job.id);
    if (known) return RFL.el("img", {src: known, alt: ""});
    if (job.state === "done" && known === undefined) {
      this.pictures.set(job.id, null);
      this.server.job_picture({job: job.id}).then(picture => { this.pictures.set(job.id, picture || ""); if (picture) this.paint(); }).catch(() => this.pictures.delete(job.id));
    }
    return RFL.el("span.tile-mark", {"aria-hidden": "true"}, job.state === "failed" ? "!" : job.state === "cancelled" ? "×" : "");
  }
}
