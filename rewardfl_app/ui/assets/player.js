/* Several videos of the same length kept in step: those ahead slow down or wait for the slowest. The first one is the clock shown. */
class SyncPlayer {
  constructor(onframe) {
    this.videos = [];
    this.fps = 8;
    this.count = 1;
    this.rate = 1;
    this.playing = false;
    this.onframe = onframe;
    this.restarting = false;
    const loop = () => { this.tick(); requestAnimationFrame(loop); };
    requestAnimationFrame(loop);
  }

  get clock() { return this.videos[0]; }
  get frame() {
    return this.clock ? Math.min(this.count - 1, Math.max(0, Math.floor(this.clock.currentTime * this.fps + 0.01))) : 0;
  }

  load(videos, fps, count) {
    this.videos = videos;
    this.fps = fps || 8;
    this.count = Math.max(1, count || 1);
    for (const video of videos) video.playbackRate = this.rate;
  }

  async ready() {
    await Promise.all(this.videos.map(video => video.readyState >= 2 ? null : new Promise(done => {
      video.addEventListener("loadeddata", done, {once: true});
      video.addEventListener("error", done, {once: true});
    })));
  }

  async play() {
    this.playing = true;
    if (this.clock && this.frame >= this.count - 1) await this.seekTime(0);
    await Promise.all(this.videos.map(video => video.play().catch(() => null)));
  }

  pause() {
    this.playing = false;
    for (const video of this.videos) video.pause();
  }

  toggle() { return this.playing ? this.pause() : this.play(); }

  seek(frame) {
    this.pause();
    const wanted = Math.min(this.count - 1, Math.max(0, frame));
    return this.seekTime((wanted + 0.5) / this.fps);
  }

  step(by) { return this.seek(this.frame + by); }

  setRate(rate) {
    this.rate = rate;
    for (const video of this.videos) video.playbackRate = rate;
  }

  async seekTime(time) {
    await Promise.all(this.videos.map(video => new Promise(done => {
      const timer = setTimeout(done, 400);
      video.addEventListener("seeked", () => { clearTimeout(timer); done(); }, {once: true});
      video.currentTime = Math.min(time, Math.max(0, (video.duration || time) - 0.001));
    })));
  }

  async restart() {
    this.restarting = true;
    for (const video of this.videos) video.pause();
    await this.seekTime(0);
    this.restarting = false;
    if (this.playing) await Promise.all(this.videos.map(video => video.play().catch(() => null)));
  }

  tick() {
    const clock = this.clock;
    if (!clock) return;
    if (this.playing && !this.restarting) {
      const end = Math.min(...this.videos.map(video => video.duration || Infinity));
      if (this.videos.some(video => video.ended || video.currentTime >= end - 0.02)) this.restart();
      else this.correct();
    }
    this.onframe(this.frame);
  }

  /* Nobody runs away: a video more than a third of a frame ahead waits for the slowest, less than that it slows down. */
  correct() {
    const usable = this.videos.filter(video => !video.error && video.readyState > 0);
    const slowest = Math.min(...usable.map(video => video.currentTime));
    for (const video of usable) {
      const ahead = video.currentTime - slowest;
      if (ahead > 0.33 / this.fps) { video.pause(); continue; }
      if (video.paused && ahead < 0.015) { video.play().catch(() => null); }
      const wanted = this.rate * Math.max(0.8, 1 - 4 * ahead);
      if (Math.abs(video.playbackRate - wanted) > 0.01) video.playbackRate = wanted;
    }
  }
}
