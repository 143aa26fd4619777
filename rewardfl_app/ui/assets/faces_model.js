/* The content of a faces.json, as the page asks for it: who is where, curves per person, dips, frames without a face. */
const NUM_PERSON_COLORS = 5;
const POSE_AHEAD = 10, POSE_TURNED = 30, POSE_PROFILE = 60, POSE_TILT = 15;

class FaceModel {
  constructor(content) {
    this.content = content || {};
    this.fps = this.content.fps || 8;
    this.width = this.content.width || 0;
    this.height = this.content.height || 0;
    this.frames = (this.content.frames || []).map(frame => frame.faces || []);
    this.count = this.frames.length;
    const owner = new Map((this.content.tracks || []).map(track => [track.track, track.identity]));
    const unlike = new Set((this.content.tracks || []).filter(track => track.unlike).map(track => track.track));
    this.frames.forEach(faces => faces.forEach(face => {
      if (face.identity === undefined) face.identity = owner.get(face.track) ?? null;
      face.unlike = unlike.has(face.track);  // it counts for its place alone
      face.person = face.identity === null ? "t" + face.track : "p" + face.identity;
    }));
    this.faceless = this.frames.flatMap((faces, index) => faces.length ? [] : [index]);
    this.people = this.findPeople();
    this.byKey = new Map(this.people.map(person => [person.key, person]));
  }

  /* Those of the reference first, then whoever else is seen; a person may have several tracks. */
  findPeople() {
    const found = new Map(), nothing = new Array(this.count).fill(null);
    const values = face => face.identity === null ? nothing : nothing.slice();  // a film has hundreds of strangers
    this.frames.forEach((faces, index) => {
      for (const face of faces) {
        if (!found.has(face.person)) found.set(face.person, {key: face.person, identity: face.identity, tracks: new Set(), frames: 0, unlike: 0,
          similarity: values(face), judge: values(face)});
        const person = found.get(face.person);
        person.tracks.add(face.track);
        person.frames += 1;
        person.unlike += face.unlike ? 1 : 0;
        if (face.identity === null) continue;
        if (Number.isFinite(face.similarity)) person.similarity[index] = face.similarity;
        if (Number.isFinite(face.judge_similarity)) person.judge[index] = face.judge_similarity;
      }
    });
    const people = [...found.values()];
    people.sort((a, b) => (a.identity === null) - (b.identity === null) || (a.identity ?? 0) - (b.identity ?? 0) || b.frames - a.frames);
    const known = people.filter(person => person.identity !== null).length;
    let strangers = 0;
    for (const person of people) {
      person.known = person.identity !== null;
      person.label = person.known ? (known > 1 || person.identity > 0 ? "Person " + (person.identity + 1) : "The person") : "Stranger " + (++strangers);
      person.role = person.known ? "--rf-person-" + (person.identity % NUM_PERSON_COLORS) : "before";
      person.mean = meanOf(person.similarity);
      person.judgeMean = meanOf(person.judge);
    }
    return people;
  }

  /* Frames in a row without any face, as [first, last]. */
  gaps() {
    const runs = [];
    for (const frame of this.faceless) {
      if (runs.length && runs[runs.length - 1][1] === frame - 1) runs[runs.length - 1][1] = frame;
      else runs.push([frame, frame]);
    }
    return runs;
  }

  /* {frame, face, person} of everybody who was compared, least similar first. Spread: of neighbouring frames only the worst. */
  worst(key, spread) {
    const entries = this.frames.flatMap((faces, frame) => faces.filter(face => Number.isFinite(face.similarity) && (!key || face.person === key))
      .map(face => ({frame, face, person: this.byKey.get(face.person)})));
    entries.sort((a, b) => a.face.similarity - b.face.similarity || a.frame - b.frame);
    if (!spread) return entries;
    const apart = Math.max(2, Math.round(this.count / 24)), kept = [];
    const taken = new Map();
    for (const entry of entries) {
      const near = taken.get(entry.person.key) || [];
      if (near.some(frame => Math.abs(frame - entry.frame) < apart)) continue;
      taken.set(entry.person.key, [...near, entry.frame]);
      kept.push(entry);
    }
    return kept;
  }

  /* The face of an identity that others are compared with: the earliest that has a crop. */
  exemplar(identity) {
    for (let frame = 0; frame < this.count; frame++) {
      const face = this.frames[frame].find(f => f.identity === identity && Number.isInteger(f.crop));
      if (face) return face;
    }
    return null;
  }
}

function meanOf(values) {
  const known = values.filter(value => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/* Where a head looks, in words; degrees as measured: yaw > 0 to the right of the picture, pitch > 0 up, roll > 0 clockwise. */
function poseWords(pose) {
  if (!pose || !Number.isFinite(pose.yaw)) return "–";
  const {yaw, pitch, roll} = pose, words = [];
  const side = yaw > 0 ? "right" : "left";
  if (Math.abs(yaw) >= POSE_PROFILE) words.push("in profile, " + side);
  else if (Math.abs(yaw) >= POSE_TURNED) words.push("turned " + side);
  else if (Math.abs(yaw) >= POSE_AHEAD) words.push("slightly " + side);
  if (Number.isFinite(pitch) && Math.abs(pitch) >= POSE_TILT) words.push(pitch > 0 ? "looking up" : "looking down");
  if (Number.isFinite(roll) && Math.abs(roll) >= POSE_TILT) words.push("tilted " + (roll > 0 ? "right" : "left"));
  return words.length ? words.join(", ") : "facing the camera";
}

function poseDegrees(pose) {
  if (!pose || !Number.isFinite(pose.yaw)) return "";
  const degrees = value => Number.isFinite(value) ? Math.round(value).toString().replace("-", "−") + "°" : "–";
  return "yaw " + degrees(pose.yaw) + " · pitch " + degrees(pose.pitch) + " · roll " + degrees(pose.roll);
}
