// What the form of a widget says now, as the settings that its visitors would get. Lists and texts are read as
// chatwidget/admin/fields.py reads them; a field that could not be saved as it is counts as it was before.
import { parseHex } from "../colour";
import type { Reason, Settings } from "../protocol";

/** What of the panel a field is about: its start, a conversation, what it asks after a vote. */
export type Place = "start" | "talk" | "up" | "down";

const PLACES: Record<string, Place> = {
  starters: "start",
  feedback_enabled: "talk",
  comments_enabled: "talk",
  reasons_up: "up",
  reasons_down: "down",
};

export const placeOf = (field: string): Place | undefined => PLACES[field];

/** All that the page in the admin says to the preview. */
export interface ToPreview {
  type: "draft";
  settings: Settings;
  /** What is to be seen now; missing: whatever is seen. */
  place?: Place | undefined;
}

const lines = (text: string): string[] => [
  ...new Set(
    text
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean),
  ),
];

const isText = (text: string, longest: number) => text.length > 0 && text.length <= longest;

function starters(text: string): string[] | null {
  const found = lines(text);
  return found.length <= 6 && found.every((starter) => isText(starter, 120)) ? found : null;
}

/** `name: text` in two; null without a colon. */
function pair(line: string): [name: string, text: string] | null {
  const colon = line.indexOf(":");
  return colon < 0 ? null : [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}

function reasons(text: string): Reason[] | null {
  const found = lines(text).map((line): Reason => {
    const [key, label] = pair(line) ?? [line, line];
    return { key, label };
  });
  const whole = found.every(({ key, label }) => isText(key, 60) && isText(label, 60));
  const distinct = new Set(found.map(({ key }) => key)).size === found.length;
  return whole && distinct && found.length <= 8 ? found : null;
}

function texts(text: string): Record<string, string> | null {
  const found = lines(text).map((line) => pair(line) ?? (["", ""] as const));
  if (!found.every(([name, words]) => name && isText(words, 2000))) return null;
  return Object.fromEntries(found.map(([name, words]) => [name, words.replaceAll("\\n", "\n")]));
}

const as = (text: string) => text;

/**
 * Returns what tells the settings by what `form` says; what it does not say is as in `saved`, which has everything
 * switched on that the agent can take.
 */
export function draftOf(form: HTMLFormElement, saved: Settings): () => Settings {
  const good = new Map<string, unknown>();
  const field = (name: string) => form.elements.namedItem(name) as HTMLInputElement | null;
  const read = <T>(name: string, understand: (text: string) => T | null, before: T): T => {
    const input = field(name);
    const value = input?.validity.valid ? understand(input.value.trim()) : null;
    if (value !== null) good.set(name, value);
    return (good.get(name) as T | undefined) ?? before;
  };
  const ticked = (name: string, before: boolean) => field(name)?.checked ?? before;
  const words = (name: string) => ({ [name]: read(name, as, saved.texts[name] ?? "") });

  return () => ({
    ...saved,
    name: read("name", as, saved.name),
    paused: ticked("paused", saved.paused),
    look: {
      color: read("color", (text) => (text.length === 7 && parseHex(text) ? text : null), saved.look.color),
      position: read("position", as, saved.look.position),
      theme: read("theme", as, saved.look.theme),
    },
    locale: read("locale", as, saved.locale),
    texts: {
      ...words("title"),
      ...words("subtitle"),
      ...words("greeting"),
      ...words("label"),
      ...words("disclaimer"),
      ...read("texts", texts, {}),
    },
    starters: read("starters", starters, saved.starters),
    feedback: {
      ...saved.feedback,
      enabled: ticked("feedback_enabled", saved.feedback.enabled),
      comments: ticked("comments_enabled", true) && saved.feedback.comments,
      reasons: {
        up: read("reasons_up", reasons, saved.feedback.reasons.up),
        down: read("reasons_down", reasons, saved.feedback.reasons.down),
      },
    },
    attachments: ticked("attachments_enabled", true) ? saved.attachments : null,
  });
}
