const {el, fill, fixed, signed, percent} = RFL;
const root = element.querySelector(".mt");
const asking = {save_now: "Save now", sample_now: "Sample now"};

function tile(v, title, hint, role, measure, level, options) {
  const known = measure && measure.before !== null;
  const after = known ? measure.after : null;
  const change = options.ratio ? (measure && measure.ratio !== null ? percent(measure.ratio) : "–") : signed(measure ? measure.delta : null);
  const tone = level === "warn" ? "warn" : measure && measure.delta !== null && !options.ratio && !options.quiet ? (measure.delta > 0.005 ? "up" : measure.delta < -0.005 ? "down" : "flat") : "flat";
  return el("article.tile", {class: level === "warn" ? "warn" : "", "data-tile": title},
    el("h3", {}, el("i", {style: "background:var(--rf-" + role + ")"}), title),
    el("div.tile-value", {}, el("strong", {"data-tone": after === null ? "flat" : tone}, after === null ? (known ? fixed(measure.before, options.digits) : "–") : change),
      el("span", {}, after === null ? (known ? "before training" : v.finished ? "not measured" : "not measured yet") : options.ratio ? "of before" : "")),
    el("p.tile-pair", {}, after === null ? hint : [el("span.before", {}, fixed(measure.before, options.digits) + options.unit), " → ",
      el("span", {style: "color:var(--rf-" + role + "-ink)"}, fixed(after, options.digits) + options.unit)]),
    after === null ? null : el("p.tile-hint", {}, hint));
}

function show() {
  const v = props.value || {run: null};
  if (v.loading) { fill(root); return; }
  if (!v.run) {
    fill(root, el("div.empty", {}, el("h2", {}, "Nothing to watch yet"),
      el("p", {}, "Start a run on the Train page: the reward curve, the newest video and what changed appear here."),
      el("button.btn.primary", {type: "button", onclick: () => RFL.go("train")}, "Go to Train")));
    return;
  }
  const ended = v.exit;
  const bad = ended && !["completed", "stopped"].includes(ended.cause);
  const button = (kind) => el("button.btn", {type: "button", disabled: v.pending.includes(kind) || v.state === "stopping", onclick: event => { event.currentTarget.disabled = true; trigger(kind, {}); }},
    v.pending.includes(kind) ? asking[kind] + " …" : asking[kind]);
  fill(root,
    ended && bad ? el("div.notice.bad", {role: "alert"}, el("div", {}, el("h3", {}, "The run did not finish"), el("p", {}, ended.sentence || ""),
      ended.next_step ? el("p.next", {}, el("b", {}, "Next: "), ended.next_step) : null), resumeButton(v)) : null,
    ended && ended.cause === "stopped" ? el("div.notice", {role: "status"}, el("div", {}, el("h3", {}, "Stopped as asked"), el("p", {}, ended.sentence || ""),
      v.checkpoint !== null ? el("p.next", {}, "The checkpoint of step " + v.checkpoint + " is saved.") : null), resumeButton(v)) : null,
    el("div.verdict", {"data-level": v.level, role: "status"},
      el("div", {}, el("h2", {}, v.step ? "After " + v.step + " steps" : "Before training"), el("p", {}, v.sentence)),
      el("div.verdict-actions", {}, v.step ? el("button.btn.primary", {type: "button", onclick: () => RFL.go("compare")}, "Compare videos") : null,
        v.finished ? null : [button("sample_now"), button("save_now")])),
    el("div.tiles", {},
      tile(v, "Reward", "face similarity by the recogniser it trains on" + (v.num_samples ? ", " + v.num_samples + " fixed videos" : ""), "after", v.reward, "neutral", {quiet: v.level === "warn", digits: 3, unit: ""}),
      tile(v, "Judge", "face similarity by a recogniser it never trains on", "judge", v.judge, v.judge_level, {digits: 3, unit: ""}),
      tile(v, "Motion", v.motion_level === "warn" ? "under 95%: the face may be freezing" : "how far the face moves, in % of its size", "motion", v.motion, v.motion_level, {digits: 2, unit: " %", ratio: true})),
    v.notice ? el("div.notice", {role: "status"}, el("p", {}, v.notice)) : null,
    v.receipts.length && !bad ? el("ul.receipts", {"aria-label": "Receipts"}, v.receipts.map(text => el("li", {}, text))) : null);
}

function resumeButton(v) {
  return v.can_resume ? el("button.btn", {type: "button", onclick: event => { event.currentTarget.disabled = true; trigger("resume", {}); }}, "Resume") : null;
}
watch("value", show);
show();
