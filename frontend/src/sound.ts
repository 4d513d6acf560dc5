// Two soft notes when an answer is there, for visitors who switched it on. Made on the spot: there is no file.

const NOTES = [
  { hertz: 660, at: 0 },
  { hertz: 880, at: 0.12 },
];
const LENGTH_S = 0.35;

let audio: AudioContext | undefined;

export function chime(): void {
  try {
    audio ??= new AudioContext();
    for (const { hertz, at } of NOTES) {
      const start = audio.currentTime + at;
      const note = audio.createOscillator();
      const volume = audio.createGain();
      note.frequency.value = hertz;
      volume.gain.setValueAtTime(0.12, start);
      volume.gain.exponentialRampToValueAtTime(0.001, start + LENGTH_S);
      note.connect(volume).connect(audio.destination);
      note.start(start);
      note.stop(start + LENGTH_S);
    }
  } catch {
    // A browser without sound.
  }
}
