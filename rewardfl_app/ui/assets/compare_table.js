/* What is measured on every video: [name, title, unit, digits, what it is, whether more is better]. */
const MEASURES = [
  ["reward", "Reward", "", 3, "Cosine similarity of the face to the person, by the recogniser that was trained on", true],
  ["judge", "Judge", "", 3, "The same by a second recogniser that is never trained on", true],
  ["motion", "Motion", "%", 2, "How far the landmarks of the face travel, in percent of its size", null],
  ["first_frame_distance", "First-frame distance", "%", 2, "A frozen video has none", null],
  ["sharpness", "Sharpness", "", 1, "Variance of the Laplacian of the aligned face", null],
  ["face_rate", "Frames with a face", "", 2, "Share of the frames", true],
  ["face_size", "Face size", "px", 1, "Root of the box's area", null],
  ["similarity_drift", "Drift", "", 3, "Similarity at the end of the video minus that at its begin", true],
  ["judge_drift", "Drift, judge", "", 3, "The same by the judge", true],
  ["frame_motion", "Picture motion", "%", 2, "Mean change from frame to frame, of black to white", null],
  ["yaw_spread", "Turning", "°", 2, "Standard deviation of the yaw", null],
  ["pitch_spread", "Nodding", "°", 2, "Standard deviation of the pitch", null],
];
const MAIN = ["reward", "judge", "motion"];

/* The colour of a change: of a mean only when its interval lies on one side of 0. */
function toneOf(measure, delta, before, low, high) {
  const [name, , , digits, , better] = measure;
  if (delta === null || !Number.isFinite(delta) || Math.abs(delta) < 0.5 * 10 ** -digits) return "flat";
  const sure = low === undefined || (Number.isFinite(low) && (low > 0 || high < 0));
  if (name === "motion") return before && (before + delta) / before < 0.95 && sure ? "warn" : "flat";
  return better === null || !sure ? "flat" : delta > 0 ? "up" : "down";
}

function changeOf(measure, before, after) {
  if (before === null || after === null || before === undefined || after === undefined) return RFL.el("span", {"data-tone": "flat"}, "–");
  return RFL.el("span", {"data-tone": toneOf(measure, after - before, before)}, RFL.signed(after - before, measure[3]));
}

/* The table of all pairs: one column per measure, sorted by its change; the means with their 95% intervals at the foot. */
class PairTable {
  constructor(root, onpick) {
    const {el} = RFL;
    this.onpick = onpick;
    this.sort = {key: "place", down: false};
    this.every = false;
    this.count = el("span.muted");
    this.more = el("input", {type: "checkbox", onchange: () => { this.every = this.more.checked; this.draw(); }});
    this.apart = el("details.cp-apart", {hidden: true}, el("summary"), el("ul"));
    this.table = el("table", {}, el("thead"), el("tbody"), el("tfoot"));
    root.append(el("div.cp-all-head", {}, el("h2", {}, "All videos"), this.count, el("label.check", {}, this.more, " All measures")),
      el("div.scroll", {tabindex: "0", role: "region", "aria-label": "Table of all videos"}, this.table),
      el("p.cp-method", {}, "Changes are from A to B. At the foot: the mean change of the same videos, with its 95% interval (paired differences, Student’s t)."), this.apart);
  }

  show(data, chosen) {
    const known = this.data === data;
    this.data = data;
    this.chosen = chosen;
    if (known) this.mark();
    else this.draw();
  }

  /* Only which row is shown has changed: the rows stay, and with them the focus. */
  mark() {
    for (const row of this.table.tBodies[0].rows) {
      const on = row.dataset.name === this.chosen;
      row.classList.toggle("on", on);
      row.querySelector(".rowpick").setAttribute("aria-pressed", String(on));
    }
  }

  /* The pairs in the order shown. */
  rows() {
    const {key, down} = this.sort, rows = this.data.samples.map((sample, place) => ({sample, place}));
    const of = ({sample, place}) => key === "place" ? place : key === "name" ? sample.prompt || sample.name
      : sample.a[key] === null || sample.b[key] === null ? null : sample.b[key] - sample.a[key];
    rows.sort((one, other) => {
      const [x, y] = [of(one), of(other)];
      if (x === null || y === null) return (x === null) - (y === null);
      return (down ? -1 : 1) * (typeof x === "string" ? x.localeCompare(y) : x - y) || one.place - other.place;
    });
    return rows;
  }

  draw() {
    const {el, fill, fixed} = RFL, {data} = this, held = this.table.contains(document.activeElement) ? document.activeElement.dataset : {};
    const measures = MEASURES.filter(([name]) => data.mean[name] && (this.every || MAIN.includes(name)));
    const head = (key, text, help, kind = "") => {
      const on = this.sort.key === key;
      const act = () => { this.sort = {key, down: on ? !this.sort.down : key !== "place" && key !== "name"}; this.draw(); };
      return el("th" + kind, {scope: "col", "aria-sort": on ? (this.sort.down ? "descending" : "ascending") : "none"},
        el("button.cp-sort", {type: "button", "data-sort": key, title: help, onclick: act}, text, el("span", {"aria-hidden": "true"}, on ? (this.sort.down ? " ↓" : " ↑") : " ↕")));
    };
    fill(this.table.tHead, el("tr", {}, head("place", "#", "Order of the data set"), head("name", "Video", "By prompt"),
      measures.map(([name, title, unit, , help]) => head(name, title + (unit ? ", " + unit : ""), help + ". Sort by the change.", ".num"))));
    const cell = (m, sample) => el("td.num", {}, changeOf(m, sample.a[m[0]], sample.b[m[0]]),
      el("small", {}, fixed(sample.a[m[0]], m[3]) + " → " + fixed(sample.b[m[0]], m[3])));
    fill(this.table.tBodies[0], this.rows().map(({sample, place}) => {
      const on = sample.name === this.chosen;
      return el("tr", {class: on ? "on" : "", "data-name": sample.name, onclick: () => this.onpick(sample.name)},
        el("td", {}, el("button.rowpick", {type: "button", "data-pick": sample.name, "aria-pressed": String(on), "aria-label": "Show video " + (place + 1)}, String(place + 1))),
        el("td.what", {}, el("div", {}, sample.picture ? el("img", {src: sample.picture, alt: "", width: 40, height: 40}) : null,
          el("span", {title: sample.prompt}, sample.prompt || sample.name))), measures.map(m => cell(m, sample)));
    }));
    fill(this.table.tFoot, el("tr.mean", {}, el("td", {}), el("th", {scope: "row"}, "Mean of " + data.num_pairs), measures.map(m => {
      const c = data.mean[m[0]];
      return el("td.num", {}, el("span", {"data-tone": toneOf(m, c.delta, c.before, c.low, c.high)}, RFL.signed(c.delta, m[3])),
        el("small.cp-interval", {}, c.low === null ? "one video: no interval" : RFL.signed(c.low, m[3]) + " to " + RFL.signed(c.high, m[3])),
        el("small", {}, fixed(c.before, m[3]) + " → " + fixed(c.after, m[3])));
    })));
    const again = held.sort ? "[data-sort='" + held.sort + "']" : held.pick ? "[data-pick='" + CSS.escape(held.pick) + "']" : null;
    if (again) this.table.querySelector(again)?.focus({preventScroll: true});
    this.count.textContent = data.num_pairs + (data.num_pairs === 1 ? " pair" : " pairs");
    this.apart.hidden = !data.apart.length;
    this.apart.firstChild.textContent = data.apart.length + (data.apart.length === 1 ? " video cannot be compared" : " videos cannot be compared");
    fill(this.apart.lastChild, data.apart.map(({name, why}) => el("li", {}, el("b", {}, name), ": " + why)));
  }
}
