/* Face boxes of faces.json over a video: box, five landmarks and the similarity of the frame under the playhead. */
window.RFL.frameAt = window.RFL.frameAt || ((video, faces) => {
  const fps = (faces && faces.fps) || 8;
  const count = (faces && faces.frames && faces.frames.length) || Math.max(1, Math.round((video.duration || 1) * fps));
  return Math.min(count - 1, Math.max(0, Math.floor(video.currentTime * fps + 0.01)));
});

window.RFL.similarityOf = window.RFL.similarityOf || ((frame) => {
  const known = ((frame && frame.faces) || []).filter(face => Number.isFinite(face.similarity));
  return known.length ? Math.max(...known.map(face => face.similarity)) : null;
});

window.RFL.drawFaces = window.RFL.drawFaces || ((canvas, faces, frameIndex, role, show) => {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (!show || !faces || !faces.frames || !faces.width) return;
  const frame = faces.frames.find(f => f.frame === frameIndex) || faces.frames[frameIndex];
  const scale = Math.min(width / faces.width, height / faces.height);
  const left = (width - faces.width * scale) / 2, top = (height - faces.height * scale) / 2;
  const shown = (frame && frame.faces) || [];
  pen.font = "600 12px ui-sans-serif, system-ui, sans-serif";
  if (!shown.length) {
    label(pen, 8, 8, "no face", "rgba(180,83,9,.92)");
    return;
  }
  const stroke = RFL.color(role);
  for (const face of shown) {
    const [x0, y0, x1, y1] = face.bbox.map((v, i) => v * scale + (i % 2 ? top : left));
    pen.lineWidth = 2;
    pen.strokeStyle = stroke;
    pen.beginPath();
    pen.roundRect(x0, y0, x1 - x0, y1 - y0, 6);
    pen.stroke();
    pen.fillStyle = "#fff";
    for (const [x, y] of face.landmarks || []) {
      pen.beginPath();
      pen.arc(x * scale + left, y * scale + top, 1.8, 0, 7);
      pen.fill();
    }
    if (Number.isFinite(face.similarity)) label(pen, x0, Math.max(2, y0 - 20), face.similarity.toFixed(2), stroke);
  }

  function label(pen, x, y, text, background) {
    const wide = pen.measureText(text).width + 10;
    pen.fillStyle = background;
    pen.beginPath();
    pen.roundRect(x, y, wide, 17, 4);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.fillText(text, x + 5, y + 12.5);
  }
});
