/* Several videos of the same length kept in step: those ahead slow down or wait for the slowest. The first one is the clock shown.
   `playing` is what the person wants; nothing moves while the videos are loading, are set back to the start, or cannot be seen. */
window.SyncPlayer = window.SyncPlayer || class SyncPlayer {
  constructor(onframe, isVisible) {
    this.videos = [];
    this.fps = 8;
    this.count = 1;
    this.rate = 1;
    this.playing = true;
    this.loop = true;
    this.waiting = 0;  // loads and seeks under way
    this.onframe = onframe;
    this.isVisible = isVisible;
    const loop = () => { this.tick(); requestAnimationFrame(loop); };
    requestAnimationFrame(loop);
  }

  get frame() {
    const clock = this.videos.find(video => !video.error);
    return clock ? Math.min(this.count - 1, Math.max(0, Math.floor(clock.currentTime * this.fps + 0.01))) : 0;
  }

  /* Take over these videos, whose `src` was just set; they start from the first frame when all can. */
  async load(videos, fps, count) {
    this.still();
    this.videos = videos;
    this.fps = fps || 8;
    this.count = Math.max(1, count || 1);
    await this.quietly(async () => {
      await Promise.all(videos.map(video => video.readyState >= 2 || video.error ? null : new Promise(done => {
        video.addEventListener("loadeddata", done, {once: true});
        video.addEventListener("error", done, {once: true});
      })));
      await this.seekTime(0);
    });
  }

  play() {
    this.playing = true;
    if (this.frame >= this.count - 1) this.quietly(() => this.seekTime(0));
  }

  pause() {
    this.playing = false;
    this.still();
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  seek(frame) {
    this.pause();
    const wanted = Math.min(this.count - 1, Math.max(0, frame));
    return this.quietly(() => this.seekTime((wanted + 0.5) / this.fps));
  }

  step(by) { return this.seek(this.frame + by); }

  setRate(rate) { this.rate = rate; }

  still() {
    for (const video of this.videos) if (!video.paused) video.pause();
  }

  async quietly(work) {
    this.waiting += 1;
    this.still();
    try { await work(); } finally { this.waiting -= 1; }
  }

  async seekTime(time) {
    await Promise.all(this.videos.filter(video => !video.error).map(video => new Promise(done => {
      const timer = setTimeout(done, 400);
      video.addEventListener("seeked", () => { clearTimeout(timer); done(); }, {once: true});
      video.currentTime = Math.min(time, Math.max(0, (video.duration || time) - 0.001));
    })));
  }

  tick() {
    if (!this.videos.length) return;
    if (!this.isVisible()) { this.still(); return; }
    if (this.playing && !this.waiting) {
      const end = Math.min(...this.videos.map(video => video.duration || Infinity));
      if (this.videos.some(video => video.ended || video.currentTime >= end - 0.02)) {
        if (this.loop) this.quietly(() => this.seekTime(0));
        else this.pause();
      }
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
};
