/* The form of the Playground. What is typed stays with this tab over a refresh; a new tab starts from the last one. */
const PG_KEY = "rewardfl_playground";
const randomSeed = () => Math.floor(Math.random() * 1e6);

class PreviewForm {
  /* `onjob(id)`: a video was asked for. */
  constructor(root, server, onjob) {
    this.root = root;
    this.form = root.querySelector("form");
    this.server = server;
    this.onjob = onjob;
    this.models = [];
    this.model = null;  // what the server says of the chosen one
    this.own = null;    // the chosen picture when it is in none of the groups
    this.busy = false;
    this.training = null;
    this.draft = {model: "", checkpoint: "", picture: "", prompt: "", filled: "", seed: String(randomSeed()), strength: "1", group: "evaluation", ...this.recall()};
    this.listen();
    this.paintValues();
  }

  $(selector) { return this.form.querySelector(selector); }

  recall() {
    for (const store of [() => sessionStorage, () => localStorage]) {
      try {
        const kept = JSON.parse(store().getItem(PG_KEY));
        if (kept && typeof kept === "object") return Object.fromEntries(Object.entries(kept).filter(([, value]) => typeof value === "string"));
      } catch (error) { /* nothing kept, or a private window */ }
    }
    return {};
  }

  keep(change = {}) {
    Object.assign(this.draft, change);
    for (const store of [() => sessionStorage, () => localStorage]) {
      try { store().setItem(PG_KEY, JSON.stringify(this.draft)); } catch (error) { /* a private window keeps nothing */ }
    }
  }

  listen() {
    const f = this.form, file = f.file, drop = this.$(".pg-drop");
    file.accept = LIMITS.types.join(",");
    file.addEventListener("change", () => { const chosen = file.files[0]; file.value = ""; this.send(chosen); });
    this.$(".pg-up").addEventListener("click", () => file.click());
    for (const name of ["dragenter", "dragover"]) f.addEventListener(name, event => { event.preventDefault(); drop.classList.add("over"); });
    for (const name of ["dragleave", "drop"]) f.addEventListener(name, event => { event.preventDefault(); drop.classList.remove("over"); });
    f.addEventListener("drop", event => this.send(event.dataTransfer.files[0]));
    this.$(".pg-draw").addEventListener("click", () => this.drawPerson());
    f.prompt.addEventListener("input", () => { this.keep({prompt: f.prompt.value}); this.problem("prompt", ""); });
    f.seed.addEventListener("input", () => { this.keep({seed: f.seed.value}); this.problem("seed", ""); });
    f.strength.addEventListener("input", () => { this.keep({strength: f.strength.value}); this.paintStrength(); });
    this.$(".pg-dice").addEventListener("click", () => { this.keep({seed: String(randomSeed())}); this.paintValues(); this.problem("seed", ""); });
    f.model.addEventListener("change", () => this.choose(f.model.value, ""));
    f.checkpoint.addEventListener("change", () => { this.keep({checkpoint: f.checkpoint.value}); this.paintStrength(); this.problem("checkpoint", ""); });
    f.addEventListener("submit", event => { event.preventDefault(); this.submit(); });
  }

  /* The models there are, and the form's pictures: asked again when the page is opened, since runs come and go. `wanted`: {model, step} of the address. */
  async load(wanted = {}) {
    const found = await this.server.load_models({}).catch(() => null);
    if (!found) return false;
    this.models = found;
    const ids = new Set(found.map(row => row.id));
    const asked = wanted.model && ids.has("run:" + wanted.model) ? "run:" + wanted.model : "";
    if (asked) await this.choose(asked, String(wanted.step || ""));
    else {
      const here = RFL.here().params.run;
      const first = [this.draft.model, here ? "run:" + here : ""].find(id => ids.has(id)) || (found.find(row => row.trained) || found[found.length - 1]).id;
      await this.choose(first, this.draft.model === first ? this.draft.checkpoint : "");
    }
    return true;
  }

  async choose(id, checkpoint) {
    this.problem("model", "");
    this.problem("checkpoint", "");
    const asked = this.asked = id;
    RFL.fill(this.form.model, this.models.map(row => RFL.el("option", {value: row.id}, row.title + (row.id.startsWith("run:") && !row.trained ? " (no checkpoint yet)" : ""))));
    this.form.model.value = id;
    const answer = await this.server.load_model({model: id}).catch(() => null);
    if (this.asked !== asked) return;
    this.model = answer;
    if (!answer) { this.problem("model", "This run cannot be read: choose another."); return; }
    const steps = [...answer.checkpoints].reverse(), newest = steps[0];
    const options = steps.map(step => [String(step), step + (step === 1 ? " step" : " steps") + (step === answer.best ? " (best)" : "")]);
    options.push(["base", steps.length ? "not at all: base alone" : "base alone"]);
    RFL.fill(this.form.checkpoint, options.map(([value, text]) => RFL.el("option", {value}, text)));
    const start = options.some(([value]) => value === checkpoint) ? checkpoint : String(answer.best !== null && steps.includes(answer.best) ? answer.best : newest ?? "base");
    this.form.checkpoint.value = start;
    this.keep({model: id, checkpoint: start});
    this.problem("model", answer.problem);
    this.$(".pg-facts").textContent = answer.facts;
    this.$(".pg-draw").hidden = !answer.draws;
    await this.placePicture();
    this.paintStrength();
  }

  groups() { return this.model ? this.model.pictures : []; }

  listed(name) { return this.groups().flatMap(group => group.pictures).find(row => row.picture === name); }

  /* The chosen picture of the draft, or the first one offered. */
  async placePicture() {
    const name = this.draft.picture;
    if (name && !this.listed(name) && (!this.own || this.own.picture !== name)) {
      const row = /^(upload|person|result):/.test(name) ? await this.server.load_picture({picture: name, model: this.draft.model}).catch(() => null) : null;
      this.own = row;
      if (!row) this.keep({picture: ""});
    }
    const first = this.groups()[0];
    if (!this.draft.picture && first) this.pick(first.pictures[0], false);
    this.paintPictures();
  }

  pick(row, chosen = true) {
    if (!this.listed(row.picture)) this.own = row;
    const {prompt} = this.form;
    // A prompt somebody wrote is theirs; one that came with a picture goes with it.
    if (row.prompt && (!prompt.value.trim() || prompt.value === this.draft.filled)) {
      prompt.value = row.prompt;
      this.keep({prompt: row.prompt, filled: row.prompt});
      this.problem("prompt", "");
    }
    this.keep({picture: row.picture});
    this.problem("picture", "");
    if (chosen) this.paintPictures();
  }

  async send(file) {
    if (!file) return;
    const message = !LIMITS.types.some(type => file.name.toLowerCase().endsWith(type)) ? file.name + " is not one of " + LIMITS.types.join(", ") + "."
      : file.size > LIMITS.largest_mb * 1e6 ? file.name + " is larger than " + LIMITS.largest_mb + " MB: make it smaller." : !file.size ? file.name + " is empty." : "";
    this.problem("picture", message);
    if (message) return;
    this.$(".pg-title").textContent = "Sending " + file.name + "…";
    try {
      this.take(await this.server.keep_picture({file: await RFL.sendFile(file, () => {})}));
    } catch (error) {
      this.problem("picture", error instanceof RFL.SendError ? error.message : "The app does not answer: the picture was not sent.");
      this.paintPictures();
    }
  }

  async drawPerson() {
    try { this.take(await this.server.draw_person({})); } catch (error) { this.problem("picture", "The app does not answer: nobody was drawn."); }
  }

  take(answer) {
    if (answer.error) { this.problem("picture", answer.error); this.paintPictures(); } else this.pick(answer);
  }

  paintPictures() {
    const {el, fill} = RFL, groups = this.groups(), name = this.draft.picture, own = this.own && this.own.picture === name ? this.own : null;
    const row = own || this.listed(name);
    fill(this.$(".pg-pic"), row && row.thumbnail ? el("img", {src: row.thumbnail, alt: ""}) : el("span", {"aria-hidden": "true"}, "+"));
    const title = this.$(".pg-title");
    title.textContent = row ? row.title : "No picture chosen";
    title.title = title.textContent;
    if (!groups.some(group => group.key === this.draft.group)) this.draft.group = groups.length ? groups[0].key : "";
    const shown = groups.find(group => group.key === this.draft.group);
    this.$(".pg-sets").hidden = groups.length < 2;
    fill(this.$(".pg-sets .seg"), groups.map(group => el("button", {type: "button", "aria-pressed": String(group === shown), onclick: () => { this.keep({group: group.key}); this.paintPictures(); }}, group.title)));
    const focused = this.$(".pg-thumbs :focus")?.dataset.picture;
    fill(this.$(".pg-thumbs"), (shown ? shown.pictures : []).map(p => el("button", {type: "button", "data-picture": p.picture, "aria-pressed": String(p.picture === name), title: p.prompt, "aria-label": "Picture: " + p.prompt, onclick: () => this.pick(p)},
      p.thumbnail ? el("img", {src: p.thumbnail, alt: ""}) : null)));
    if (focused) this.$('.pg-thumbs [data-picture="' + focused + '"]')?.focus();
  }

  paintValues() {
    for (const name of ["prompt", "seed", "strength"]) this.form[name].value = this.draft[name];
    this.paintStrength();
  }

  paintStrength() {
    const {strength, checkpoint} = this.form, alone = checkpoint.value === "base", value = "×" + Number(strength.value).toFixed(2);
    strength.disabled = alone;
    this.$("[data-field=strength]").classList.toggle("off", alone);
    this.$(".pg-value").textContent = alone ? "" : value;
    strength.setAttribute("aria-valuetext", alone ? "no trained model is chosen" : value);
  }

  /* Which run has the device, or null. */
  setTraining(training) {
    this.training = training;
    if (!this.busy) this.$(".pg-go").textContent = training ? "Render when training ends" : "Render";
    this.$(".pg-when").textContent = training ? "Training has the device until then." : "";
  }

  problem(field, message) {
    const node = [...this.form.querySelectorAll("[data-error]")].find(each => each.dataset.error === field);
    node.textContent = message || "";
    node.hidden = !message;
    const input = this.form.querySelector("[data-field=" + (field || "none") + "]");
    if (input) input.classList.toggle("wrong", Boolean(message));
    const control = field && field !== "picture" ? this.form[field] : null;
    if (control) { if (message) control.setAttribute("aria-invalid", "true"); else control.removeAttribute("aria-invalid"); }
  }

  async submit(change = {}) {
    if (this.busy) return;
    this.keep(change);
    this.paintValues();
    this.busy = true;
    const button = this.$(".pg-go"), {model, checkpoint, picture, prompt, seed, strength} = this.draft;
    button.disabled = true;
    button.textContent = "Asking…";
    for (const field of ["picture", "prompt", "model", "checkpoint", "strength", "seed", ""]) this.problem(field, "");
    try {
      const answer = await this.server.start_preview({model, checkpoint, picture, prompt, seed, strength});
      for (const {field, message} of answer.problems || []) this.problem(field, message);
      const first = (answer.problems || [])[0];
      if (first) (this.form[first.field === "picture" ? "file" : first.field] || button).focus();
      if (answer.job) this.onjob(answer.job);
    } catch (error) {
      this.problem("", "The app does not answer; nothing was asked for.");
    }
    this.busy = false;
    button.disabled = false;
    this.setTraining(this.training);
  }

  /* Fill the form with what made an earlier video. */
  async takeOver(result, seed) {
    this.keep({picture: "result:" + result.id, prompt: result.prompt, filled: "", seed: String(seed), strength: String(result.strength)});
    this.own = {picture: this.draft.picture, title: "Picture of an earlier video", thumbnail: result.thumbnail, prompt: ""};
    this.paintValues();
    this.paintPictures();
    if (this.models.some(row => row.id === result.model_id)) await this.choose(result.model_id, result.checkpoint === null ? "base" : result.checkpoint);
    else { this.problem("model", "The run of that video is not there any more."); await this.placePicture(); }
  }
}
