/* Sending a file to the app, for every page that takes one. */
(() => {
  class SendError extends Error {}

  /* Send a file to the app; resolves to {path, name}. Gradio's own helper tells no progress. */
  function sendFile(file, onprogress) {
    return new Promise((done, failed) => {
      const request = new XMLHttpRequest(), form = new FormData();
      form.append("files", file, file.name);
      request.open("POST", new URL("gradio_api/upload", document.baseURI));
      request.upload.addEventListener("progress", event => { if (event.lengthComputable) onprogress(event.loaded / event.total); });
      request.addEventListener("load", () => {
        let paths = null;
        try { paths = JSON.parse(request.responseText); } catch (error) { /* the answer is a sentence, see below */ }
        if (request.status === 200 && Array.isArray(paths)) done({path: paths[0], name: file.name});
        else failed(new SendError(request.status === 413 ? file.name + " is too large." : "The file could not be sent: choose it again."));
      });
      request.addEventListener("error", () => failed(new SendError("The app does not answer: the file was not sent.")));
      request.send(form);
    });
  }

  Object.assign(RFL, {SendError, sendFile});
})();
