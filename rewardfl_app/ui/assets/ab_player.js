/* The synchronised A/B player, one for every page that compares.

   new RFL.AbPlayer(root, {label, keys, curve, arrows, more})  root: an empty element; keys: the element whose keys it hears
     (root); curve: false for no similarity curve; arrows: false leaves the arrow keys to the page; more: further keys of the
     page for its list, [[name, text, {key: function}]]
     .load({sides: [{key, label, role, video, faces, note, version}], fps, count, key})  two sides, or three
     .clear()
   `video` and `faces` are paths of the runs folder (a video may be a data address); role: before, after, judge or real; `key`
   names the clips: with another one they are loaded afresh, with the same one only labels and notes change. */
window.RFL.AbPlayer = window.RFL.AbPlayer || (() => {
  const MODES = [["side", "Side by side", "1"], ["wipe", "Wipe", "2"], ["diff", "Difference", "3"], ["loupe", "Loupe", "4"]];
  const SPEEDS = [0.25, 0.5, 1, 1.5, 2];
  const KEYS = [["Space", "play or pause"], ["← →", "one frame back or on"], ["Home End", "first or last frame"], ["1 2 3 4", "side by side, wipe, difference, loupe"],
    ["hold F", "flicker: the other side in the same place"], ["B", "face boxes on or off"], ["L", "repeat on or off"], ["< >", "slower, faster"],
    ["Tab, then ← →", "move the edge of the wipe, or the loupe (also ↑ ↓; + and − enlarge)"], ["?", "this list"]];
  const STORE = "rewardfl_player";
  const PATHS = {back: "M18 5v14L8 12zM5 5h2.4v14H5z", next: "M6 5v14l10-7zM16.6 5H19v14h-2.4z", play: "M7 4.5v15l12-7.5z", pause: "M6 5h4.2v14H6zM13.8 5H18v14h-4.2z"};
  const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

  function remembered() {
    try { return JSON.parse(localStorage.getItem(STORE)) || {}; } catch (error) { return {}; }
  }

  class AbPlayer {
    constructor(root, {label = "Two videos", keys = null, curve = true, arrows = true, more = []} = {}) {
      const {el} = RFL;
      const kept = remembered();
      this.root = root;
      this.loaded = "";
      this.shown = -1;
      this.arrows = arrows;
      this.more = more;
      this.stage = new RFL.AbStage(label);
      this.curve = curve ? new RFL.AbCurve(this.curveRoot = el("div.ab-curve"), frame => this.seek(frame)) : null;
      this.player = new SyncPlayer(frame => this.tick(frame), () => RFL.isShown(this.stage.root));
      this.player.playing = !calm();
      root.classList.add("ab");
      const toggles = this.toggles();
      root.append(this.bar(toggles), this.stage.root, this.controls(), ...(curve ? [this.curveRoot] : []), this.help());
      this.said = root.appendChild(el("p.sr", {role: "status"}));
      this.stage.onzoom = zoom => this.setZoom(zoom);
      this.setMode(MODES.some(([name]) => name === kept.mode) ? kept.mode : "side", false);
      this.setBoxes(kept.boxes !== false, false);
      this.setLoop(kept.loop !== false, false);
      this.setSpeed(SPEEDS.includes(kept.speed) ? kept.speed : 1, false);
      (keys || root).addEventListener("keydown", event => this.press(event));
      (keys || root).addEventListener("keyup", event => { if (event.key.toLowerCase() === "f") this.flick(false); });
      window.addEventListener("blur", () => this.flick(false));
      window.addEventListener("rewardfl:scheme", () => { this.stage.layout(); if (this.curve) this.curve.draw(); });
    }

    bar(toggles) {
      const {el} = RFL;
      this.modes = el("div.seg.ab-modes", {role: "group", "aria-label": "How the videos are shown"}, MODES.map(([name, text, key]) =>
        el("button", {type: "button", "data-mode": name, "aria-pressed": "false", title: text + " (" + key + ")", onclick: () => this.setMode(name)}, text)));
      this.gain = this.slider("Gain", 1, 16, 1, this.stage.gain, value => { this.stage.gain = value; this.stage.mixed = ""; });
      this.zoom = this.slider("Enlarge", 2, 8, 1, this.stage.zoom, value => { this.stage.zoom = value; });
      this.helpButton = el("button.btn.quiet.small", {type: "button", title: "Keys (?)", "aria-haspopup": "dialog", onclick: () => this.keys.showModal()}, "Keys");
      return el("div.ab-bar", {}, this.modes, this.gain.root, this.zoom.root, el("span.ab-space"), toggles, this.helpButton);
    }

    slider(text, min, max, step, value, act) {
      const {el} = RFL;
      const input = el("input", {type: "range", min, max, step, "aria-label": text}), out = el("b");
      const set = v => { input.value = String(v); out.textContent = "×" + input.value; input.setAttribute("aria-valuetext", input.value + " times"); };
      input.addEventListener("input", () => { set(input.value); act(Number(input.value)); });
      set(value);
      return {root: el("label.ab-slider", {}, el("span", {}, text), input, out), set};
    }

    controls() {
      const {el} = RFL;
      const icon = (name, label, title, act, kind = "") => el("button.btn.icon" + kind, {type: "button", "data-do": name, "aria-label": label, title, onclick: act},
        el("svg", {viewBox: "0 0 24 24", width: 16, height: 16, "aria-hidden": "true"}, el("path", {d: PATHS[name], fill: "currentColor"})));
      this.playButton = icon("play", "Play", "Play or pause (space)", () => this.toggle(), ".primary");
      this.scrub = el("input.ab-scrub", {type: "range", min: 0, max: 1, step: 1, value: "0", "aria-label": "Frame"});
      this.scrub.addEventListener("input", () => this.seek(Number(this.scrub.value)));
      this.counter = el("span.ab-counter", {"aria-hidden": "true"});
      this.speed = el("select", {"aria-label": "Speed"}, SPEEDS.map(s => el("option", {value: String(s)}, s + "×")));
      this.speed.addEventListener("change", () => this.setSpeed(Number(this.speed.value)));
      return el("div.ab-controls", {}, icon("back", "One frame back", "One frame back (left arrow)", () => this.step(-1)), this.playButton,
        icon("next", "One frame on", "One frame on (right arrow)", () => this.step(1)), this.scrub, this.counter, el("span.ab-speed", {}, this.speed));
    }

    toggles() {
      const {el} = RFL;
      const check = (text, title, act) => { const box = el("input", {type: "checkbox", onchange: () => act(box.checked)}); return [box, el("label.check", {title}, box, " " + text)]; };
      let loop, boxes, third;
      [this.boxesBox, boxes] = check("Face boxes", "Face boxes on or off (B)", on => this.setBoxes(on));
      [this.loopBox, loop] = check("Repeat", "Repeat on or off (L)", on => this.setLoop(on));
      [this.thirdBox, third] = check("", "", on => this.setThird(on));
      this.thirdLabel = third;
      this.boxesLabel = boxes;
      this.hold = el("button.btn.small", {type: "button", "aria-pressed": "false", title: "Hold: the other side in the same place (F)"}, "Hold to flicker");
      this.hold.addEventListener("pointerdown", event => { this.hold.setPointerCapture(event.pointerId); this.flick(true); });
      for (const name of ["pointerup", "pointercancel", "blur"]) this.hold.addEventListener(name, () => this.flick(false));
      this.hold.addEventListener("keydown", event => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); event.stopPropagation(); this.flick(true); } });
      this.hold.addEventListener("keyup", event => { if (event.key === " " || event.key === "Enter") this.flick(false); });
      return el("div.ab-toggles", {}, this.hold, boxes, loop, third);
    }

    help() {
      const {el} = RFL;
      const close = el("button.btn.primary", {type: "button", onclick: () => this.keys.close()}, "Close");
      this.keys = el("dialog.dlg.ab-keys", {"aria-label": "Keys of the player"}, el("h2", {}, "Keys of the player"),
        el("dl", {}, [...KEYS.filter(([key]) => this.arrows || !/^(←|Home)/.test(key)), ...this.more].map(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)])), el("div.dlg-buttons", {}, close));
      return this.keys;
    }

    /* See above. Resolves when the first pictures are there. */
    async load({sides, fps, count, key}) {
      const name = String(key === undefined ? sides.map(side => side.video).join("|") : key);
      const fresh = name !== this.loaded;
      this.loaded = name;
      this.thirdLabel.hidden = sides.length < 3;
      this.boxesLabel.hidden = !sides.some(side => side.faces);
      if (sides[2]) this.thirdLabel.lastChild.textContent = " " + sides[2].label;
      if (fresh) this.stage.third = Boolean(sides[2]) && this.thirdBox.checked;
      this.stage.show(sides, fresh);
      if (!fresh) return;
      for (const [i, side] of sides.entries()) {
        if (typeof side.faces !== "string") continue;
        RFL.loadJson(side.faces).then(content => {
          if (this.loaded !== name) return;
          this.stage.panes[i].faces = content;
          this.stage.panes[i].painted = "";
          this.drawCurve();
        });
      }
      this.drawCurve();
      this.fps = fps;
      this.count = Math.max(1, count || 1);
      this.scrub.max = String(this.count - 1);
      await this.start(0);
    }

    /* Give the videos that take part to the clock, at a frame. */
    async start(frame) {
      const playing = this.player.playing;
      this.shown = -1;
      await this.player.load(this.stage.used().map(pane => pane.video), this.fps, this.count);
      if (frame > 0 || !playing) await this.player.seek(frame);
      this.player.playing = playing;
      this.paintPlay();
    }

    clear() {
      this.loaded = "";
      this.player.still();
      this.player.videos = [];
      this.stage.show([], true);
      this.drawCurve();
    }

    drawCurve() {
      if (!this.curve) return;
      const sides = this.stage.panes.map((pane, i) => ({...this.stage.sides[i], faces: pane.faces})).filter((side, i) => side.key && (i < 2 || this.stage.third));
      this.curveRoot.hidden = !this.stage.sides.some(side => side.faces);
      this.curve.show(sides, this.count || 1);
    }

    tick(frame) {
      this.stage.paint();
      if (this.wasPlaying !== this.player.playing) this.paintPlay();
      if (frame === this.shown) return;
      this.shown = frame;
      this.scrub.value = String(frame);
      this.scrub.setAttribute("aria-valuetext", "frame " + (frame + 1) + " of " + this.player.count);
      this.counter.textContent = "frame " + (frame + 1) + " / " + this.player.count;
      if (this.curve) this.curve.paint(frame);
    }

    paintPlay() {
      const {playing} = this.player;
      this.wasPlaying = playing;
      this.playButton.setAttribute("aria-label", playing ? "Pause" : "Play");
      this.playButton.querySelector("path").setAttribute("d", playing ? PATHS.pause : PATHS.play);
    }

    toggle() {
      if (this.player.playing) this.player.seek(this.player.frame);  // both at the same picture
      else this.player.play();
      this.paintPlay();
    }

    async seek(frame) {
      await this.player.seek(frame);
      this.paintPlay();
    }

    async step(by) {
      await this.seek(this.player.frame + by);
      this.said.textContent = "Frame " + (this.player.frame + 1) + " of " + this.player.count + ". " + (this.curve ? this.curve.spoken(this.player.frame) : "");
    }

    setMode(mode, keep = true) {
      this.stage.mode = mode;
      for (const button of this.modes.children) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
      this.gain.root.hidden = mode !== "diff";
      this.zoom.root.hidden = mode !== "loupe";
      this.stage.layout();
      this.stage.look(this.stage.place);
      if (keep) this.keep({mode});
    }

    setZoom(zoom) {
      this.stage.zoom = Math.min(8, Math.max(2, zoom));
      this.zoom.set(this.stage.zoom);
    }

    setBoxes(on, keep = true) {
      this.stage.boxes = this.boxesBox.checked = on;
      if (keep) this.keep({boxes: on});
    }

    setLoop(on, keep = true) {
      this.player.loop = this.loopBox.checked = on;
      if (keep) this.keep({loop: on});
    }

    setSpeed(speed, keep = true) {
      this.player.setRate(speed);
      this.speed.value = String(speed);
      if (keep) this.keep({speed});
    }

    setThird(on) {
      this.stage.third = on;
      this.stage.layout();
      this.drawCurve();
      this.start(this.player.frame);
    }

    flick(on) {
      this.stage.flick(on);
      this.hold.setAttribute("aria-pressed", String(on));
    }

    keep(change) {
      try { localStorage.setItem(STORE, JSON.stringify({...remembered(), ...change})); } catch (error) { /* a private window keeps nothing */ }
    }

    press(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || this.keys.open || !this.player.videos.length || !RFL.isShown(this.stage.root)) return;
      const {target, key} = event;
      if (target.matches("textarea, select, [contenteditable], input:not([type=checkbox]):not([type=range])") || target.closest("dialog")) return;
      const range = target.matches("input[type=range]"), pressable = target.matches("button, a, summary, input, [role=button]");
      const faster = by => this.setSpeed(SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, SPEEDS.indexOf(this.player.rate) + by))]);
      const acts = {f: () => { if (!event.repeat) this.flick(true); }, b: () => this.setBoxes(!this.stage.boxes), l: () => this.setLoop(!this.player.loop), "?": () => this.keys.showModal(), "<": () => faster(-1), ">": () => faster(1)};
      for (const [name, , digit] of MODES) acts[digit] = () => this.setMode(name);
      for (const [, , own] of this.more) Object.assign(acts, own);
      if (!range && this.arrows) Object.assign(acts, {ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1), Home: () => this.seek(0), End: () => this.seek(this.player.count - 1)});
      if (!pressable) acts[" "] = () => this.toggle();
      const act = acts[key.length === 1 ? key.toLowerCase() : key];
      if (!act) return;
      event.preventDefault();
      act();
    }
  }
  return AbPlayer;
})();
