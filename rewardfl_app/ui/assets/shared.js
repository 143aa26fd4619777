/* Functions that every part of the page shares. Text from files only ever goes in as text nodes, never as HTML. */
window.RFL = window.RFL || (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const SVG_TAGS = new Set(["svg", "path", "line", "rect", "circle", "text", "g", "polyline"]);

  /* el("div.card", {title: "x", onclick: f}, "text", node, [nodes]) */
  function el(spec, props, ...children) {
    const [tag, ...classes] = spec.split(".");
    const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag || "div");
    if (classes.length) node.setAttribute("class", classes.join(" "));
    for (const [name, value] of Object.entries(props || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "class") node.setAttribute("class", (node.getAttribute("class") || "") + " " + value);
      else if (name === "value" || name === "checked" || name === "muted" || name === "disabled") node[name] = value;
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    append(node, children);
    return node;
  }

  function append(node, children) {
    for (const child of children.flat(3)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
  }

  function fill(node, ...children) {
    node.replaceChildren();
    return append(node, children);
  }

  function fileUrl(path) {
    return new URL("gradio_api/file=" + path.split("/").map(encodeURIComponent).join("/"), document.baseURI).href;
  }

  const jsonCache = new Map();
  function loadJson(path) {
    if (!path) return Promise.resolve(null);
    if (!jsonCache.has(path)) {
      if (jsonCache.size > 200) jsonCache.clear();
      const loading = fetch(fileUrl(path)).then(r => (r.ok ? r.json() : null)).catch(() => null);
      jsonCache.set(path, loading);
      loading.then(content => { if (content === null) jsonCache.delete(path); });
    }
    return jsonCache.get(path);
  }

  const missing = "–";
  function fixed(value, digits = 3) {
    return value === null || value === undefined || !Number.isFinite(value) ? missing : value.toFixed(digits).replace("-", "−");
  }
  function signed(value, digits = 3) {
    if (value === null || value === undefined || !Number.isFinite(value)) return missing;
    const text = Math.abs(value).toFixed(digits);
    return (Number(text) === 0 ? "±" : value > 0 ? "+" : "−") + text;
  }
  /* For axes and tooltips: few digits, whatever the size. */
  function short(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return missing;
    const size = Math.abs(value);
    let text;
    if (size === 0) text = "0";
    else if (size < 0.001 || size >= 100000) text = value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
    else text = String(Number(value.toPrecision(4)));
    return text.replace("-", "−");
  }
  function percent(value, digits = 0) {
    return value === null || value === undefined || !Number.isFinite(value) ? missing : (100 * value).toFixed(digits) + "%";
  }
  function duration(seconds) {
    if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60 ? (s % 60) + " s" : "");
    return Math.floor(s / 3600) + " h " + Math.round((s % 3600) / 60) + " min";
  }
  function clock(unix) {
    return unix ? new Date(unix * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"}) : "";
  }

  function when(unix) {
    return new Date(unix * 1000).toLocaleString([], {day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
  }

  function isShown(node) {
    return !document.hidden && node.offsetParent !== null;
  }

  /* Before is grey, after is the accent, judge is the second accent: read from the style sheet so that both themes agree. */
  function color(role) {
    const names = {before: "--rf-before", after: "--rf-after", judge: "--rf-judge", train: "--rf-train", warn: "--rf-warn",
      real: "--rf-real"};
    return getComputedStyle(document.body).getPropertyValue(names[role] || role).trim();
  }

  return {el, append, fill, fileUrl, loadJson, fixed, signed, short, percent, duration, clock, when, isShown, color};
})();
