/* Cards: the faces of the frame under the playhead, the worst frames, and who is seen. Crops come out of the sprite sheets. */
const CARDS_AT_ONCE = 12, GAPS_AT_ONCE = 3;

/* A sheet of crops once it is loaded: {url, columns, across, down}, null where there is none. It may be narrower than `columns`. */
async function loadSheet(about, url) {
  if (!about || !url) return null;
  const picture = new Image();
  picture.src = url;
  try { await picture.decode(); } catch (error) { return null; }
  const size = about.size || 112;
  return {url, columns: about.columns || 16, across: picture.naturalWidth / size, down: picture.naturalHeight / size};
}

/* Crop number `index` of a sheet, `side` pixels wide or as wide as there is room; a blank head where there is no picture. */
function cropView(sheet, index, side, label) {
  const {el} = RFL;
  const node = el("span.crop", {role: "img", "aria-label": label});
  if (side) node.style.width = side + "px";
  if (!sheet || !Number.isInteger(index)) {
    node.classList.add("blank");
    node.setAttribute("aria-label", label + ": no picture");
    node.append(el("svg", {viewBox: "0 0 24 24", "aria-hidden": "true"}, el("circle", {cx: 12, cy: 9.5, r: 4.2, fill: "currentColor"}), el("path", {d: "M4 22c1-5 4.5-7 8-7s7 2 8 7z", fill: "currentColor"})));
    return node;
  }
  const share = (place, count) => count > 1 ? 100 * place / (count - 1) + "%" : "0%";
  node.style.backgroundImage = "url(\"" + sheet.url + "\")";
  node.style.backgroundSize = 100 * sheet.across + "% " + 100 * sheet.down + "%";
  node.style.backgroundPosition = share(index % sheet.columns, sheet.across) + " " + share(Math.floor(index / sheet.columns), sheet.down);
  return node;
}

function similarityTone(value) {
  return value === null || value === undefined ? "flat" : value < 0.3 ? "warn" : "flat";
}

/* What is known of one face, as rows; what was not measured is left out. */
function faceFacts(face) {
  const {fixed} = RFL;
  const size = Number.isFinite(face.size) ? face.size : Math.sqrt(Math.max(0, (face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1])));
  return [
    Number.isFinite(face.judge_similarity) ? ["Judge", fixed(face.judge_similarity, 3), "judge"] : null,
    ["Detection", fixed(face.det_score, 2), ""],
    ["Size", Math.round(size) + " px", ""],
    Number.isFinite(face.sharpness) ? ["Sharpness", RFL.short(Number(face.sharpness.toPrecision(3))), ""] : null,
    face.pose ? ["Pose", poseWords(face.pose), "pose", poseDegrees(face.pose)] : null,
    Number.isFinite(face.age) || face.sex ? ["Looks like", [face.sex === "M" ? "man" : face.sex === "F" ? "woman" : face.sex, Number.isFinite(face.age) ? "about " + Math.round(face.age) : null].filter(Boolean).join(", "), ""] : null,
  ].filter(Boolean);
}

class FaceCards {
  constructor(now, worst, people, onseek, onfilter) {
    this.now = now;
    this.worst = worst;
    this.people = people;
    this.onseek = onseek;
    this.onfilter = onfilter;
    this.limit = CARDS_AT_ONCE;
  }

  /* `sheet` holds the crops of the clip, `reference` {model, sheet} those it is compared with. */
  show(model, sheet, reference, only) {
    if (model !== this.model) this.limit = CARDS_AT_ONCE;
    Object.assign(this, {model, sheet, reference, only, shown: -1});
    this.paintPeople();
    this.paintWorst();
  }

  referenceCrop(identity, side) {
    const face = identity === null || !this.reference ? null : this.reference.model.exemplar(identity);
    return cropView(face && this.reference.sheet, face ? face.crop : null, side, "Reference");
  }

  paintNow(frame) {
    if (!this.model || frame === this.shown) return;
    this.shown = frame;
    const {el, fill, fixed} = RFL;
    const faces = [...(this.model.frames[frame] || [])].sort((a, b) => (a.identity ?? 99) - (b.identity ?? 99));
    const several = this.model.people.length > 1, side = faces.length > 1 ? 68 : 112;
    if (!faces.length) {
      fill(this.now, el("div.now-none", {}, el("b", {}, "No face"), el("p", {}, "Nobody was found in this frame. It gives the reward no gradient.")));
      return;
    }
    fill(this.now, faces.slice(0, 4).map(face => {
      const person = this.model.byKey.get(face.person);
      return el("article.now-face", {class: (this.only && this.only !== face.person ? "dim " : "") + (faces.length > 1 ? "small" : "")},
        several ? el("h4", {}, el("i", {style: "background:var(" + cssName(person.role) + ")"}), person.label + (face.unlike ? "?" : ""), face.unlike ? el("small", {}, "someone unlike, in their place") : null) : null,
        el("div.now-pair", {},
          el("figure", {}, this.referenceCrop(face.identity, side), el("figcaption", {}, "reference")),
          el("figure", {}, cropView(this.sheet, face.crop, side, "Face of frame " + (frame + 1)), el("figcaption", {}, "this frame")),
          el("div.now-value", {}, el("strong", {"data-tone": similarityTone(face.similarity)}, fixed(face.similarity, 2)), el("span", {}, Number.isFinite(face.similarity) ? "similarity" : person.known ? "given" : "not compared"))),
        faces.length > 1 ? el("div.now-facts", {}, faceFacts(face).map(([name, value, kind, more]) => el("span", {class: kind, title: more || null}, kind === "pose" ? null : name.toLowerCase() + " ", el("b", {}, value))))
          : el("dl", {}, faceFacts(face).map(([name, value, kind, more]) => [el("dt", {}, name), el("dd", {class: kind}, value, more ? el("small", {}, more) : null)])));
    }), faces.length > 4 ? el("p.muted", {}, "and " + (faces.length - 4) + " more faces") : null);
  }

  paintPeople() {
    const {el, fill, fixed} = RFL;
    const people = this.model.people, total = this.model.count;
    this.people.closest(".card").hidden = !people.length;
    this.people.parentElement.classList.toggle("no-judge", people.every(person => person.judgeMean === null));
    fill(this.people, people.map(person => el("tr", {class: person.key === this.only ? "on" : "", onclick: () => this.onfilter(person.key === this.only ? null : person.key)},
      el("td", {}, el("button.person", {type: "button", "aria-pressed": String(person.key === this.only), "aria-label": "Show " + person.label + " alone"},
        this.personCrop(person), el("span", {}, el("b", {}, el("i", {style: "background:var(" + cssName(person.role) + ")"}), person.label),
          el("small", {}, person.frames + " of " + total + " frames" + (person.known ? "" : " · not compared") + (person.unlike ? " · " + person.unlike + " unlike" : "") + (person.tracks.size > 1 ? " · " + person.tracks.size + " tracks" : ""))))),
      el("td.num", {}, fixed(person.mean, 3)), el("td.num.judge", {}, fixed(person.judgeMean, 3)))));
  }

  personCrop(person) {
    if (person.known && this.reference) return this.referenceCrop(person.identity, 40);
    const face = this.model.frames.flat().find(f => f.person === person.key && Number.isInteger(f.crop));
    return cropView(face && this.sheet, face ? face.crop : null, 40, person.label);
  }

  paintWorst() {
    const {el, fill, fixed} = RFL;
    const every = this.worst.every.checked, entries = this.model.worst(this.only, !every), all = this.only ? [] : this.model.gaps();
    const gaps = every ? all : [...all].sort((a, b) => (b[1] - b[0]) - (a[1] - a[0])).slice(0, GAPS_AT_ONCE), left = all.length - gaps.length;
    const several = this.model.people.length > 1;
    const cards = [
      ...gaps.map(([first, last], place) => () => el("button.fcard.none", {type: "button", onclick: () => this.onseek(first)},
        el("b.none-mark", {}, "No face"), el("span", {}, first === last ? "frame " + (first + 1) : "frames " + (first + 1) + "–" + (last + 1)), left && place === gaps.length - 1 ? el("small", {}, "and " + left + " more stretches") : null)),
      ...entries.map(({frame, face, person}) => () => el("button.fcard", {type: "button", "data-frame": frame, onclick: () => this.onseek(frame),
        "aria-label": "Frame " + (frame + 1) + ", " + person.label + ", similarity " + fixed(face.similarity, 2) + ". Show it in the player."},
        el("span.pair", {}, this.referenceCrop(face.identity, null), cropView(this.sheet, face.crop, null, "Face of frame " + (frame + 1))),
        el("span.fc-head", {}, el("strong", {"data-tone": similarityTone(face.similarity)}, fixed(face.similarity, 2)),
          el("span", {}, several ? el("i", {style: "background:var(" + cssName(person.role) + ")", title: person.label}) : null, (face.unlike ? "unlike · " : "") + "frame " + (frame + 1))),
        el("span.facts", {}, faceFacts(face).filter(([name]) => name !== "Pose" && name !== "Looks like").map(([name, value, kind]) => el("span", {class: kind}, name.toLowerCase() + " ", el("b", {}, value)))),
        face.pose ? el("span.pose", {title: poseDegrees(face.pose)}, poseWords(face.pose), el("small", {}, poseDegrees(face.pose))) : null)),
    ];
    this.worst.card.hidden = !cards.length;
    fill(this.worst.list, cards.slice(0, this.limit).map(make => make()));
    this.worst.more.hidden = cards.length <= this.limit;
    this.worst.more.textContent = "Show " + Math.min(cards.length - this.limit, 2 * CARDS_AT_ONCE) + " more of " + (cards.length - this.limit);
  }

  more() {
    this.limit += 2 * CARDS_AT_ONCE;
    this.paintWorst();
  }
}

function cssName(role) {
  return role.startsWith("--") ? role : "--rf-" + role;
}
