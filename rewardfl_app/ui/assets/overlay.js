/* Face boxes of faces.json over a video: box, five landmarks and the similarity of the frame under the playhead. */
/* Time of the picture that is shown, which is not always currentTime: that is ahead of it while a video plays or seeks. */
window.RFL.pictureTime = window.RFL.pictureTime || (video => {
  if (!video.requestVideoFrameCallback) return video.currentTime;
  if (!video.rfWatched) {
    video.rfWatched = true;
    const note = (now, picture) => { video.rfTime = picture.mediaTime; video.requestVideoFrameCallback(note); };
    video.requestVideoFrameCallback(note);
    video.addEventListener("emptied", () => { video.rfTime = undefined; });
  }
  return video.rfTime === undefined ? video.currentTime : video.rfTime;
});

window.RFL.frameAt = window.RFL.frameAt || ((video, faces) => {
  const fps = (faces && faces.fps) || 8;
  const count = (faces && faces.frames && faces.frames.length) || Math.max(1, Math.round((video.duration || 1) * fps));
  return Math.min(count - 1, Math.max(0, Math.floor(RFL.pictureTime(video) * fps + 0.01)));
});

window.RFL.similarityOf = window.RFL.similarityOf || ((frame) => {
  const known = ((frame && frame.faces) || []).filter(face => Number.isFinite(face.similarity));
  return known.length ? Math.max(...known.map(face => face.similarity)) : null;
});

/* White or black, whichever can be read on a colour #rrggbb; white on any other. */
function inkOn(background) {
  const [r, g, b] = (/^#(..)(..)(..)$/.exec(background) || []).slice(1).map(part => parseInt(part, 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#0d1017" : "#fff";
}

/* Boxes over a picture of `size` {width, height}. `style` gives each face its colour, label, landmarks or not, and whether it stands back. */
window.RFL.paintBoxes = window.RFL.paintBoxes || ((canvas, size, faces, style) => {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (!faces || !size.width) return;
  const scale = Math.min(width / size.width, height / size.height);
  const left = (width - size.width * scale) / 2, top = (height - size.height * scale) / 2;
  pen.font = "600 12px ui-sans-serif, system-ui, sans-serif";
  if (!faces.length) {
    if (style.none) label(8, 8, style.none, "rgba(180,83,9,.92)");
    return;
  }
  for (const face of faces) {
    const [x0, y0, x1, y1] = face.bbox.map((v, i) => v * scale + (i % 2 ? top : left));
    const stroke = style.color(face);
    pen.globalAlpha = style.back && style.back(face) ? 0.4 : 1;
    pen.lineWidth = 2;
    pen.strokeStyle = stroke;
    pen.beginPath();
    pen.roundRect(x0, y0, x1 - x0, y1 - y0, 6);
    pen.stroke();
    pen.fillStyle = "#fff";
    for (const [x, y] of (style.landmarks && face.landmarks) || []) {
      pen.beginPath();
      pen.arc(x * scale + left, y * scale + top, 1.8, 0, 7);
      pen.fill();
    }
    const text = style.text(face);
    if (text) label(x0, Math.max(2, y0 - 20), text, stroke);
  }
  pen.globalAlpha = 1;

  function label(x, y, text, background) {
    const wide = pen.measureText(text).width + 10;
    pen.fillStyle = background;
    pen.beginPath();
    pen.roundRect(Math.max(0, Math.min(x, width - wide)), y, wide, 17, 4);
    pen.fill();
    pen.fillStyle = inkOn(background);
    pen.fillText(text, Math.max(0, Math.min(x, width - wide)) + 5, y + 12.5);
  }
});

window.RFL.drawFaces = window.RFL.drawFaces || ((canvas, faces, frameIndex, role, show) => {
  const frame = show && faces && faces.frames && (faces.frames.find(f => f.frame === frameIndex) || faces.frames[frameIndex]);
  const stroke = RFL.color(role);
  RFL.paintBoxes(canvas, faces || {}, show && faces && faces.frames ? (frame && frame.faces) || [] : null,
    {color: () => stroke, text: face => Number.isFinite(face.similarity) ? face.similarity.toFixed(2) : "", landmarks: true, none: "no face"});
});
